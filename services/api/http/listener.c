#include "api/http/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define SOCKETS_MAX 32 /* a name may stand for several addresses */
#define BACKLOG 4096   /* the kernel cuts it to net.core.somaxconn */
#define PAUSE_MS 100   /* when no descriptor is left */
#define LOG_EVERY_MS 10000
#define SWEEP_EVERY_MS 1000

struct listener {
	struct pollfd sockets[SOCKETS_MAX + 1]; /* the last one in use is the eventfd that ends the thread */
	size_t count;                           /* of sockets to listen on */
	int stop;
	bool started;
	pthread_t thread;
	listener_fn accepted;
	void (*sweep)(void *arg);
	void *arg;
	int64_t complained, swept; /* clock_mono_ms() */
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* "host:port", "[v6]:port", "*:port", ":port". An empty `ret_host` is every address. */
static int split_address(const char *address, char *ret_host, size_t host_size, char *ret_port, size_t port_size,
			 struct why *why)
{
	const char *colon = strrchr(address, ':');
	const char *host = address;
	size_t host_len = colon ? (size_t)(colon - address) : 0;
	bool digits = colon && strspn(colon + 1, "0123456789") == strlen(colon + 1);
	unsigned long port = digits ? strtoul(colon + 1, NULL, 10) : 0;
	bool bracketed = host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']';
	if (bracketed) {
		host++;
		host_len -= 2;
	}
	if (port < 1 || port > 65535 || host_len >= host_size || (!bracketed && memchr(host, ':', host_len)))
		return why_set(why, ERR_INVALID, "",
			       "\"%s\" is not an address to listen on: write 127.0.0.1:8080, or [::]:8080 for all",
			       address);
	snprintf(ret_host, host_size, "%.*s", (int)host_len, host);
	snprintf(ret_port, port_size, "%lu", port);
	if (strcmp(ret_host, "*") == 0)
		ret_host[0] = '\0';
	return ERR_OK;
}

static int bind_socket(const struct addrinfo *info)
{
	_cleanup_close_ int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1, off = 0;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
		return -1;
	if (info->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off))
		return -1;
	if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG))
		return -1;
	int ret = fd;
	fd = -1;
	return ret;
}

static int refuse(const char *address, int error, struct why *why)
{
	switch (error) {
	case EADDRINUSE:
		return why_set(why, ERR_CONFLICT, "",
			       "%s is in use by another program: stop it, or choose another port", address);
	case EACCES:
		return why_set(why, ERR_SYSTEM, "",
			       "not allowed to listen on %s: ports under 1024 need CAP_NET_BIND_SERVICE", address);
	case EADDRNOTAVAIL:
		return why_set(why, ERR_SYSTEM, "", "this machine does not have the address of %s", address);
	default:
		return why_set(why, ERR_SYSTEM, "", "cannot listen on %s: %s", address, strerror(error));
	}
}

static void free_info(struct addrinfo **info)
{
	if (*info)
		freeaddrinfo(*info);
}

static int resolve(const char *address, struct addrinfo **ret_info, struct why *why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	char host[256], port[8];
	int err = split_address(address, host, sizeof host, port, sizeof port, why);

	if (err)
		return err;
	/* One socket for both families, where there are two: "*" as "[::]", and that as "0.0.0.0" without IPv6. */
	const char *node = host[0] ? host : "::";
	_cleanup_close_ int probe = strcmp(node, "::") == 0 ? socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
	if (strcmp(node, "::") == 0 && probe < 0 && errno == EAFNOSUPPORT)
		node = "0.0.0.0";
	int failed = getaddrinfo(node, port, &hints, ret_info);
	return failed ? why_set(why, ERR_INVALID, "", "cannot listen on %s: %s", address, gai_strerror(failed))
		      : ERR_OK;
}

