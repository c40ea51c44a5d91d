/*
 * Watchers on a network: --watchers streams, watcher n of silo n % --silos. A stream that ends or is refused is opened
 * again where it was, after the pause that the server asked for. Says so in one line of JSON once all are synced. Then
 * a line is awaited on standard input: the revisions that the silos have in the end. When each has heard of them (or
 * --grace-ms later), says in another line what they have seen.
 *
 * Wrong is: a state that is no newer than the one before it, and one of another silo.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "lib/client.h"
#include "lib/histogram.h"
#include "lib/program.h"
#include "lib/sse.h"
#include "lib/traffic.h"

#define READ_SIZE 65536
#define TICK_MS 5
#define FIRST_US 400        /* between the first streams of two watchers */
#define AGAIN_MIN_MS 50     /* after a stream that never got as far as telling when to come back */
#define AGAIN_SPREAD_MS 450 /* a server that is overloaded is not helped by all at once */
#define HUB_MAX 64

struct watcher {
	struct crowd *crowd;
	int fd; /* -1: between two streams */
	unsigned silo;
	bool synced;
	int64_t due_us;  /* of the next stream */
	int64_t lost_us; /* when the last one ended that was synced; 0: has never been */
	uint64_t since, newest;
	char hub[HUB_MAX];
	struct sse sse;
};

struct crowd {
	struct client_server server;
	long watchers, silos, grace_ms;
	struct traffic traffic;
	struct watcher *list;
	uint64_t *newest; /* of each silo, that any has heard of, or is to hear of */
	int epoll;
	bool told; /* the line has come */
	size_t synced_count;
	uint64_t events, resets, refused, wrong;
	char first_refused[128], first_wrong[128];
	struct histogram away; /* from the end of a stream until the next one is synced */
};

/* --- what they hear ----------------------------------------------------------------------------------------------- */

static void note_wrong(struct watcher *watcher, const char *what, uint64_t revision)
{
	if (!watcher->crowd->wrong++)
		snprintf(watcher->crowd->first_wrong, sizeof watcher->crowd->first_wrong,
			 "silo %u: %s: revision %llu after %llu", watcher->silo, what, (unsigned long long)revision,
			 (unsigned long long)watcher->newest);
}

static uint64_t revision_in(const char *data)
{
	static const char name[] = "\"revision\":";
	const char *at = strstr(data, name);

	return at ? strtoull(at + sizeof name - 1, NULL, 10) : 0;
}

static void on_silo(struct watcher *watcher, const char *data)
{
	uint64_t revision = revision_in(data), *newest = &watcher->crowd->newest[watcher->silo];
	unsigned silo, change;

	if (!traffic_parse(data, &silo, &change) || silo != watcher->silo)
		note_wrong(watcher, "another silo", revision);
	if (revision <= watcher->newest)
		note_wrong(watcher, "nothing newer", revision);
	watcher->newest = revision;
	*newest = revision > *newest ? revision : *newest;
}

static void on_synced(struct watcher *watcher, const char *data)
{
	struct crowd *crowd = watcher->crowd;

	if (sscanf(data, "{\"hub\": \"%63[^\"]\"", watcher->hub) != 1)
		program_fail("no hub is named: %s", data);
	if (watcher->synced)
		return;
	watcher->synced = true;
	crowd->synced_count++;
	if (watcher->lost_us)
		histogram_add(&crowd->away, clock_mono_us() - watcher->lost_us);
}

