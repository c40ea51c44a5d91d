/*
 * The load generator: keep-alive connections from one thread, each sending its next request when the answer to the
 * last one is in, or (--rate) when one is due. Prints rates, latencies and answers by status as one line of JSON.
 *
 * With --rate a request that finds no free connection waits, and the wait counts: a slow server cannot hide by slowing
 * its clients down.
 *
 * With --patient (and --rate) it is clients on a network: the server may close a connection, and it is opened again.
 * What gets no answer has failed, but for a request that finds a connection closed on which others were answered
 * before, and hears nothing at all: that is sent once more, as HTTP clients do with GET and PUT (RFC 9110, 9.2.2), and
 * counted apart.
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
#include "lib/traffic.h"

#define TICK_MS 1     /* requests that are due within one are sent together */
#define GRACE_MS 3000 /* for the last answers */
#define PATIENCE_MS 20000
#define CHANGE_EVERY 10 /* requests; MODE_MIXED */

enum mode { MODE_GET, MODE_GET_304, MODE_PUT, MODE_PUT_SAME, MODE_MIXED };
static const char *const mode_names[] = {"get", "get-304", "put", "put-same", "mixed"};

struct slot { /* one connection and what it is asking */
	struct client client;
	unsigned silo, change, turn;
	bool writes, under_way, again;
	uint64_t none_match; /* sent as If-None-Match; 0: without */
	int64_t due_us;      /* when its request was sent, or ought to have been */
};

struct load {
	enum mode mode;
	struct client_server server;
	long connections, silos, rate, first_change, patient;
	long warmup_ms, duration_ms; /* 0: until standard input ends */
	struct traffic traffic;
	struct slot *slots;
	struct slot **idle; /* stack; with --rate only */
	size_t idle_count;
	int epoll;
	uint64_t *etags; /* of each silo, as last seen; MODE_GET_304 */
	unsigned next_change;
	uint64_t asked, random;
	FILE *acks; /* every acknowledged change: "revision silo change" */

	int64_t started_us, counted_from_us, until_us;
	size_t under_way;
	struct histogram latency; /* answers that came while counting */
	uint64_t statuses[PROGRAM_STATUS_MAX];
	char unexpected[512]; /* the first answer that was not as wanted */
	uint64_t unexpected_count, sent_again;
};

/* --- connections -------------------------------------------------------------------------------------------------- */

static void open_connection(struct load *load, struct slot *slot)
{
	client_open(&slot->client, &load->server);
	client_listen(load->epoll, slot->client.fd, slot);
}

/* --- what is asked ------------------------------------------------------------------------------------------------ */

static unsigned random_silo(struct load *load)
{
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return (unsigned)(load->random % (uint64_t)load->silos);
}

static void choose_request(struct load *load, struct slot *slot)
{
	slot->writes = load->mode == MODE_PUT || load->mode == MODE_PUT_SAME ||
		       (load->mode == MODE_MIXED && load->asked % CHANGE_EVERY == 0);
	if (load->mode == MODE_PUT)
		slot->silo =
			traffic_own_silo((unsigned)(slot - load->slots), load->connections, load->silos, &slot->turn);
	else
		slot->silo = load->mode == MODE_PUT_SAME ? 0 : random_silo(load);
	if (load->mode == MODE_GET_304)
		slot->none_match = load->etags[slot->silo];
	if (slot->writes)
		slot->change = load->next_change++ % TRAFFIC_CHANGES_MAX;
	load->asked++;
}

static void send_request(struct load *load, struct slot *slot)
{
	char request[TRAFFIC_REQUEST_MAX];
	size_t len = slot->writes ? traffic_put(&load->traffic, slot->silo, slot->change, request)
				  : traffic_get(&load->traffic, slot->silo, slot->none_match, request);

	if (slot->client.fd < 0)
		open_connection(load, slot);
	if (!load->patient)
		client_send(&slot->client, request, len);
	else if (!client_try_send(&slot->client, request, len)) /* epoll tells of it, too */
		shutdown(slot->client.fd, SHUT_RDWR);
}

static void ask(struct load *load, struct slot *slot, int64_t due_us)
{
	choose_request(load, slot);
	slot->due_us = due_us;
	slot->under_way = true;
	slot->again = false;
	load->under_way++;
	send_request(load, slot);
}

/* --- what is answered --------------------------------------------------------------------------------------------- */