/* A name may stand for addresses that this machine lacks ("localhost" without IPv6): one must work. */
static int open_address(struct listener *listener, const char *address, struct why *why)
{
	_cleanup_(free_info) struct addrinfo *info = NULL;
	size_t before = listener->count;
	int error = 0;
	int err = resolve(address, &info, why);

	for (struct addrinfo *at = info; !err && at; at = at->ai_next) {
		if (listener->count == SOCKETS_MAX)
			return why_set(why, ERR_INVALID, "", "more than %d addresses to listen on", SOCKETS_MAX);
		int fd = bind_socket(at);
		if (fd >= 0) {
			listener->sockets[listener->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
			continue;
		}
		error = errno;
		if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT)
			return refuse(address, error, why);
	}
	return !err && listener->count == before ? refuse(address, error, why) : err;
}

int listener_open(const char *const *addresses, size_t count, struct listener **ret_listener, struct why *ret_why)
{
	struct listener *listener = calloc(1, sizeof *listener);
	int err = ERR_OK;

	if (!listener)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	listener->stop = eventfd(0, EFD_CLOEXEC);
	if (listener->stop < 0)
		err = why_set(ret_why, ERR_SYSTEM, "", "cannot make an eventfd: %s", strerror(errno));
	else if (!count)
		err = why_set(ret_why, ERR_INVALID, "", "no address to listen on");
	for (size_t i = 0; !err && i < count; i++)
		err = open_address(listener, addresses[i], ret_why);
	if (err) {
		listener_close(listener);
		return err;
	}
	listener->sockets[listener->count] = (struct pollfd){.fd = listener->stop, .events = POLLIN};
	*ret_listener = listener;
	return ERR_OK;
}

/* --- accepting ---------------------------------------------------------------------------------------------------- */

/* False: no descriptor or memory is left at this moment. */
static bool accept_all(struct listener *listener, int fd)
{
	struct sockaddr_storage peer;

	for (;;) {
		socklen_t len = sizeof peer;
		int connection = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (connection >= 0) {
			listener->accepted(listener->arg, connection, (const struct sockaddr *)&peer, len);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			return false;
		if (errno == EAGAIN)
			return true;
		/* EINTR, or an error of that connection (accept(2)): the next one */
	}
}

static void *listener_main(void *arg)
{
	struct listener *listener = arg;
	struct pollfd *stop = &listener->sockets[listener->count];

	while (!(stop->revents & POLLIN)) {
		if (poll(listener->sockets, listener->count + 1, SWEEP_EVERY_MS) < 0)
			continue;
		int64_t now = clock_mono_ms();
		if (now - listener->swept >= SWEEP_EVERY_MS) {
			listener->sweep(listener->arg);
			listener->swept = now;
		}
		bool room = true;
		for (size_t i = 0; room && i < listener->count; i++)
			if (listener->sockets[i].revents)
				room = accept_all(listener, listener->sockets[i].fd);
		if (room)
			continue;
		if (!listener->complained || now - listener->complained >= LOG_EVERY_MS) {
			log_warn("cannot accept a connection", LOG_STR("reason", strerror(errno)));
			listener->complained = now;
		}
		poll(stop, 1, PAUSE_MS);
	}
	/* Closed right behind the last accept(): what comes in between the two is reset by the kernel. */
	for (size_t i = 0; i < listener->count; i++) {
		accept_all(listener, listener->sockets[i].fd);
		close(listener->sockets[i].fd);
		listener->sockets[i].fd = -1;
	}
	return NULL;
}

int listener_start(struct listener *listener, listener_fn accepted, void (*sweep)(void *arg), void *arg)
{
	listener->sweep = sweep;
	listener->accepted = accepted;
	listener->arg = arg;
	if (pthread_create(&listener->thread, NULL, listener_main, listener))
		return ERR_SYSTEM;
	listener->started = true;
	return ERR_OK;
}

void listener_close(struct listener *listener)
{
	if (!listener)
		return;
	if (listener->started) {
		eventfd_write(listener->stop, 1);
		pthread_join(listener->thread, NULL);
	}
	for (size_t i = 0; i < listener->count; i++)
		if (listener->sockets[i].fd >= 0)
			close(listener->sockets[i].fd);
	if (listener->stop >= 0)
		close(listener->stop);
	free(listener);
}