static void on_event(void *arg, const struct sse_event *event)
{
	struct watcher *watcher = arg;

	watcher->crowd->events++;
	if (strcmp(event->name, "silo") == 0) {
		on_silo(watcher, event->data);
	} else if (strcmp(event->name, "synced") == 0) {
		on_synced(watcher, event->data);
	} else if (strcmp(event->name, "reset") == 0) {
		watcher->crowd->resets++;
		watcher->since = watcher->newest = 0;
	} else {
		note_wrong(watcher, event->name, event->id);
	}
	if (event->id)
		watcher->since = event->id;
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static void end_stream(struct watcher *watcher, const char *reason)
{
	struct crowd *crowd = watcher->crowd;
	int64_t now = clock_mono_us();

	close(watcher->fd);
	watcher->fd = -1;
	if (watcher->synced) {
		watcher->synced = false;
		crowd->synced_count--;
		watcher->lost_us = now;
		watcher->due_us = now + watcher->sse.retry_ms * 1000;
		return;
	}
	watcher->due_us = now + (AGAIN_MIN_MS + random() % AGAIN_SPREAD_MS) * 1000;
	if (!crowd->refused++)
		snprintf(crowd->first_refused, sizeof crowd->first_refused, "%s", reason);
}

static void open_stream(struct watcher *watcher)
{
	struct crowd *crowd = watcher->crowd;
	char request[TRAFFIC_REQUEST_MAX];
	size_t len = traffic_watch(&crowd->traffic, false, watcher->silo, watcher->since,
				   watcher->since ? watcher->hub : NULL, request);

	watcher->sse = (struct sse){.event.data = ""};
	watcher->fd = client_connect(&crowd->server);
	client_listen(crowd->epoll, watcher->fd, watcher);
	if (!client_try_send_all(watcher->fd, request, len))
		end_stream(watcher, strerror(errno));
}

static void read_stream(struct watcher *watcher)
{
	static char bytes[READ_SIZE];
	ssize_t got = watcher->fd < 0 ? -1 : recv(watcher->fd, bytes, sizeof bytes, 0);

	if (watcher->fd < 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (got <= 0)
		end_stream(watcher, got ? strerror(errno) : "end of file");
	else if (!sse_take(&watcher->sse, bytes, (size_t)got, on_event, watcher))
		end_stream(watcher, watcher->sse.over);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* The line comes in one piece, as far as anybody could tell: what is still to come is waited for. */
static void read_revisions(struct crowd *crowd)
{
	unsigned long long revision;

	for (long i = 0; i < crowd->silos && scanf("%llu", &revision) == 1; i++)
		crowd->newest[i] = revision > crowd->newest[i] ? revision : crowd->newest[i];
	crowd->told = true;
	epoll_ctl(crowd->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void open_what_is_due(struct crowd *crowd)
{
	int64_t now = clock_mono_us();

	for (long i = 0; i < crowd->watchers; i++)
		if (crowd->list[i].fd < 0 && crowd->list[i].due_us <= now)
			open_stream(&crowd->list[i]);
}

static void turn(struct crowd *crowd)
{
	struct epoll_event events[512];
	int count = epoll_wait(crowd->epoll, events, 512, TICK_MS);

	if (count < 0 && errno != EINTR)
		program_fail("epoll: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr)
			read_stream(events[i].data.ptr);
		else
			read_revisions(crowd);
	}
	open_what_is_due(crowd);
}

/* How many have not heard of the newest state of their silo. */
static size_t behind(const struct crowd *crowd)
{
	size_t count = 0;

	for (long i = 0; i < crowd->watchers; i++)
		count += crowd->list[i].newest != crowd->newest[crowd->list[i].silo];
	return count;
}

static void run(struct crowd *crowd)
{
	size_t all = (size_t)crowd->watchers;

	while (crowd->synced_count < all && !crowd->told)
		turn(crowd);
	program_print_take(json_pack("{s:I}", "synced", (json_int_t)crowd->synced_count));
	while (!crowd->told)
		turn(crowd);
	for (int64_t until = clock_mono_us() + crowd->grace_ms * 1000;
	     (crowd->synced_count < all || behind(crowd)) && clock_mono_us() < until;)
		turn(crowd);
}

/* --- begin and end ------------------------------------------------------------------------------------------------ */

static void report(const struct crowd *crowd)
{
	json_t *newest = json_array();

	for (long i = 0; i < crowd->silos; i++)
		json_array_append_new(newest, json_integer((json_int_t)crowd->newest[i]));
	program_print_take(json_pack("{s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:s, s:I, s:s, s:I, s:o}", "watchers",
				     (json_int_t)crowd->watchers, "synced", (json_int_t)crowd->synced_count, "behind",
				     (json_int_t)behind(crowd), "came_back", (json_int_t)crowd->away.count, "away_us",
				     histogram_json(&crowd->away), "resets", (json_int_t)crowd->resets, "refused",
				     (json_int_t)crowd->refused, "first_refused", crowd->first_refused, "wrong",
				     (json_int_t)crowd->wrong, "first_wrong", crowd->first_wrong, "events",
				     (json_int_t)crowd->events, "newest", newest));
}

static void set_up(struct crowd *crowd)
{
	int64_t now = clock_mono_us();

	program_raise_descriptor_limit();
	crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
	crowd->list = calloc((size_t)crowd->watchers, sizeof *crowd->list);
	crowd->newest = calloc((size_t)crowd->silos, sizeof *crowd->newest);
	if (!crowd->list || !crowd->newest || crowd->epoll < 0)
		program_fail("out of memory or descriptors");
	client_listen(crowd->epoll, STDIN_FILENO, NULL);
	for (long i = 0; i < crowd->watchers; i++) {
		struct watcher *watcher = &crowd->list[i];
		watcher->crowd = crowd;
		watcher->fd = -1;
		watcher->silo = (unsigned)(i % crowd->silos);
		watcher->due_us = now + i * FIRST_US;
	}
}

static void release(struct crowd *crowd)
{
	for (long i = 0; i < crowd->watchers; i++)
		if (crowd->list[i].fd >= 0)
			close(crowd->list[i].fd);
	free(crowd->newest);
	free(crowd->list);
	close(crowd->epoll);
}

int main(int argc, char **argv)
{
	static struct crowd crowd = {.server.address = "127.0.0.1", .watchers = 1, .silos = 1, .grace_ms = 5000};
	const char *user = "", *password = getenv("BENCH_PASSWORD");
	const struct flag flags[] = {
		{.name = "user", .text = &user}, /* its password is in the environment: BENCH_PASSWORD */
		{.name = "address", .text = &crowd.server.address},
		{.name = "port", .number = &crowd.server.port},
		{.name = "watchers", .number = &crowd.watchers},
		{.name = "silos", .number = &crowd.silos},
		{.name = "grace-ms", .number = &crowd.grace_ms},
	};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (crowd.watchers < 1 || crowd.silos < 1)
		program_fail("there must be a watcher and a silo");
	traffic_init(&crowd.traffic, user, password ? password : "");
	set_up(&crowd);
	run(&crowd);
	report(&crowd);
	release(&crowd);
	return 0;
}
