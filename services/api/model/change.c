#include "api/model/change.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"

void change_set_actor(struct change *change, const struct principal *actor)
{
	token_unref(change->actor.token);
	change->actor = *actor;
	token_ref(change->actor.token);
}

static int render(struct change *change, const struct silo *silo)
{
	_cleanup_free_ char *json = NULL;
	size_t len;
	int err = silo_to_json(silo, &json, &len);

	if (err)
		return err;
	document_unref(change->document);
	change->document = document_new(silo->id, json, len, 0, 0);
	return change->document ? ERR_OK : ERR_NOMEM;
}

int change_prepare(struct change *change)
{
	if (change->kind == CHANGE_SILO_PUT)
		return render(change, &change->records);
	silo_sort(&change->records);
	silo_sort(&change->removed);
	return ERR_OK;
}

static int compare_records(const void *a, const void *b)
{
	return record_compare(a, b);
}

static int compare_name_and_family(const void *a, const void *b)
{
	const struct record *x = a, *y = b;
	int order = strcmp(x->hostname, y->hostname);

	return order ? order : x->ip.family - y->ip.family;
}

static bool has(const struct silo *sorted, const struct record *key, int (*compare)(const void *a, const void *b))
{
	return sorted->count && bsearch(key, sorted->records, sorted->count, sizeof *key, compare);
}

static bool goes(const struct change *change, const struct record *record)
{
	const struct record whole_name = {.hostname = record->hostname};

	return has(&change->records, record, compare_name_and_family) ||
	       has(&change->removed, &whole_name, compare_name_and_family) ||
	       has(&change->removed, record, compare_records);
}

int change_apply_patch(struct change *change, const struct silo *before, struct why *ret_why)
{
	size_t max = change->records_max ? change->records_max : SILO_RECORDS_MAX;
	struct silo *patched = &change->patched;
	int err = ERR_OK;

	silo_release(patched);
	memcpy(patched->id, change->subject, sizeof patched->id - 1);
	for (size_t i = 0; i < before->count && !err; i++)
		if (!goes(change, &before->records[i]))
			err = silo_add(patched, before->records[i].hostname, &before->records[i].ip);
	for (size_t i = 0; i < change->records.count && !err; i++)
		err = silo_add(patched, change->records.records[i].hostname, &change->records.records[i].ip);
	silo_sort(patched);
	if (err == ERR_TOO_LARGE || (patched->count > max && patched->count > before->count))
		return why_set(ret_why, ERR_INVALID, "set",
			       "a silo of this hub has at most %zu records (SILODNS_MAX_RECORDS): this patch would "
			       "make it more",
			       max);
	return err ? err : render(change, patched);
}

void change_release(struct change *change)
{
	silo_release(&change->records);
	silo_release(&change->removed);
	silo_release(&change->patched);
	document_unref(change->document);
	token_unref(change->token);
	token_unref(change->actor.token);
	sodium_memzero(change, sizeof *change);
}
