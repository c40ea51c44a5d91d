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
	struct listener *listener;
	struct adapter adapter;
};

static void take_connection(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct adapter *adapter = arg;
	const int timeout_ms = (int)adapter->settings.idle_timeout_ms;

	if (!connections_have_room(adapter->connections, peer)) {
		close(fd);
		return;
	}
	/* A peer that has gone without a word is noticed: what is sent to it, such as a watcher's signs of life, must
	 * be acknowledged in this time. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
	adapter_add_connection(adapter, fd, peer, peer_len);
}

static void sweep(void *arg)
{
	const struct adapter *adapter = arg;

	connections_sweep(adapter->connections);
}

int server_start(const struct server_settings *settings, const struct server_handler *handler,
		 struct server_counters *counters, struct server **ret_server, struct why *ret_why)
{
	struct server *server = calloc(1, sizeof *server);

	if (!server)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	struct adapter *adapter = &server->adapter;
	adapter->settings = *settings;
	adapter->handler = *handler;
	adapter->counters = counters;
	if (settings->tls && settings->hsts_ms)
		snprintf(adapter->hsts, sizeof adapter->hsts, "max-age=%ld", settings->hsts_ms / 1000);
	int err = listener_open(settings->listen, settings->listen_count, &server->listener, ret_why);
	if (err) {
		free(server);
		return err;
	}
	err = connections_new(&adapter->settings, &adapter->handler, &counters->connections, &adapter->connections);
	if (!err)
		err = adapter_start(adapter);
	if (!err)
		err = listener_start(server->listener, take_connection, sweep, adapter);
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
	if (!drain(server->adapter.counters, drain_ms) && drain_ms > 0)
		log_warn("stopping with requests under way",
			 LOG_U64("requests", server_in_progress(server->adapter.counters)));
}

void server_stop(struct server *server)
{
	if (!server)
		return;
	listener_close(server->listener);
	if (server->adapter.settings.tls)
		tls_stop(server->adapter.settings.tls);
	adapter_stop(&server->adapter);
	connections_free(server->adapter.connections);
	free(server);
}

unsigned long server_in_progress(const struct server_counters *counters)
{
	unsigned long ended = atomic_load(&counters->ended);

	return atomic_load(&counters->begun) - ended;
}
