#include "server.h"

#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <ulfius.h>
#include <yder.h>

#include "cleanup.h"
#include "lifecycle.h"
#include "listener.h"
#include "log.h"
#include "reply.h"
#include "request.h"
#include "routes.h"
#include "watch.h"

#define SHARED_BODY_MIN (32u << 10) /* bytes from which a silo's document is sent without a copy */
#define STREAM_BLOCK (32u << 10)
#define ENDLESS_BLOCK 256  /* of a stream that does not end: only HTTP/1.0 needs this buffer */
#define DRAIN_QUIET_MS 100 /* no request for so long: nothing is on its way any more */
#define DRAIN_STEP_MS 5

static char tls_priorities[] = TLS_PRIORITIES;

struct server {
	struct hub *hub;
	struct _u_instance ulfius;
	bool ulfius_made;
	struct listener *listener;
	atomic_ulong begun, ended; /* requests: since their first line; until the last byte is with the kernel */
	atomic_ulong open;         /* connections, from their acceptance on */
	unsigned long open_max;
	char hsts[40]; /* a header's value; "" = none */
};

/* --- the connection of a request ---------------------------------------------------------------------------------- */

/*
 * Ulfius gives a callback neither the connection nor a peer address that is longer than 16 bytes. But libmicrohttpd
 * calls on_uri() with the connection, and Ulfius' own function for that place returns its public struct
 * connection_info_struct. So the request in it is made larger here, by what is missing. (Ulfius only ever passes the
 * pointer on, and frees it by free().)
 */
struct request_ext {
	struct _u_request base;
	struct MHD_Connection *connection;
	int64_t started_us;
};

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	struct server *server = arg;
	void *made = ulfius_uri_logger(NULL, uri);
	struct connection_info_struct *info = made;

	atomic_fetch_add(&server->begun, 1);
	atomic_fetch_add(&server->hub->metrics.in_progress, 1);
	if (!info)
		return NULL; /* Ulfius then closes the connection */
	struct request_ext *ext = realloc(info->request, sizeof *ext);
	if (!ext) {
		mhd_request_completed(NULL, connection, &made, MHD_REQUEST_TERMINATED_WITH_ERROR);
		return NULL;
	}
	ext->connection = connection;
	ext->started_us = clock_mono_us();
	info->request = &ext->base;
	return info;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **info,
			 enum MHD_RequestTerminationCode code)
{
	struct server *server = arg;

	mhd_request_completed(NULL, connection, info, code);
	atomic_fetch_sub(&server->hub->metrics.in_progress, 1);
	atomic_fetch_add(&server->ended, 1);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **ret_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct server *server = arg;

	atomic_fetch_add(&server->hub->metrics.connections, code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1);
	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
		atomic_fetch_sub(&server->open, 1);
	if (server->hub->tls && code == MHD_CONNECTION_NOTIFY_STARTED)
		*ret_context = tls_connection_begin(server->hub->tls, connection);
	else if (server->hub->tls)
		tls_connection_end(*ret_context);
}

struct header_walk {
	struct request *request;
	int err;
};

static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_walk *walk = arg;

	(void)kind;
	walk->err = request_add_header(walk->request, name, value);
	return walk->err ? MHD_NO : MHD_YES;
}

/* Headers come from libmicrohttpd, not from Ulfius' map, which loses the order of names that differ in case only: a
 * client could put its X-Forwarded-For behind the proxy's. */
