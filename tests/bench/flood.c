/*
 * Log-ins with wrong passwords, each another one, over a connection of its own, by turns from --addresses addresses of
 * 127.100.0.0/16: --rate of them a second, until standard input ends. Then says in one line of JSON how many there were
 * and how they were answered. A line on standard input is the path that is asked for from then on (first /silos), and
 * is repeated on standard output once it is so: /ping needs no password, and is the same flood otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/base/clock.h"
#include "lib/program.h"

#define LOGINS_MAX 4000 /* under way */
#define FIRST_ADDRESS 0x7F640000u
#define TICK_MS 1
#define NO_ANSWER 0

struct login {
	int fd; /* -1: free */
	bool sent;
};

struct flood {
	long port, addresses, rate;
	const char *user;
	char path[128];
	int epoll;
	struct login logins[LOGINS_MAX];
	struct login *idle[LOGINS_MAX]; /* stack */
	size_t idle_count;
	uint64_t begun;
	uint64_t statuses[PROGRAM_STATUS_MAX];
	bool over;
};

/* --- one log-in --------------------------------------------------------------------------------------------------- */

static void end_login(struct flood *flood, struct login *login, unsigned status)
{
	close(login->fd);
	login->fd = -1;
	flood->statuses[status < PROGRAM_STATUS_MAX ? status : NO_ANSWER]++;
	flood->idle[flood->idle_count++] = login;
}

static void begin_login(struct flood *flood)
{
	const struct sockaddr_in hub = {.sin_family = AF_INET,
					.sin_port = htons((uint16_t)flood->port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in own = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(FIRST_ADDRESS + (uint32_t)(flood->begun % (uint64_t)flood->addresses))};
	struct login *login = flood->idle[--flood->idle_count];
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = login};

	flood->begun++;
	login->sent = false;
	login->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (login->fd < 0 || bind(login->fd, (const struct sockaddr *)&own, sizeof own))
		program_fail("cannot make a socket: %s", strerror(errno));
	if ((connect(login->fd, (const struct sockaddr *)&hub, sizeof hub) && errno != EINPROGRESS) ||
	    epoll_ctl(flood->epoll, EPOLL_CTL_ADD, login->fd, &event))
		end_login(flood, login, NO_ANSWER);
}

static void send_request(struct flood *flood, struct login *login)
{
	char text[128], base64[256], request[512];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = login};

	snprintf(text, sizeof text, "%s:wrong-%08x%08x", flood->user, randombytes_random(), randombytes_random());
	sodium_bin2base64(base64, sizeof base64, (const unsigned char *)text, strlen(text),
			  sodium_base64_VARIANT_ORIGINAL);
	int len = snprintf(request, sizeof request,
			   "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic %s\r\n\r\n",
			   flood->path, base64);
	if (send(login->fd, request, (size_t)len, MSG_NOSIGNAL) != len ||
	    epoll_ctl(flood->epoll, EPOLL_CTL_MOD, login->fd, &event))
		end_login(flood, login, NO_ANSWER);
	login->sent = true;
}

static void read_answer(struct flood *flood, struct login *login)
{
	char answer[1024] = "";
	ssize_t len = recv(login->fd, answer, sizeof answer - 1, 0);

	end_login(flood, login,
		  len > 12 && strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (unsigned)strtoul(answer + 9, NULL, 10)
								   : NO_ANSWER);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void read_path(struct flood *flood)
{
	char line[sizeof flood->path];
	ssize_t len = read(STDIN_FILENO, line, sizeof line - 1);

	if (len <= 0) {
		flood->over = true;
		return;
	}
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	snprintf(flood->path, sizeof flood->path, "%s", line);
	printf("%s\n", flood->path);
	fflush(stdout);
}

static void run(struct flood *flood)
{
	struct epoll_event events[256], in = {.events = EPOLLIN, .data.ptr = NULL};
	int64_t began_us = clock_mono_us();

	if (epoll_ctl(flood->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in))
		program_fail("standard input is no pipe: %s", strerror(errno));
	while (!flood->over) {
		uint64_t due = (uint64_t)(clock_mono_us() - began_us) * (uint64_t)flood->rate / 1000000;
		while (flood->begun < due && flood->idle_count)
			begin_login(flood);
		int count = epoll_wait(flood->epoll, events, 256, TICK_MS);
		for (int i = 0; i < count; i++) {
			struct login *login = events[i].data.ptr;
			if (!login)
				read_path(flood);
			else if (login->sent)
				read_answer(flood, login);
			else
				send_request(flood, login);
		}
	}
	double seconds = (double)(clock_mono_us() - began_us) / 1e6;
	program_print_take(json_pack("{s:f, s:o}", "per_second", (double)flood->begun / seconds, "answers",
				     program_statuses(flood->statuses)));
}

int main(int argc, char **argv)
{
	static struct flood flood = {.addresses = 1000, .rate = 1000, .user = "admin", .path = "/silos"};
	const struct flag flags[] = {{.name = "port", .number = &flood.port},
				     {.name = "addresses", .number = &flood.addresses},
				     {.name = "rate", .number = &flood.rate},
				     {.name = "user", .text = &flood.user}};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (flood.addresses < 1 || flood.addresses > 65536 || flood.rate < 1 || strlen(flood.user) > 64)
		program_fail("1 to 65536 addresses, at least one log-in a second, a user's name");
	flood.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sodium_init() < 0 || flood.epoll < 0)
		program_fail("cannot start");
	program_raise_descriptor_limit();
	for (size_t i = 0; i < LOGINS_MAX; i++) {
		flood.logins[i].fd = -1;
		flood.idle[flood.idle_count++] = &flood.logins[i];
	}
	run(&flood);
	return 0;
}
