/*
 * Watchers and changes in one process, so that both have one clock: how long after a change was sent has each watcher
 * heard of it?
 *
 * Opens --watchers streams, of all silos or (--named) of silo 0; says so in one line of JSON once each has told that it
 * is synced, and waits for a line on standard input, so that whoever started it can look at the hub meanwhile. Then:
 *
 *   --rate 0   --changes single changes of silo 0, each once all watchers have heard of the last
 *   --rate R   R changes/s of --silos silos for --duration-ms; then up to --grace-ms until each watcher has heard of
 *              the newest state of each silo. --reconnect N: N of the watchers per second are replaced by new ones
 *
 * A watcher's delay is that of the oldest change of the silo that it had not heard of (in it, or in a newer state of
 * the same silo) when the event came. An older state after a newer one ends the program.
 */
#include <errno.h>
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
#define WRITERS 128
#define SYNC_MS 60000
#define LAST_WATCHER_MS 10000 /* for a single change */

struct history { /* the changes of one silo, in order */
	struct {
		unsigned change;
		int64_t sent_us;
	} * items;
	size_t count, capacity;
};

struct watcher {
	struct watching *watching;
	int fd;
	bool synced;
	uint64_t revision; /* of the newest event */
	size_t *heard;     /* of each silo: how many of its changes */
	struct sse sse;
};

struct writer {
	struct client client;
	unsigned silo, turn;
	bool busy;
};

struct watching {
	unsigned next_writer;
	struct client_server server;
	long watchers, silos, named, changes, rate, duration_ms, grace_ms, reconnect, first_change;
	struct traffic traffic;
	struct watcher *list;
	struct writer writers[WRITERS];
	struct history *histories;
	unsigned next_change;
	int epoll;
	int64_t now_us; /* when the bytes that are being read came */
	size_t synced_count, behind;
	size_t next_replaced;
	uint64_t events, answers, refused;
	struct histogram delay;
};

/* --- what is known ------------------------------------------------------------------------------------------------ */

static void remember(struct watching *w, unsigned silo, unsigned change, int64_t sent_us)
{
	struct history *history = &w->histories[silo];

	if (history->count == history->capacity) {
		history->capacity = history->capacity ? history->capacity * 2 : 64;
		history->items = reallocarray(history->items, history->capacity, sizeof *history->items);
		if (!history->items)
			program_fail("out of memory");
	}
	history->items[history->count].change = change;
	history->items[history->count++].sent_us = sent_us;
	w->behind += w->synced_count;
}

/* The last one of the silo, which the hub has refused. */
static void forget(struct watching *w, unsigned silo)
{
	w->histories[silo].count--;
	w->behind -= w->synced_count;
	w->refused++;
}

/* How many changes of the silo are told by the state that `change` made; 0: none of this run's. */
static size_t find_change(const struct history *history, unsigned change)
{
	size_t from = 0, to = history->count;

	while (from < to) {
		size_t middle = (from + to) / 2;
		if (history->items[middle].change < change)
			from = middle + 1;
		else
			to = middle;
	}
	return from < history->count && history->items[from].change == change ? from + 1 : 0;
}

static void on_silo(struct watcher *watcher, const struct sse_event *event)
{
	struct watching *w = watcher->watching;
	unsigned silo, change;

	w->events++;
	if (!traffic_parse(event->data, &silo, &change) || silo >= (unsigned)w->silos)
		return;
	const struct history *history = &w->histories[silo];
	size_t told = find_change(history, change), *heard = &watcher->heard[silo];
	if (told < *heard)
		program_fail("a watcher heard of an older state of silo %u after a newer one", silo);
	if (told > *heard && watcher->synced) {
		histogram_add(&w->delay, w->now_us - history->items[*heard].sent_us);
		w->behind -= told - *heard;
	}
	*heard = told;
}

static void on_event(void *arg, const struct sse_event *event)
{
	struct watcher *watcher = arg;
	struct watching *w = watcher->watching;

	if (event->id && event->id < watcher->revision)
		program_fail("the stream went back from revision %llu to %llu", (unsigned long long)watcher->revision,
			     (unsigned long long)event->id);
	if (event->id)
		watcher->revision = event->id;
	if (strcmp(event->name, "silo") == 0) {
		on_silo(watcher, event);
	} else if (strcmp(event->name, "synced") == 0 && !watcher->synced) {
		watcher->synced = true;
		w->synced_count++;
		for (long i = 0; i < w->silos; i++) /* changes that came while it was being told everything */
			w->behind += w->histories[i].count - watcher->heard[i];
	} else if (strcmp(event->name, "reset") == 0 || strcmp(event->name, "forbidden") == 0) {
		program_fail("a watcher was told: %s", event->name);
	}
}