static int fill_request(struct request *request, const struct request_ext *ext)
{
	struct header_walk walk = {.request = request};
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(ext->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	if (!info || ipaddr_from_sockaddr(info->client_addr, &request->connection))
		return ERR_INTERNAL;
	MHD_get_connection_values(ext->connection, MHD_HEADER_KIND, add_header, &walk);
	request->body = ext->base.binary_body;
	request->body_len = ext->base.binary_body_length;
	request->started_us = ext->started_us;
	return walk.err;
}

/* --- answering ---------------------------------------------------------------------------------------------------- */

static ssize_t read_silo(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	const struct silo_body *silo = arg;

	if (offset >= silo->len)
		return U_STREAM_END;
	size_t len = silo->len - (size_t)offset < max ? silo->len - (size_t)offset : max;
	memcpy(ret_data, silo->json + offset, len);
	return (ssize_t)len;
}

static void release_silo(void *arg)
{
	silo_body_unref(arg);
}

/* A reply's stream on its connection. */
struct outlet {
	const struct stream_class *class;
	void *stream;
};

static void suspend(void *connection)
{
	MHD_suspend_connection(connection);
}

static void resume(void *connection)
{
	MHD_resume_connection(connection);
}

static ssize_t read_outlet(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	const struct outlet *outlet = arg;

	(void)offset;
	ssize_t len = outlet->class->read(outlet->stream, ret_data, max);
	return len == STREAM_END ? U_STREAM_END : len;
}

static void close_outlet(void *arg)
{
	struct outlet *outlet = arg;

	outlet->class->close(outlet->stream);
	free(outlet);
}

static int deliver_stream(struct reply *reply, struct MHD_Connection *connection, struct _u_response *response)
{
	const struct line line = {.handle = connection, .suspend = suspend, .resume = resume};
	struct outlet *outlet = malloc(sizeof *outlet);

	if (!outlet)
		return ERR_NOMEM;
	outlet->class = reply->stream_class;
	outlet->stream = TAKE_PTR(reply->stream);
	outlet->class->attach(outlet->stream, &line);
	if (ulfius_set_stream_response(response, (unsigned)reply->status, read_outlet, close_outlet,
				       U_STREAM_SIZE_UNKNOWN, ENDLESS_BLOCK, outlet) == U_OK)
		return ERR_OK;
	close_outlet(outlet);
	return ERR_INTERNAL;
}

static int deliver_body(struct reply *reply, struct MHD_Connection *connection, struct _u_response *response)
{
	struct silo_body *silo = reply->silo;

	if (reply->stream)
		return deliver_stream(reply, connection, response);
	if (silo && silo->len >= SHARED_BODY_MIN) {
		reply->silo = NULL;
		return ulfius_set_stream_response(response, (unsigned)reply->status, read_silo, release_silo, silo->len,
						  STREAM_BLOCK, silo) == U_OK
			       ? ERR_OK
			       : ERR_INTERNAL;
	}
	if (silo && reply_body(reply, "application/json", silo->json, silo->len))
		return ERR_NOMEM;
	response->binary_body = TAKE_PTR(reply->body); /* both by malloc() */
	response->binary_body_length = reply->body_len;
	return ERR_OK;
}

/* For HEAD and 304 libmicrohttpd sends the length of the body, and not the body. */
static int deliver(const struct server *server, struct reply *reply, bool last, struct MHD_Connection *connection,
		   struct _u_response *response)
{
	int failed = 0;

	response->status = reply->status;
	if (reply->content_type && reply->status != 304)
		failed |= u_map_put(response->map_header, "Content-Type", reply->content_type);
	for (size_t i = 0; i < reply->header_count; i++)
		failed |= u_map_put(response->map_header, reply->headers[i].name, reply->headers[i].value);
	if (server->hsts[0])
		failed |= u_map_put(response->map_header, "Strict-Transport-Security", server->hsts);
	if (last)
		failed |= u_map_put(response->map_header, "Connection", "close");
	return failed ? ERR_NOMEM : deliver_body(reply, connection, response);
}

/* A proxy in front may see another end of such a request, and so another beginning of the next one (RFC 9112, 6.3 and
 * 11.2). */
static int check_framing(struct request *request)
{
	const char *length = request_header(request, "Content-Length");

	if (length && (strchr(length, ',') || request_header(request, "Transfer-Encoding")))
		return why_set(&request->why, ERR_MALFORMED, "",
			       "the length of the body is given twice: one Content-Length, or Transfer-Encoding alone");
	return ERR_OK;
}

static int on_request(const struct _u_request *raw, struct _u_response *response, void *arg)
{
	struct server *server = arg;
	_cleanup_(request_release) struct request request = {.hub = server->hub};
	_cleanup_(reply_release) struct reply reply = {0};
	const struct request_ext *ext = (const struct request_ext *)raw;
	int err = fill_request(&request, ext);

	if (!err)
		err = check_framing(&request);
	if (!err)
		routes_handle(&request, raw->http_verb, raw->http_url, &reply);
	else
		reply_problem(&reply, err, &request.why);
	bool last = err || atomic_load(&server->hub->draining);
	/* libmicrohttpd 0.9 would send the end of an endless body: to the client, the beginning of the next answer. */
	err = reply.stream && strcmp(raw->http_verb, "HEAD") == 0 ? reply_body(&reply, reply.content_type, "", 0)
								  : ERR_OK;
	if (!err)
		err = deliver(server, &reply, last, ext->connection, response);
	return err ? U_CALLBACK_ERROR : U_CALLBACK_COMPLETE;
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

static int make_instance(struct server *server, const struct server_settings *settings)
{
	struct _u_instance *ulfius = &server->ulfius;

	y_init_logs("silodns-api", Y_LOG_MODE_CALLBACK, Y_LOG_LEVEL_NONE, NULL, NULL);
	y_set_logs_callback(log_ulfius, NULL, NULL);
	if (ulfius_init_instance(ulfius, 1 /* not used: there is no socket */, NULL, NULL) != U_OK)
		return ERR_NOMEM;
	server->ulfius_made = true;
	ulfius->max_post_body_size = settings->body_max + 1; /* cut there; by the one byte more routes knows */
	ulfius->allowed_post_processor = U_POST_PROCESS_NONE;
	ulfius->check_utf8 = 0; /* its copies of header and query are not used */
	return ulfius_set_default_endpoint(ulfius, on_request, server) == U_OK ? ERR_OK : ERR_NOMEM;
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
	struct tls *tls = server->hub->tls;
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC |
			       MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG |
			       (tls ? MHD_USE_TLS : 0);
	/* Of all threads of the pool together: never reached. libmicrohttpd before 1.0 keeps a lock for ever when a
	 * thread finds itself past its share; take_connection() counts. */
	uint64_t limit = (uint64_t)settings->connections_max * settings->threads;
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_mhd, NULL}, /* first: it hears about the others */
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
		{MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_uri, server},
		{MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(limit < UINT_MAX ? limit : UINT_MAX), NULL},
		{MHD_OPTION_PER_IP_CONNECTION_LIMIT, settings->connections_per_address_max, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((settings->idle_timeout_ms + 999) / 1000), NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, SERVER_CONNECTION_MEMORY, NULL},
		{MHD_OPTION_THREAD_POOL_SIZE, settings->threads, NULL},
		{tls ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, 0, tls_priorities},
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(intptr_t)no_certificate},
		{MHD_OPTION_END, 0, NULL},
	};

	return ulfius_start_framework_with_mhd_options(&server->ulfius, flags, options) == U_OK ? ERR_OK : ERR_SYSTEM;
}

