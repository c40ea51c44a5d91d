#include "poll.h"

#include "lifecycle.h"
#include "log.h"

#define ANSWER_MAX ((size_t)8 << 20)
#define RETRY_FIRST_MS 1000
#define RETRY_MIN_MS 5000  /* longest wait while the hub is away: at least this, */
#define RETRY_MAX_MS 60000 /* at most this, whatever the interval */
#define JITTER_PERCENT 10

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
	return value < low ? low : value > high ? high : value;
}

int poll_open(const struct settings *settings, struct poll *ret_poll, struct why *ret_why)
{
	const struct http_settings http = {
		.user = settings->user,
		.password = settings->password,
		.token = settings->token,
		.ca_file = settings->tls_ca,
		.connect_timeout_ms = settings->timeout_ms,
		.timeout_ms = settings->timeout_ms,
		.answer_max = ANSWER_MAX,
		.allow_plain = settings->allow_plain_http,
	};
	struct poll poll = {.interval_ms = (uint32_t)settings->interval_ms};
	int err = hubclient_open(settings->url, &http, &poll.client, ret_why);
	if (err < 0)
		return err;
	hubclient_set_stop(poll.client, lifecycle_stop_requested);
	backoff_init(&poll.backoff, clamp(poll.interval_ms, 1, RETRY_FIRST_MS),
		     clamp(poll.interval_ms, RETRY_MIN_MS, RETRY_MAX_MS));
	*ret_poll = poll;
	return 0;
}

void poll_close(struct poll *poll)
{
	hubclient_close(poll->client);
	poll->client = NULL;
}

/* Failures of the hub as a whole: asking it for the next silo would only wait for the same. */
static bool is_hub_away(int err)
{
	return err == ERR_NETWORK || err == ERR_TIMEOUT || err == ERR_TLS || err == ERR_UNAVAILABLE ||
	       err == ERR_BUSY || err == ERR_RATE;
}

static void log_gone(const struct silo_state *state)
{
	log_warn("the hub has no such silo: its records leave the hosts file", LOG_STR("silo", state->silo.id),
		 LOG_U64("records", state->silo.count));
}

static void log_silo(const struct silo_state *state, int err, const struct hubclient_failure *failure)
{
	if (err == state->err || err == ERR_NOT_FOUND)
		return;
	if (err == 0)
		log_info("silo can be read again", LOG_STR("silo", state->silo.id));
	else
		log_warn("silo cannot be read, its last good state stays", LOG_STR("silo", state->silo.id),
			 LOG_ERR(err), LOG_I64("status", failure->status), LOG_STR("detail", failure->why.text));
}

static int ask(struct poll *poll, struct silo_state *state)
{
	struct silo silo = {0};
	char etag[ETAG_MAX] = "";
	const char *known = state->origin == SILO_FROM_HUB && state->etag[0] ? state->etag : NULL;
	int err = hubclient_get_silo(poll->client, state->silo.id, known, &silo, etag);
	if (err == ERR_STOPPED || is_hub_away(err))
		return err;
	if (err == 0)
		silos_take(state, &silo, etag);
	else if (err == ERR_NOT_MODIFIED)
		err = 0;
	else if (err == ERR_NOT_FOUND && state->err != ERR_NOT_FOUND) {
		log_gone(state);
		silos_gone(state);
	}
	log_silo(state, err, hubclient_failure(poll->client));
	state->err = err;
	return err;
}

static void log_hub(struct poll *poll, int err)
{
	const struct hubclient_failure *failure = hubclient_failure(poll->client);
	if (err && !poll->away)
		log_warn("hub away, the last good state stays", LOG_ERR(err), LOG_I64("status", failure->status),
			 LOG_STR("detail", failure->why.text));
	else if (err)
		log_debug("hub still away", LOG_ERR(err), LOG_STR("detail", failure->why.text));
	else if (poll->away)
		log_info("hub is back", LOG_U64("after_attempts", poll->backoff.attempt));
	poll->away = err < 0;
}

struct poll_result poll_round(struct poll *poll, struct silos *silos)
{
	struct poll_result result = {0};
	for (size_t i = 0; i < silos->count; i++) {
		int err = ask(poll, &silos->items[i]);
		if (err == ERR_STOPPED)
			return (struct poll_result){.err = err};
		if (is_hub_away(err)) {
			log_hub(poll, err);
			result.err = result.err ? result.err : err;
			result.wait_ms = backoff_next(&poll->backoff, hubclient_failure(poll->client)->retry_after_ms);
			return result;
		}
		result.err = result.err ? result.err : err;
	}
	log_hub(poll, 0);
	backoff_reset(&poll->backoff);
	result.wait_ms = backoff_jitter(poll->interval_ms, JITTER_PERCENT);
	return result;
}