/* The silo that was asked for, and as it was written. */
static bool is_as_asked(const struct slot *slot)
{
	unsigned silo, change;

	return traffic_parse(slot->client.body, &silo, &change) && silo == slot->silo &&
	       (!slot->writes || change == slot->change);
}

static bool is_as_wanted(const struct load *load, const struct slot *slot)
{
	if (load->mode == MODE_GET_304 && slot->client.status == 304) /* a bare Ulfius knows no other answer */
		return true;
	return slot->client.status == 200 && !slot->none_match && (load->mode != MODE_MIXED || is_as_asked(slot));
}

static void end_request(struct load *load, struct slot *slot)
{
	slot->under_way = false;
	load->under_way--;
	if (load->rate)
		load->idle[load->idle_count++] = slot;
}

static void note_failure(struct load *load, const struct slot *slot, int status, const char *text)
{
	if (!load->unexpected_count++)
		snprintf(load->unexpected, sizeof load->unexpected, "%s of silo %u: %d %s",
			 slot->writes ? "PUT" : "GET", slot->silo, status, text);
}

static void take_answer(struct load *load, struct slot *slot, int64_t now)
{
	const struct client *client = &slot->client;

	if (!is_as_wanted(load, slot))
		note_failure(load, slot, client->status, client->body);
	if (load->mode == MODE_GET_304)
		load->etags[slot->silo] = client->revision;
	if (load->acks && client->status == 200)
		fprintf(load->acks, "%llu %u %u\n", (unsigned long long)client->revision, slot->silo, slot->change);
	if (now < load->counted_from_us || now >= load->until_us)
		return;
	load->statuses[client->status > 0 && client->status < PROGRAM_STATUS_MAX ? client->status : 0]++;
	histogram_add(&load->latency, now - slot->due_us);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void on_broken(struct load *load, struct slot *slot)
{
	const char *reason = errno ? strerror(errno) : "end of file";
	bool may_be_old = slot->client.answers && !slot->client.len;

	if (!load->patient)
		program_fail("the server closed a connection: %s", reason);
	client_close(&slot->client);
	if (!slot->under_way)
		return;
	if (may_be_old && !slot->again) {
		slot->again = true;
		load->sent_again++;
		send_request(load, slot);
		return;
	}
	note_failure(load, slot, 0, reason);
	end_request(load, slot);
}

static void on_readable(struct load *load, struct slot *slot)
{
	enum client_got got = slot->client.fd < 0 ? CLIENT_PART : client_try_receive(&slot->client);

	if (got == CLIENT_BROKEN)
		on_broken(load, slot);
	if (got != CLIENT_ANSWER)
		return;
	int64_t now = clock_mono_us();
	take_answer(load, slot, now);
	if (slot->client.ends && load->patient)
		client_close(&slot->client);
	end_request(load, slot);
	if (!load->rate && now < load->until_us)
		ask(load, slot, now);
}

/* Sends what is due by now, as far as there are connections; `sent` requests have been so far. */
static uint64_t ask_what_is_due(struct load *load, uint64_t sent)
{
	int64_t now = clock_mono_us();

	while (load->idle_count && now < load->until_us) {
		int64_t due = load->started_us + (int64_t)(sent * 1000000 / (uint64_t)load->rate);
		if (due > now)
			break;
		/* Up to a tick later than due is this program's own doing, not the server's. */
		ask(load, load->idle[--load->idle_count], now - due <= TICK_MS * 1000 ? now : due);
		sent++;
	}
	return sent;
}

static bool is_going_on(const struct load *load)
{
	int64_t grace_ms = load->patient ? PATIENCE_MS : GRACE_MS, now = clock_mono_us();

	return now < load->until_us || (load->under_way && now - load->until_us < grace_ms * 1000);
}

static void run(struct load *load)
{
	struct epoll_event events[256];
	uint64_t sent = 0;

	for (long i = 0; i < load->connections; i++) {
		if (load->rate)
			load->idle[load->idle_count++] = &load->slots[i];
		else
			ask(load, &load->slots[i], clock_mono_us());
	}
	while (is_going_on(load)) {
		if (load->rate)
			sent = ask_what_is_due(load, sent);
		int count = epoll_wait(load->epoll, events, 256, load->rate ? TICK_MS : 100);
		if (count < 0 && errno != EINTR)
			program_fail("epoll: %s", strerror(errno));
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				on_readable(load, events[i].data.ptr);
			else /* standard input: it is enough */
				load->until_us = clock_mono_us();
		}
	}
	for (long i = 0; load->patient && i < load->connections; i++)
		if (load->slots[i].under_way) {
			note_failure(load, &load->slots[i], 0, "no answer");
			load->under_way--;
		}
	if (load->under_way)
		program_fail("%zu requests had no answer %d ms after the last was sent", load->under_way, GRACE_MS);
}

