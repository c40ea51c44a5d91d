#include "hostsync/watch.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define RETRY_FIRST_MS 1000 /* until the hub has said its own */
#define RETRY_MIN_MS 100    /* whatever the hub says */
#define UNSYNCED_MAX 3
#define JITTER_PERCENT 10

struct watch_told {
	bool told;
	struct hubwatch_event event; /* its silo is owned */
};

static void forget_told(struct watch *watch)
{
	for (size_t i = 0; i < watch->silos->count; i++) {
		silo_release(&watch->told[i].event.silo);
		watch->told[i] = (struct watch_told){0};
	}
}

int watch_init(struct watch *watch, const struct settings *settings, struct hubclient *client, struct silos *silos,
	       struct hublog *log)
{
	*watch = (struct watch){.settings = settings,
				.client = client,
				.silos = silos,
				.log = log,
				.told = calloc(silos->count + 1, sizeof(struct watch_told)),
				.err = ERR_UNAVAILABLE};
	backoff_init(&watch->backoff, RETRY_FIRST_MS, WATCH_RETRY_MAX_MS);
	return watch->told ? 0 : ERR_NOMEM;
}

void watch_release(struct watch *watch)
{
	hubwatch_close(watch->stream);
	watch->stream = NULL;
	if (watch->told)
		forget_told(watch);
	free(watch->told);
	watch->told = NULL;
}

/* ---- what the hub tells ---- */

static void note_news(struct watch *watch)
{
	int64_t now = clock_mono_ms();
	if (watch->first_news_ms == 0) {
		watch->first_news_ms = now;
		watch->rested = now - watch->last_news_ms >= WATCH_REST_MS;
	}
	watch->last_news_ms = now;
}

static void apply_silo(struct silo_state *state, struct hubwatch_event *event)
{
	char etag[ETAG_MAX];
	hublog_silo(state, 0, NULL);
	if (state->origin == SILO_FROM_HUB && state->revision == event->revision &&
	    silo_equal(&state->silo, &event->silo))
		return;
	snprintf(etag, sizeof(etag), "\"%llu\"", (unsigned long long)event->revision);
	silos_take(state, &event->silo, etag);
}

static void apply_deleted(struct silo_state *state, struct hubwatch_event *event)
{
	(void)event;
	hublog_silo(state, ERR_NOT_FOUND, NULL);
	silos_gone(state);
}

static void apply_forbidden(struct silo_state *state, struct hubwatch_event *event)
{
	static const struct hubclient_failure failure = {.status = 403,
							 .why = {.text = "the hub says that it is not yours to read"}};
	(void)event;
	hublog_silo(state, ERR_FORBIDDEN, &failure);
}

static void apply_unreadable(struct silo_state *state, struct hubwatch_event *event)
{
	const struct hubclient_failure failure = {.status = 200, .why = event->why};
	hublog_silo(state, ERR_PROTOCOL, &failure);
}

static void apply(struct watch *watch, size_t i, struct hubwatch_event *event)
{
	static void (*const appliers[])(struct silo_state * state, struct hubwatch_event * event) = {
		[HUBWATCH_SILO] = apply_silo,
		[HUBWATCH_UNREADABLE] = apply_unreadable,
		[HUBWATCH_DELETED] = apply_deleted,
		[HUBWATCH_FORBIDDEN] = apply_forbidden,
	};
	appliers[event->kind](&watch->silos->items[i], event);
	note_news(watch);
}

static void on_reset(struct watch *watch)
{
	forget_told(watch);
	watch->reset = true;
	watch->synced = false;
	watch->position = (struct hubwatch_position){0};
	log_info("the hub tells everything anew", LOG_U64("revision", silos_revision(watch->silos)));
}

static void on_synced(struct watch *watch, const struct hubwatch_event *event)
{
	struct hubwatch_event deleted = {.kind = HUBWATCH_DELETED};
	for (size_t i = 0; i < watch->silos->count; i++) {
		if (watch->told[i].told)
			apply(watch, i, &watch->told[i].event);
		else if (watch->reset)
			apply(watch, i, &deleted);
	}
	forget_told(watch);
	hublog_hub(watch->log, 0, NULL, watch->backoff.attempt);
	if (watch->unusable)
		log_info("the hub can be followed by watch: no more polling", LOG_STR("url", watch->settings->url));
	snprintf(watch->position.hub, sizeof(watch->position.hub), "%s", event->hub);
	watch->position.revision = event->revision;
	watch->synced = true;
	watch->reset = watch->unusable = false;
	watch->unsynced = 0;
	watch->err = 0;
	backoff_reset(&watch->backoff);
	note_news(watch);
}