/* --- connections -------------------------------------------------------------------------------------------------- */

/* Watchers and writers are told apart by where they lie in memory. */
static bool is_writer(const struct watching *w, const void *at)
{
	return (const char *)at >= (const char *)w->writers && (const char *)at < (const char *)(w->writers + WRITERS);
}

static void open_watcher(struct watching *w, struct watcher *watcher)
{
	char request[TRAFFIC_REQUEST_MAX];
	size_t len = traffic_watch(&w->traffic, !w->named, request);

	watcher->watching = w;
	watcher->fd = client_connect(&w->server);
	watcher->synced = false;
	watcher->revision = 0;
	watcher->sse = (struct sse){.event.data = ""};
	if (!watcher->heard)
		watcher->heard = calloc((size_t)w->silos, sizeof *watcher->heard);
	if (!watcher->heard)
		program_fail("out of memory");
	memset(watcher->heard, 0, (size_t)w->silos * sizeof *watcher->heard);
	client_listen(w->epoll, watcher->fd, watcher);
	client_send_all(watcher->fd, request, len);
}

static void close_watcher(struct watching *w, struct watcher *watcher)
{
	for (long i = 0; watcher->synced && i < w->silos; i++)
		w->behind -= w->histories[i].count - watcher->heard[i];
	w->synced_count -= watcher->synced;
	close(watcher->fd);
}

