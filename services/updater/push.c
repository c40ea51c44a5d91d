#include "updater/push.h"

#include <string.h>
#include <time.h>

#include "common/base/backoff.h"
#include "common/base/cleanup.h"

#define ATTEMPTS_MAX 20
#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS 1000

static bool is_own(const struct conf_list *hostnames, const char *hostname)
{
	for (size_t i = 0; i < hostnames->count; i++)
		if (strcmp(hostnames->items[i], hostname) == 0)
			return true;
	return false;
}

static bool is_set(const struct ipaddr ips[2], uint8_t family)
{
	return ips[0].family == family || ips[1].family == family;
}

int push_plan(const struct silo *now, const struct conf_list *hostnames, const struct ipaddr ips[2],
	      struct silo *ret_wanted)
{
	_cleanup_(silo_release) struct silo wanted = {0};
	int err = ERR_OK;

	memcpy(wanted.id, now->id, sizeof wanted.id);
	for (size_t i = 0; i < now->count && !err; i++) {
		const struct record *record = &now->records[i];
		if (!is_own(hostnames, record->hostname) || !is_set(ips, record->ip.family))
			err = silo_add(&wanted, record->hostname, &record->ip);
	}
	for (size_t i = 0; i < hostnames->count; i++)
		for (size_t f = 0; f < 2 && !err; f++)
			if (ips[f].family)
				err = silo_add(&wanted, hostnames->items[i], &ips[f]);
	if (err)
		return err;
	silo_sort(&wanted);
	*ret_wanted = wanted;
	wanted = (struct silo){0};
	return ERR_OK;
}

static int push_failure(struct hubclient *hub, int err, struct why *why)
{
	*why = hubclient_failure(hub)->why;
	return err;
}

/* One reading and, if it shows a difference, one conditional PUT. */
static int try_once(struct hubclient *hub, const char *id, const struct conf_list *hostnames,
		    const struct ipaddr ips[2], struct push_result *result, struct why *why)
{
	_cleanup_(silo_release) struct silo now = {0};
	_cleanup_(silo_release) struct silo wanted = {0};
	char etag[ETAG_MAX] = "", new_etag[ETAG_MAX] = "";
	int err = hubclient_get_silo(hub, id, NULL, &now, etag);
	bool missing = err == ERR_NOT_FOUND;

	if (err && !missing)
		return push_failure(hub, err, why);
	if (missing)
		snprintf(now.id, sizeof now.id, "%s", id);
	err = push_plan(&now, hostnames, ips, &wanted);
	if (err)
		return why_set(why, err, "",
			       err == ERR_TOO_LARGE ? "the silo has no room for more records" : "out of memory");
	if (!missing && silo_equal(&now, &wanted)) {
		result->revision = hubclient_etag_revision(etag);
		return ERR_OK;
	}
	result->attempts++;
	err = hubclient_put_silo(hub, &wanted, missing ? NULL : etag, new_etag);
	if (err)
		return push_failure(hub, err, why);
	result->changed = true;
	result->revision = hubclient_etag_revision(new_etag);
	return ERR_OK;
}

int push_publish(struct hubclient *hub, const char *silo, const struct conf_list *hostnames, const struct ipaddr ips[2],
		 bool (*stopped)(void), struct push_result *ret_result, struct why *ret_why)
{
	struct push_result result = {0};
	struct backoff backoff;
	int err;

	backoff_init(&backoff, RETRY_FIRST_MS, RETRY_MAX_MS);
	for (;;) {
		err = try_once(hub, silo, hostnames, ips, &result, ret_why);
		/* Somebody was faster, or it is not known who was: reading again tells. */
		bool again = err == ERR_PRECONDITION || err == ERR_UNKNOWN_OUTCOME;
		if (!again || result.attempts >= ATTEMPTS_MAX || (stopped && stopped()))
			break;
		uint32_t wait_ms = backoff_next(&backoff, 0);
		nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L}, NULL);
	}
	if (!err)
		*ret_result = result;
	return err;
}
