#include "api/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/http/adapter.h"
#include "api/http/connection.h"
#include "api/http/listener.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define DRAIN_QUIET_MS 100 /* no request for so long: nothing is on its way any more */
#define DRAIN_STEP_MS 5

struct server {
	struct server_handler handler;
	struct server_counters *counters;
	struct listener *listener;
	struct connections *connections;
	struct adapter adapter;
	int idle_timeout_ms;
};

static void take_connection(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct server *server = arg;

	if (!connections_have_room(server->connections, peer)) {
		close(fd);
		return;
	}
	/* A peer that has gone without a word is noticed: what is sent to it, such as a watcher's signs of life, must
	 * be acknowledged in this time. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &server->idle_timeout_ms, sizeof server->idle_timeout_ms);
	adapter_add_connection(&server->adapter, fd, peer, peer_len);
}

static void sweep(void *arg)
{
	const struct server *server = arg;

	connections_sweep(server->connections);
}

static void prepare_adapter(struct server *server, const struct server_settings *settings)
{
	struct adapter *adapter = &server->adapter;

	adapter->handler = &server->handler;
	adapter->counters = server->counters;
	adapter->connections = server->connections;
	adapter->tls = settings->tls;
	adapter->body_max = settings->body_max;
	adapter->bodies_max = settings->bodies_max;
	if (settings->tls && settings->hsts_ms)
		snprintf(adapter->hsts, sizeof adapter->hsts, "max-age=%ld", settings->hsts_ms / 1000);
}

int server_start(const struct server_settings *settings, const struct server_handler *handler,
		 struct server_counters *counters, struct server **ret_server, struct why *ret_why)
{
	const struct connection_settings limits = {.max = settings->connections_max,
						   .per_address_max = settings->connections_per_address_max,
						   .patience_ms =
							   settings->idle_timeout_ms + settings->request_timeout_ms,
						   .is_limited = handler->is_limited,
						   .arg = handler->arg};
	struct server *server = calloc(1, sizeof *server);

	if (!server)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	server->handler = *handler;
	server->counters = counters;
	server->idle_timeout_ms = (int)settings->idle_timeout_ms;
	int err = listener_open(settings->listen, settings->listen_count, &server->listener, ret_why);
	if (err) {
		free(server);
		return err;
	}
	err = connections_new(&limits, &counters->connections, &server->connections);
	prepare_adapter(server, settings);
	if (!err)
		err = adapter_start(&server->adapter, settings);
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
static bool drain(const struct server_counters *counters, long drain_ms)
{
	const struct timespec step = {.tv_nsec = DRAIN_STEP_MS * 1000000L};
	int64_t now = clock_mono_ms(), until = now + drain_ms, quiet_since = now;
	unsigned long begun = atomic_load(&counters->begun);

	for (; now < until; now = clock_mono_ms()) {
		unsigned long ended = atomic_load(&counters->ended), begun_now = atomic_load(&counters->begun);
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
	atomic_store(&server->adapter.draining, true);
	listener_close(TAKE_PTR(server->listener));
	if (!drain(server->counters, drain_ms) && drain_ms > 0)
		log_warn("stopping with requests under way", LOG_U64("requests", server_in_progress(server->counters)));
}

void server_stop(struct server *server)
{
	if (!server)
		return;
	listener_close(server->listener);
	if (server->adapter.tls)
		tls_stop(server->adapter.tls);
	adapter_stop(&server->adapter);
	connections_free(server->connections);
	free(server);
}

unsigned long server_in_progress(const struct server_counters *counters)
{
	unsigned long ended = atomic_load(&counters->ended);

	return atomic_load(&counters->begun) - ended;
}