static void read_watcher(struct watching *w, struct watcher *watcher)
{
	static char bytes[READ_SIZE];
	ssize_t got = recv(watcher->fd, bytes, sizeof bytes, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		program_fail("a stream was cut off: %s", got ? strerror(errno) : "end of file");
	w->now_us = clock_mono_us();
	if (!sse_take(&watcher->sse, bytes, (size_t)got, on_event, watcher))
		program_fail("%s", watcher->sse.over);
}

static void read_writer(struct watching *w, struct writer *writer)
{
	if (!client_receive(&writer->client))
		return;
	writer->busy = false;
	if (writer->client.status == 200)
		w->answers++;
	else if (writer->client.status == 503 && strstr(writer->client.body, "nothing was changed"))
		forget(w, writer->silo);
	else
		program_fail("a change was answered with %d %s", writer->client.status, writer->client.body);
}

static void change(struct watching *w, struct writer *writer, unsigned silo)
{
	char request[TRAFFIC_REQUEST_MAX];
	unsigned number = w->next_change++ % TRAFFIC_CHANGES_MAX;
	size_t len = traffic_put(&w->traffic, silo, number, request);

	writer->busy = true;
	writer->silo = silo;
	remember(w, silo, number, clock_mono_us());
	client_send(&writer->client, request, len);
}

static void turn(struct watching *w, int timeout_ms)
{
	struct epoll_event events[512];
	int count = epoll_wait(w->epoll, events, 512, timeout_ms);

	if (count < 0 && errno != EINTR)
		program_fail("epoll: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		if (is_writer(w, events[i].data.ptr))
			read_writer(w, events[i].data.ptr);
		else
			read_watcher(w, events[i].data.ptr);
	}
}

/* --- what is done ------------------------------------------------------------------------------------------------- */

static void open_all(struct watching *w)
{
	int64_t started = clock_mono_us();

	for (long i = 0; i < w->watchers; i++) {
		open_watcher(w, &w->list[i]);
		turn(w, 0);
	}
	while (w->synced_count < (size_t)w->watchers) {
		if (clock_mono_us() - started > SYNC_MS * 1000)
			program_fail("only %zu watchers of %ld were synced within %d s", w->synced_count, w->watchers,
				     SYNC_MS / 1000);
		turn(w, 100);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		client_open(&w->writers[i].client, &w->server);
		client_listen(w->epoll, w->writers[i].client.fd, &w->writers[i]);
	}
	program_print_take(json_pack("{s:f}", "synced_seconds", (double)(clock_mono_us() - started) / 1e6));
	if (getchar() == EOF)
		program_fail("nobody said to go on");
}

/* In microseconds: until the last watcher, and until the answer. */
static json_t *single_changes(struct watching *w)
{
	json_t *last = json_array();

	for (long i = 0; i < w->changes; i++) {
		int64_t started = clock_mono_us();
		change(w, &w->writers[0], 0);
		while (w->behind || w->writers[0].busy) {
			if (clock_mono_us() - started > LAST_WATCHER_MS * 1000)
				program_fail("%zu watchers did not hear of a change within %d s", w->behind,
					     LAST_WATCHER_MS / 1000);
			turn(w, 100);
		}
		json_array_append_new(last, json_integer(clock_mono_us() - started));
	}
	return last;
}

static void change_what_is_due(struct watching *w, uint64_t due, uint64_t *sent)
{
	for (unsigned n = 0; n < WRITERS && *sent < due; n++) {
		unsigned i = w->next_writer++ % WRITERS; /* in turn: the hub closes a connection that is idle */
		struct writer *writer = &w->writers[i];
		if (writer->busy)
			continue;
		change(w, writer, traffic_own_silo(i, WRITERS, w->silos, &writer->turn));
		++*sent;
	}
}

static void replace_watchers(struct watching *w, uint64_t due, uint64_t *replaced)
{
	for (; *replaced < due; ++*replaced) {
		struct watcher *watcher = &w->list[w->next_replaced++ % (size_t)w->watchers];
		close_watcher(w, watcher);
		open_watcher(w, watcher);
	}
}

static bool is_busy(const struct watching *w)
{
	for (unsigned i = 0; i < WRITERS; i++)
		if (w->writers[i].busy)
			return true;
	return false;
}

static json_t *many_changes(struct watching *w)
{
	int64_t started = clock_mono_us(), until = started + w->duration_ms * 1000, now;
	uint64_t sent = 0, replaced = 0;

	while ((now = clock_mono_us()) < until) {
		uint64_t elapsed = (uint64_t)(now - started);
		change_what_is_due(w, elapsed * (uint64_t)w->rate / 1000000, &sent);
		replace_watchers(w, elapsed * (uint64_t)w->reconnect / 1000000, &replaced);
		turn(w, 1);
	}
	until = clock_mono_us() + w->grace_ms * 1000;
	while ((w->behind || is_busy(w) || w->synced_count < (size_t)w->watchers) && clock_mono_us() < until)
		turn(w, 10);
	return json_pack("{s:I, s:I, s:f, s:I, s:I, s:I, s:o}", "changes", (json_int_t)w->answers, "refused",
			 (json_int_t)w->refused, "per_second", (double)w->answers * 1000 / (double)w->duration_ms,
			 "events", (json_int_t)w->events, "reconnected", (json_int_t)replaced, "behind",
			 (json_int_t)w->behind, "delay_us", histogram_json(&w->delay));
}

static void release(struct watching *w)
{
	for (long i = 0; i < w->watchers; i++) {
		close(w->list[i].fd);
		free(w->list[i].heard);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		client_close(&w->writers[i].client);
	for (long i = 0; i < w->silos; i++)
		free(w->histories[i].items);
	free(w->histories);
	free(w->list);
	close(w->epoll);
}

int main(int argc, char **argv)
{
	static struct watching w = {.server.address = "127.0.0.1",
				    .watchers = 1,
				    .silos = 1,
				    .changes = 10,
				    .duration_ms = 1000,
				    .grace_ms = 5000};
	const char *user = "", *password = getenv("BENCH_PASSWORD");
	const struct flag flags[] = {
		{.name = "user", .text = &user},
		{.name = "port", .number = &w.server.port},
		{.name = "watchers", .number = &w.watchers},
		{.name = "silos", .number = &w.silos},
		{.name = "named", .number = &w.named},
		{.name = "changes", .number = &w.changes},
		{.name = "rate", .number = &w.rate},
		{.name = "duration-ms", .number = &w.duration_ms},
		{.name = "grace-ms", .number = &w.grace_ms},
		{.name = "reconnect", .number = &w.reconnect},
		{.name = "first-change", .number = &w.first_change},
	};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (w.watchers < 1 || w.silos < 1 || (w.rate && w.silos < WRITERS))
		program_fail("there must be a watcher, and %d silos for changes at a rate", WRITERS);
	program_raise_descriptor_limit();
	traffic_init(&w.traffic, user, password ? password : "");
	w.next_change = (unsigned)w.first_change;
	w.list = calloc((size_t)w.watchers, sizeof *w.list);
	w.histories = calloc((size_t)w.silos, sizeof *w.histories);
	w.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!w.list || !w.histories || w.epoll < 0)
		program_fail("out of memory or descriptors");
	open_all(&w);
	json_t *result = w.rate ? many_changes(&w)
				: json_pack("{s:o, s:o}", "last_watcher_us", single_changes(&w), "delay_us",
					    histogram_json(&w.delay));
	if (result)
		json_object_set_new(result, "next_change", json_integer(w.next_change));
	program_print_take(result);
	release(&w);
	return 0;
}