static void open_connections(struct load *load)
{
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->slots = calloc((size_t)load->connections, sizeof *load->slots);
	load->idle = calloc((size_t)load->connections, sizeof(struct slot *));
	load->etags = calloc((size_t)load->silos, sizeof *load->etags);
	if (load->epoll < 0 || !load->slots || !load->idle || !load->etags)
		program_fail("out of memory or descriptors");
	for (long i = 0; i < load->connections; i++) {
		load->slots[i].client.fd = -1;
		if (!load->patient) /* else when there is something to ask over it */
			open_connection(load, &load->slots[i]);
	}
	if (!load->duration_ms)
		client_listen(load->epoll, STDIN_FILENO, NULL);
}

static void report(const struct load *load)
{
	double seconds = (double)(load->until_us - load->counted_from_us) / 1e6;

	program_print_take(
		json_pack("{s:I, s:f, s:o, s:o, s:I, s:s, s:I, s:I}", "answers", (json_int_t)load->latency.count,
			  "per_second", (double)load->latency.count / seconds, "latency_us",
			  histogram_json(&load->latency), "statuses", program_statuses(load->statuses), "unexpected",
			  (json_int_t)load->unexpected_count, "first_unexpected", load->unexpected, "sent_again",
			  (json_int_t)load->sent_again, "next_change", (json_int_t)load->next_change));
}

static void release(struct load *load)
{
	for (long i = 0; i < load->connections; i++)
		client_close(&load->slots[i].client);
	close(load->epoll);
	free(load->slots);
	free(load->idle);
	free(load->etags);
	if (load->acks && fclose(load->acks))
		program_fail("cannot write the acknowledged changes: %s", strerror(errno));
}

static enum mode parse_mode(const char *name)
{
	for (unsigned i = 0; i < sizeof mode_names / sizeof mode_names[0]; i++)
		if (strcmp(name, mode_names[i]) == 0)
			return (enum mode)i;
	program_fail("there is no mode \"%s\"", name);
}

int main(int argc, char **argv)
{
	static struct load load = {
		.server.address = "127.0.0.1", .connections = 128, .silos = 1, .warmup_ms = 200, .duration_ms = 1000};
	const char *mode = "get", *user = "", *password = getenv("BENCH_PASSWORD"), *acks = NULL;
	const struct flag flags[] = {
		{.name = "mode", .text = &mode},
		{.name = "user", .text = &user}, /* its password is in the environment: BENCH_PASSWORD */
		{.name = "acks", .text = &acks},
		{.name = "address", .text = &load.server.address},
		{.name = "port", .number = &load.server.port},
		{.name = "connections", .number = &load.connections},
		{.name = "silos", .number = &load.silos},
		{.name = "rate", .number = &load.rate}, /* requests/s in all; 0: as fast as the answers come */
		{.name = "patient", .number = &load.patient},
		{.name = "first-change", .number = &load.first_change},
		{.name = "warmup-ms", .number = &load.warmup_ms},
		{.name = "duration-ms", .number = &load.duration_ms},
	};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	load.mode = parse_mode(mode);
	if (load.connections < 1 || load.silos < 1 || load.duration_ms < 0 || load.rate < 0 ||
	    (load.mode == MODE_PUT && load.silos < load.connections) || (load.patient && !load.rate))
		program_fail("there must be a connection, a silo for each that writes, and a rate for the patient");
	if (acks && !(load.acks = fopen(acks, "w")))
		program_fail("%s: %s", acks, strerror(errno));
	traffic_init(&load.traffic, user, password ? password : "");
	load.next_change = (unsigned)load.first_change;
	load.random = (uint64_t)clock_wall_us() | 1;
	open_connections(&load);
	load.started_us = clock_mono_us();
	load.counted_from_us = load.started_us + load.warmup_ms * 1000;
	load.until_us = load.duration_ms ? load.counted_from_us + load.duration_ms * 1000 : INT64_MAX;
	run(&load);
	report(&load);
	release(&load);
	return 0;
}
