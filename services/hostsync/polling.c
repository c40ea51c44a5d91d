#include "hostsync/polling.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MIN_MS 5000  /* longest wait while the hub is away: at least this, */
#define RETRY_MAX_MS 60000 /* at most this, whatever the interval */
#define JITTER_PERCENT 10

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
	return value < low ? low : value > high ? high : value;
}

void polling_init(struct polling *polling, const struct settings *settings, struct hubclient *client,
		  struct hublog *log)
{
	*polling = (struct polling){.client = client, .log = log, .interval_ms = (uint32_t)settings->interval_ms};
	backoff_init(&polling->backoff, clamp(polling->interval_ms, 1, RETRY_FIRST_MS),
		     clamp(polling->interval_ms, RETRY_MIN_MS, RETRY_MAX_MS));
}

static int ask(struct polling *polling, struct silo_state *state)
{
	struct silo silo = {0};
	char etag[ETAG_MAX] = "";
	const char *known = state->origin == SILO_FROM_HUB && state->etag[0] ? state->etag : NULL;
	int err = hubclient_get_silo(polling->client, state->silo.id, known, &silo, etag);
	if (err == ERR_STOPPED || hublog_is_away(err))
		return err;
	if (err == 0)
		silos_take(state, &silo, etag);
	else if (err == ERR_NOT_MODIFIED)
		err = 0;
	hublog_silo(state, err, hubclient_failure(polling->client));
	if (err == ERR_NOT_FOUND)
		silos_gone(state);
	return err;
}

struct polling_result polling_round(struct polling *polling, struct silos *silos)
{
	struct polling_result result = {0};
	for (size_t i = 0; i < silos->count; i++) {
		int err = ask(polling, &silos->items[i]);
		if (err == ERR_STOPPED)
			return (struct polling_result){.err = err};
		if (hublog_is_away(err)) {
			hublog_hub(polling->log, err, hubclient_failure(polling->client), polling->backoff.attempt);
			result.err = result.err ? result.err : err;
			result.wait_ms =
				backoff_next(&polling->backoff, hubclient_failure(polling->client)->retry_after_ms);
			return result;
		}
		result.err = result.err ? result.err : err;
	}
	hublog_hub(polling->log, 0, hubclient_failure(polling->client), polling->backoff.attempt);
	backoff_reset(&polling->backoff);
	result.wait_ms = backoff_jitter(polling->interval_ms, JITTER_PERCENT);
	return result;
}