static void take_connection(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct server *server = arg;

	if (atomic_fetch_add(&server->open, 1) >= server->open_max) {
		close(fd);
		atomic_fetch_sub(&server->open, 1);
	} else if (MHD_add_connection(server->ulfius.mhd_daemon, fd, peer, peer_len) != MHD_YES) {
		atomic_fetch_sub(&server->open, 1); /* it has closed it */
	}
}

static void server_free(struct server *server)
{
	listener_close(server->listener);
	if (server->hub->tls)
		tls_stop(server->hub->tls);
	if (server->ulfius.mhd_daemon)
		ulfius_stop_framework(&server->ulfius);
	if (server->ulfius_made)
		ulfius_clean_instance(&server->ulfius);
	y_close_logs();
	free(server);
}

int server_start(struct hub *hub, const struct server_settings *settings, struct server **ret_server,
		 struct why *ret_why)
{
	struct server *server = calloc(1, sizeof *server);

	if (!server)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	server->hub = hub;
	server->open_max = settings->connections_max;
	if (hub->tls && settings->hsts_ms)
		snprintf(server->hsts, sizeof server->hsts, "max-age=%ld", settings->hsts_ms / 1000);
	int err = listener_open(settings->listen, settings->listen_count, &server->listener, ret_why);
	if (err) {
		free(server);
		return err;
	}
	err = make_instance(server, settings);
	if (!err)
		err = start_daemon(server, settings);
	if (!err)
		err = listener_start(server->listener, take_connection, server);
	if (err) {
		server_free(server);
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
	unsigned long begun = atomic_load(&server->begun);

	for (; now < until; now = clock_mono_ms()) {
		unsigned long ended = atomic_load(&server->ended), begun_now = atomic_load(&server->begun);
		if (begun_now != begun || begun_now != ended)
			quiet_since = now;
		begun = begun_now;
		if (now - quiet_since >= DRAIN_QUIET_MS)
			return true;
		nanosleep(&step, NULL);
	}
	return false;
}

void server_stop(struct server *server, long drain_ms)
{
	if (!server)
		return;
	atomic_store(&server->hub->draining, true);
	listener_close(TAKE_PTR(server->listener));
	watch_drain(server->hub->watch);
	if (!drain(server, drain_ms) && drain_ms > 0)
		log_warn("stopping with requests under way",
			 LOG_U64("requests", atomic_load(&server->begun) - atomic_load(&server->ended)));
	server_free(server);
}