static int on_event(void *arg, struct hubwatch_event *event)
{
	struct watch *watch = arg;
	size_t i = 0;
	if (event->kind == HUBWATCH_RESET || event->kind == HUBWATCH_SYNCED) {
		if (event->kind == HUBWATCH_RESET)
			on_reset(watch);
		else
			on_synced(watch, event);
		return 0;
	}
	while (i < watch->silos->count && strcmp(watch->silos->items[i].silo.id, event->id) != 0)
		i++;
	if (i == watch->silos->count) /* nobody asked for it */
		return 0;
	if (watch->synced) {
		apply(watch, i, event);
		return 0;
	}
	silo_release(&watch->told[i].event.silo);
	watch->told[i] = (struct watch_told){.told = true, .event = *event};
	event->silo = (struct silo){0};
	return 0;
}

/* ---- the end of a stream ---- */

/* In milliseconds; the jitter comes on top. */
static uint32_t retry_base(const struct watch *watch)
{
	int64_t retry = watch->stream ? hubwatch_retry_ms(watch->stream) : -1;
	if (retry < 0)
		return watch->backoff.first_ms;
	return (uint32_t)(retry < RETRY_MIN_MS         ? RETRY_MIN_MS
			  : retry > WATCH_RETRY_MAX_MS ? WATCH_RETRY_MAX_MS
						       : retry);
}

static void close_stream(struct watch *watch)
{
	watch->backoff.first_ms = retry_base(watch);
	hubwatch_close(watch->stream);
	watch->stream = NULL;
	forget_told(watch);
	watch->synced = watch->reset = false;
}

static void try_again_in(struct watch *watch, int64_t wait_ms)
{
	watch->next_ms = clock_mono_ms() + wait_ms;
}

/* It is, or was, an event stream. */
static bool is_stream(const struct watch *watch)
{
	return watch->stream && hubwatch_state(watch->stream) >= HUBWATCH_STREAM;
}

/* The other side does not speak this protocol, which waiting does not mend. */
static bool is_unusable(const struct watch *watch, int err, bool silent)
{
	static const int errors[] = {ERR_NOT_FOUND, ERR_METHOD,    ERR_PROTOCOL,
				     ERR_INVALID,   ERR_MALFORMED, ERR_TOO_LARGE};
	if (watch->synced)
		return false;
	if (silent || watch->unsynced >= UNSYNCED_MAX)
		return true;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i] == err)
			return !is_stream(watch);
	return false;
}

static void log_failure(struct watch *watch, int err, const struct hubclient_failure *failure)
{
	if (hublog_is_away(err) && !watch->synced) {
		hublog_hub(watch->log, err, failure, watch->backoff.attempt);
		return;
	}
	if (watch->synced) /* whether the hub is away, the next attempt shows */
		log_info("watch broke off", LOG_ERR(err), LOG_STR("detail", failure->why.text));
	else if (err != watch->err)
		log_warn("watch refused, the last good state stays", LOG_ERR(err), LOG_I64("status", failure->status),
			 LOG_STR("detail", failure->why.text));
	hublog_hub(watch->log, 0, failure, watch->backoff.attempt);
}

static void begin_polling(struct watch *watch, int err, const struct hubclient_failure *failure, int64_t again_ms)
{
	watch->unusable = true;
	log_warn("the hub cannot be followed by watch: it is polled", LOG_ERR(err), LOG_I64("status", failure->status),
		 LOG_STR("detail", failure->why.text), LOG_I64("interval_ms", watch->settings->interval_ms),
		 LOG_I64("watch_again_after_ms", again_ms));
}

/* A stream, or the attempt to get one, has failed. `silent`: it was given up because nothing came. */
static void watch_failed(struct watch *watch, int err, const struct hubclient_failure *failure, bool silent)
{
	uint32_t again_ms =
		backoff_jitter(WATCH_RETRY_INTERVALS * (uint32_t)watch->settings->interval_ms, JITTER_PERCENT);
	if (is_stream(watch) && !watch->synced)
		watch->unsynced++;
	if (!watch->unusable && is_unusable(watch, err, silent))
		begin_polling(watch, err, failure, again_ms);
	else if (!watch->unusable)
		log_failure(watch, err, failure);
	uint32_t retry_after_ms = failure->retry_after_ms;
	close_stream(watch);
	watch->err = err;
	try_again_in(watch, watch->unusable ? again_ms : backoff_next(&watch->backoff, retry_after_ms));
}

