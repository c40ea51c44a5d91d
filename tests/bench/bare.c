/*
 * The ceiling of reading: Ulfius as the hub starts it (server.c: same flags, limits, number of threads, the hub's own
 * listener), with one endpoint that answers every request alike: body and headers as the hub's, nothing looked up,
 * nobody asked who he is. Until SIGTERM.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>
#include <ulfius.h>
#include <yder.h>

#include "api/http/listener.h"
#include "api/http/server.h"
#include "common/base/lifecycle.h"
#include "lib/program.h"

#define CONNECTION_MEMORY 8192 /* these four: the hub's defaults */
#define CONNECTIONS_MAX 12000
#define BODY_MAX (1u << 20)
#define IDLE_SECONDS 30

struct bare {
	struct _u_instance ulfius;
	long status;
	const char *body;
	size_t body_len;
};

static int on_request(const struct _u_request *request, struct _u_response *response, void *arg)
{
	const struct bare *bare = arg;

	(void)request;
	if (u_map_put(response->map_header, "Cache-Control", "no-cache") ||
	    u_map_put(response->map_header, "X-Content-Type-Options", "nosniff") ||
	    u_map_put(response->map_header, "ETag", "\"4711\"") ||
	    (bare->status != 304 && u_map_put(response->map_header, "Content-Type", "application/json")) ||
	    ulfius_set_binary_body_response(response, (unsigned)bare->status, bare->body, bare->body_len))
		return U_CALLBACK_ERROR;
	return U_CALLBACK_COMPLETE;
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	(void)arg;
	(void)connection;
	return ulfius_uri_logger(NULL, uri);
}

static void take_connection(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct bare *bare = arg;

	MHD_add_connection(bare->ulfius.mhd_daemon, fd, peer, peer_len);
}

static void no_sweep(void *arg)
{
	(void)arg;
}

static void start(struct bare *bare, long threads)
{
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC |
			       MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)mhd_request_completed, NULL},
		{MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_uri, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
		{MHD_OPTION_THREAD_POOL_SIZE, threads, NULL},
		{MHD_OPTION_END, 0, NULL},
	};

	y_init_logs("bare", Y_LOG_MODE_NONE, Y_LOG_LEVEL_NONE, NULL, NULL);
	if (ulfius_init_instance(&bare->ulfius, 1, NULL, NULL) != U_OK)
		program_fail("cannot make an instance");
	bare->ulfius.max_post_body_size = BODY_MAX + 1;
	bare->ulfius.allowed_post_processor = U_POST_PROCESS_NONE;
	bare->ulfius.check_utf8 = 0;
	if (ulfius_set_default_endpoint(&bare->ulfius, on_request, bare) != U_OK ||
	    ulfius_start_framework_with_mhd_options(&bare->ulfius, flags, options) != U_OK)
		program_fail("cannot start");
}

int main(int argc, char **argv)
{
	static struct bare bare = {.status = 200, .body = ""};
	char address[32];
	const char *listen = address;
	long port = 0, threads = 64;
	struct listener *listener;
	struct why why = {0};
	const struct flag program[] = {
		{.name = "port", .number = &port},
		{.name = "body", .text = &bare.body},
		{.name = "status", .number = &bare.status},
		{.name = "threads", .number = &threads},
	};

	program_flags(argc, argv, program, sizeof program / sizeof program[0]);
	snprintf(address, sizeof address, "127.0.0.1:%ld", port);
	bare.body_len = strlen(bare.body);
	if (lifecycle_init())
		program_fail("cannot initialise");
	if (listener_open(&listen, 1, &listener, &why))
		program_fail("%s", why.text);
	start(&bare, threads);
	if (listener_start(listener, take_connection, no_sweep, &bare))
		program_fail("cannot accept connections");
	while (lifecycle_wait(-1, -1) != LIFECYCLE_STOP)
		;
	listener_close(listener);
	ulfius_stop_framework(&bare.ulfius);
	ulfius_clean_instance(&bare.ulfius);
	y_close_logs();
	return 0;
}
