#include "api/http/server.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <ulfius.h>
#include <yder.h>

#include "api/http/adapter.h"
#include "api/http/listener.h"
#include "api/http/peercount.h"
#include "api/http/spare.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define DRAIN_QUIET_MS 100 /* no request for so long: nothing is on its way any more */
#define DRAIN_STEP_MS 5

static char tls_priorities[] = TLS_PRIORITIES;

struct server {
	struct server_handler handler;
	struct server_counters *counters;
	struct tls *tls;
	struct _u_instance ulfius;
	bool ulfius_made;
	struct listener *listener;
	struct adapter exchange;
	atomic_ulong open; /* connections, from their acceptance on */
	unsigned long open_max;
	struct peercount *per_address; /* NULL: no limit */
	struct arrivals *arrivals;
	int idle_timeout_ms;
};

/* --- connections -------------------------------------------------------------------------------------------------- */

static bool is_counted(const struct server *server, const struct sockaddr *peer, struct ipaddr *ret_address)
{
	return server->per_address && peer && !ipaddr_from_sockaddr(peer, ret_address) &&
	       server->handler.is_limited(server->handler.arg, ret_address);
}

static void forget_connection(struct server *server, const struct sockaddr *peer)
{
	struct ipaddr address;

	if (is_counted(server, peer, &address))
		peercount_drop(server->per_address, &address);
	atomic_fetch_sub(&server->open, 1);
}

static void open_connection(struct server *server, struct MHD_Connection *mhd, void **ret_context)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *connection = calloc(1, sizeof *connection);

	*ret_context = connection;
	if (!connection) {
		shutdown(info->connect_fd, SHUT_RDWR);
		return;
	}
	arrivals_add(server->arrivals, &connection->arrival, info->connect_fd);
	if (server->tls)
		connection->tls = tls_connection_begin(server->tls, mhd);
}

static void close_connection(struct server *server, struct MHD_Connection *mhd, struct connection *connection)
{
	adapter_on_closed(&server->exchange, mhd);
	forget_connection(server, adapter_peer(mhd));
	if (!connection)
		return;
	arrivals_remove(server->arrivals, &connection->arrival);
	tls_connection_end(connection->tls);
	free(connection);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **ret_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct server *server = arg;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		atomic_fetch_add(&server->counters->connections, 1);
		open_connection(server, connection, ret_context);
	} else {
		atomic_fetch_sub(&server->counters->connections, 1);
		close_connection(server, connection, *ret_context);
	}
}

/* --- what the libraries have to say: of interest when looking for a fault only ------------------------------------ */

static void log_mhd(void *arg, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void log_mhd(void *arg, const char *fmt, va_list args)
{
	char text[512];

	(void)arg;
	vsnprintf(text, sizeof text, fmt, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libmicrohttpd", LOG_STR("text", text));
}

static void log_ulfius(void *arg, const char *app, const time_t date, unsigned long level, const char *text)
{
	(void)arg;
	(void)app;
	(void)date;
	(void)level;
	log_debug("ulfius", LOG_STR("text", text));
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

static int make_instance(struct server *server)
{
	struct _u_instance *ulfius = &server->ulfius;

	spare_begin();
	y_init_logs("silodns-api", Y_LOG_MODE_CALLBACK, Y_LOG_LEVEL_NONE, NULL, NULL);
	y_set_logs_callback(log_ulfius, NULL, NULL);
	if (ulfius_init_instance(ulfius, 1 /* not used: there is no socket */, NULL, NULL) != U_OK)
		return ERR_NOMEM;
	server->ulfius_made = true;
	ulfius->allowed_post_processor = U_POST_PROCESS_NONE;
	ulfius->check_utf8 = 0; /* its copies of header and query are not used */
	return ulfius_set_default_endpoint(ulfius, adapter_on_request, &server->exchange) == U_OK ? ERR_OK : ERR_NOMEM;
}

/* libmicrohttpd wants one; but each session has had credentials of its own since tls_connection_begin(). */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
			  const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_certs,
			  unsigned *ret_count, gnutls_privkey_t *ret_key)
{
	(void)session, (void)authorities, (void)authority_count, (void)algorithms, (void)algorithm_count;
	(void)ret_certs, (void)ret_count, (void)ret_key;
	return -1;
}

static int start_daemon(struct server *server, const struct server_settings *settings)
{
	struct tls *tls = server->tls;
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC |
			       MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG |
			       (tls ? MHD_USE_TLS : 0);
	/* Of all threads of the pool together: never reached. libmicrohttpd before 1.0 keeps a lock for ever when a
	 * thread finds itself past its share; take_connection() counts. */
	uint64_t limit = (uint64_t)settings->connections_max * settings->threads;
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_mhd, NULL}, /* first: it hears about the others */
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)adapter_on_completed, &server->exchange},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
		{MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)adapter_on_uri, &server->exchange},
		{MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(limit < UINT_MAX ? limit : UINT_MAX), NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((settings->idle_timeout_ms + 999) / 1000), NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)settings->headers_max, NULL},
		{MHD_OPTION_THREAD_POOL_SIZE, settings->threads, NULL},
		{tls ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, 0, tls_priorities},
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(intptr_t)no_certificate},
		{MHD_OPTION_END, 0, NULL},
	};

	server->exchange.intercept = (struct intercept){.front = adapter_on_access, .front_arg = &server->exchange};
	return intercept_start(&server->exchange.intercept, &server->ulfius, flags, options);
}