static void end(struct watch *watch)
{
	static const struct hubclient_failure early = {
		.status = 200, .why = {.text = "the stream ended before it had told everything"}};
	int64_t retry_ms = hubwatch_retry_ms(watch->stream);
	if (!watch->synced) {
		watch_failed(watch, ERR_UNAVAILABLE, &early, false);
		return;
	}
	log_debug("the hub has ended the watch", LOG_I64("retry_ms", retry_ms));
	close_stream(watch);
	watch->err = ERR_UNAVAILABLE;
	if (retry_ms < 0)
		try_again_in(watch, backoff_next(&watch->backoff, 0));
	else
		try_again_in(watch, retry_ms > RETRY_MIN_MS ? retry_ms : RETRY_MIN_MS);
}

/* ---- a step ---- */

/* How long nothing may come; 0 = libcurl looks after it. */
static int64_t patience_ms(const struct watch *watch)
{
	if (hubwatch_state(watch->stream) == HUBWATCH_CONNECTING)
		return 0;
	return watch->synced ? watch->settings->watch_timeout_ms : watch->settings->timeout_ms;
}

static int64_t patience_left_ms(const struct watch *watch)
{
	int64_t patience = patience_ms(watch);
	int64_t left = hubwatch_heard_ms(watch->stream) + patience - clock_mono_ms();
	return patience == 0 ? INT64_MAX : left > 0 ? left : 0;
}

static void begin_stream(struct watch *watch)
{
	const char *ids[HUBWATCH_SILOS_MAX];
	struct hubclient_failure failure = {0};
	for (size_t i = 0; i < watch->silos->count; i++)
		ids[i] = watch->silos->items[i].silo.id;
	int err = hubwatch_open(watch->client, ids, watch->silos->count, &watch->position, on_event, watch,
				&watch->stream, &failure.why);
	if (err < 0)
		watch_failed(watch, err, &failure, false);
}

static void read_stream(struct watch *watch)
{
	struct hubclient_failure silence = {0};
	int err = hubwatch_step(watch->stream);
	if (err == ERR_STOPPED)
		return;
	if (err < 0) {
		watch_failed(watch, err, hubwatch_failure(watch->stream), false);
		return;
	}
	uint64_t revision = hubwatch_revision(watch->stream);
	if (watch->synced && revision > 0)
		watch->position.revision = revision;
	if (hubwatch_state(watch->stream) == HUBWATCH_ENDED) {
		end(watch);
	} else if (patience_left_ms(watch) == 0) {
		silence.status = hubwatch_failure(watch->stream)->status;
		why_set(&silence.why, ERR_TIMEOUT, "", "nothing came for %lld ms", (long long)patience_ms(watch));
		watch_failed(watch, ERR_TIMEOUT, &silence, true);
	}
}

void watch_step(struct watch *watch)
{
	if (!watch->stream && clock_mono_ms() >= watch->next_ms)
		begin_stream(watch);
	if (watch->stream)
		read_stream(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->stream ? hubwatch_fd(watch->stream) : -1;
}

/* Whether the stream has something that was not read yet. */
static bool has_more(const struct watch *watch)
{
	struct pollfd fd = {.fd = watch_fd(watch), .events = POLLIN};
	return fd.fd >= 0 && poll(&fd, 1, 0) > 0;
}

/* At once after a rest, but not before all is read that came together. */
static int64_t news_due_ms(const struct watch *watch)
{
	int64_t quiet = watch->last_news_ms + WATCH_QUIET_MS, latest = watch->first_news_ms + WATCH_BURST_MAX_MS;
	if (watch->first_news_ms == 0)
		return INT64_MAX;
	if (watch->rested && !has_more(watch))
		return watch->first_news_ms;
	return quiet < latest ? quiet : latest;
}

int64_t watch_wait_ms(const struct watch *watch)
{
	int64_t now = clock_mono_ms(), wait = watch->next_ms - now, news = news_due_ms(watch);
	if (watch->stream) {
		int64_t step = hubwatch_wait_ms(watch->stream);
		wait = patience_left_ms(watch);
		if (step >= 0 && step < wait)
			wait = step;
	}
	if (news != INT64_MAX && news - now < wait)
		wait = news - now;
	return wait > 0 ? wait : 0;
}

bool watch_take_news(struct watch *watch)
{
	if (clock_mono_ms() < news_due_ms(watch))
		return false;
	watch->first_news_ms = 0;
	return true;
}

void watch_hurry(struct watch *watch)
{
	if (watch->stream && !watch->synced)
		return;
	if (watch->stream)
		close_stream(watch);
	watch->next_ms = 0;
}

int watch_err(const struct watch *watch)
{
	int err = watch->err;
	for (size_t i = 0; i < watch->silos->count && err == 0; i++)
		err = watch->silos->items[i].err;
	return err;
}