/* A peer that has gone without a word is noticed: what is sent to it, such as a watcher's signs of life, must be
 * acknowledged in this time. */
static void expect_life(const struct server *server, int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &server->idle_timeout_ms, sizeof server->idle_timeout_ms);
}

static void take_connection(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct server *server = arg;
	struct ipaddr address;

	if (is_counted(server, peer, &address) && !peercount_add(server->per_address, &address)) {
		close(fd);
		return;
	}
	expect_life(server, fd);
	if (atomic_fetch_add(&server->open, 1) >= server->open_max) {
		close(fd);
		forget_connection(server, peer);
	} else if (MHD_add_connection(server->ulfius.mhd_daemon, fd, peer, peer_len) != MHD_YES) {
		forget_connection(server, peer); /* it has closed it */
	}
}

static void sweep(void *arg)
{
	struct server *server = arg;

	arrivals_sweep(server->arrivals);
}

void server_stop(struct server *server)
{
	if (!server)
		return;
	listener_close(server->listener);
	if (server->tls)
		tls_stop(server->tls);
	if (server->ulfius.mhd_daemon)
		ulfius_stop_framework(&server->ulfius);
	if (server->ulfius_made)
		ulfius_clean_instance(&server->ulfius);
	y_close_logs();
	peercount_free(server->per_address);
	arrivals_free(server->arrivals);
	free(server);
}

int server_start(const struct server_settings *settings, const struct server_handler *handler,
		 struct server_counters *counters, struct server **ret_server, struct why *ret_why)
{
	struct server *server = calloc(1, sizeof *server);

	if (!server)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	server->handler = *handler;
	server->counters = counters;
	server->tls = settings->tls;
	server->open_max = settings->connections_max;
	if (settings->tls && settings->hsts_ms)
		snprintf(server->exchange.hsts, sizeof server->exchange.hsts, "max-age=%ld", settings->hsts_ms / 1000);
	server->exchange.handler = &server->handler;
	server->exchange.counters = counters;
	server->exchange.body_max = settings->body_max;
	server->exchange.bodies_max = settings->bodies_max;
	server->idle_timeout_ms = (int)settings->idle_timeout_ms;
	int err = listener_open(settings->listen, settings->listen_count, &server->listener, ret_why);
	if (err) {
		free(server);
		return err;
	}
	err = arrivals_new(settings->idle_timeout_ms + settings->request_timeout_ms, &server->arrivals);
	server->exchange.arrivals = server->arrivals;
	if (!err && settings->connections_per_address_max)
		err = peercount_new(settings->connections_per_address_max, &server->per_address);
	if (!err)
		err = make_instance(server);
	if (!err)
		err = start_daemon(server, settings);
	if (!err)
		err = listener_start(server->listener, take_connection, sweep, server);
	if (err) {
		server_stop(server);
		return why_set(ret_why, err, "", "the HTTP server does not start (log level debug tells more)");
	}
	*ret_server = server;
	return ERR_OK;
}

/* A connection may have bytes that no thread has looked at yet, so that no request is under way is not enough. */
static bool drain(struct server *server, long drain_ms)
{
	const struct timespec step = {.tv_nsec = DRAIN_STEP_MS * 1000000L};
	int64_t now = clock_mono_ms(), until = now + drain_ms, quiet_since = now;
	unsigned long begun = atomic_load(&server->counters->begun);

	for (; now < until; now = clock_mono_ms()) {
		unsigned long ended = atomic_load(&server->counters->ended),
			      begun_now = atomic_load(&server->counters->begun);
		if (begun_now != begun || begun_now != ended)
			quiet_since = now;
		begun = begun_now;
		if (now - quiet_since >= DRAIN_QUIET_MS)
			return true;
		nanosleep(&step, NULL);
	}
	return false;
}

void server_drain(struct server *server, long drain_ms)
{
	atomic_store(&server->exchange.draining, true);
	listener_close(TAKE_PTR(server->listener));
	if (!drain(server, drain_ms) && drain_ms > 0)
		log_warn("stopping with requests under way", LOG_U64("requests", server_in_progress(server->counters)));
}

unsigned long server_in_progress(const struct server_counters *counters)
{
	unsigned long ended = atomic_load(&counters->ended);

	return atomic_load(&counters->begun) - ended;
}
