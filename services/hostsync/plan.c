#include "hostsync/plan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->not_added = true)
#include <uthash.h>

struct plan_name {
	const char *hostname;
	size_t silo; /* whose it is: index into the silos */
	enum verdict verdict;
	unsigned long line; /* where it stands outside the block, 0 = nowhere */
	bool not_added;
	UT_hash_handle hh;
};

static struct plan_name *find_name(const struct plan *plan, const char *hostname, size_t len)
{
	struct plan_name *name;
	HASH_FIND(hh, plan->names, hostname, len, name);
	return name;
}

static struct plan_name *find_as_written(const struct plan *plan, const char *text, size_t len)
{
	char lower[HOSTNAME_LEN_MAX + 1];
	if (len >= sizeof(lower))
		return NULL;
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)tolower((unsigned char)text[i]);
	return find_name(plan, lower, len);
}

static int add_name(struct plan *plan, const char *hostname, size_t silo, enum verdict verdict)
{
	struct plan_name *name = calloc(1, sizeof(*name));
	if (!name)
		return ERR_NOMEM;
	*name = (struct plan_name){.hostname = hostname, .silo = silo, .verdict = verdict};
	HASH_ADD_KEYPTR(hh, plan->names, name->hostname, strlen(hostname), name);
	if (!name->not_added)
		return 0;
	free(name);
	return ERR_NOMEM;
}

/* Records of one hostname stand together, so each name is met once per silo. */
static bool is_first_of_name(const struct silo *silo, size_t record)
{
	return record == 0 || strcmp(silo->records[record - 1].hostname, silo->records[record].hostname) != 0;
}

static int collect_names(struct plan *plan, const struct silos *silos, const struct policy *policy)
{
	for (size_t s = 0; s < silos->count; s++) {
		const struct silo *silo = &silos->items[s].silo;
		for (size_t r = 0; silo_known(&silos->items[s]) && r < silo->count; r++) {
			const char *hostname = silo->records[r].hostname;
			if (!is_first_of_name(silo, r) || find_name(plan, hostname, strlen(hostname)))
				continue;
			int err = add_name(plan, hostname, s, policy_judge(policy, hostname));
			if (err < 0)
				return err;
		}
	}
	return 0;
}

static void look_outside(struct plan *plan, const struct policy *policy, bool replace, struct hostsfile_cursor cursor)
{
	struct hostsfile_line line;
	while (hostsfile_next_line(&cursor, &line)) {
		const char *at = line.names, *text;
		size_t len;
		bool own = line.address && policy_own_line(policy, &line);
		while (line.address && hostsfile_next_name(&line, &at, &text, &len)) {
			struct plan_name *name = find_as_written(plan, text, len);
			if (!name)
				continue;
			if (name->verdict == VERDICT_SET || (own && name->verdict == VERDICT_OUTSIDE_BLOCK))
				name->verdict = own ? VERDICT_OWN_NAME : replace ? VERDICT_SET : VERDICT_OUTSIDE_BLOCK;
			if (!name->line)
				name->line = line.number;
		}
	}
}

static int fill_parts(struct plan *plan, const struct silos *silos)
{
	plan->parts.items = calloc(silos->count + 1, sizeof(struct silo));
	if (!plan->parts.items)
		return ERR_NOMEM;
	for (size_t s = 0; s < silos->count; s++) {
		const struct silo *silo = &silos->items[s].silo;
		if (!silo_known(&silos->items[s]))
			continue;
		struct silo *part = &plan->parts.items[plan->parts.count++];
		memcpy(part->id, silo->id, sizeof(part->id));
		for (size_t r = 0; r < silo->count; r++) {
			const struct record *record = &silo->records[r];
			const struct plan_name *name = find_name(plan, record->hostname, strlen(record->hostname));
			if (name->silo != s || name->verdict != VERDICT_SET)
				continue;
			int err = silo_add(part, record->hostname, &record->ip);
			if (err < 0)
				return err;
			plan->records++;
		}
	}
	return 0;
}

int plan_build(const struct silos *silos, const struct policy *policy, const char *text, size_t len,
	       const struct hostsfile_block *block, bool replace, struct plan *ret_plan)
{
	_cleanup_(plan_release) struct plan plan = {0};
	int err = collect_names(&plan, silos, policy);
	if (err < 0)
		return err;
	look_outside(&plan, policy, replace, HOSTSFILE_CURSOR(text, len, block));
	err = fill_parts(&plan, silos);
	if (err < 0)
		return err;
	*ret_plan = plan;
	plan = (struct plan){0};
	return 0;
}

void plan_release(struct plan *plan)
{
	struct plan_name *name, *next;
	if (!plan)
		return;
	HASH_ITER (hh, plan->names, name, next) {
		HASH_DEL(plan->names, name);
		free(name);
	}
	hostsfile_parts_release(&plan->parts);
	*plan = (struct plan){0};
}

bool plan_sets(void *arg, const char *name, size_t len)
{
	const struct plan_name *found = find_as_written(arg, name, len);
	return found && found->verdict == VERDICT_SET;
}

void plan_each_refused(const struct plan *plan, const struct silos *silos, plan_refused_fn fn, void *arg)
{
	for (size_t s = 0; s < silos->count; s++) {
		const struct silo *silo = &silos->items[s].silo;
		for (size_t r = 0; silo_known(&silos->items[s]) && r < silo->count; r++) {
			const char *hostname = silo->records[r].hostname;
			if (!is_first_of_name(silo, r))
				continue;
			const struct plan_name *name = find_name(plan, hostname, strlen(hostname));
			enum verdict verdict = name->verdict;
			if (verdict == VERDICT_SET && name->silo != s)
				verdict = VERDICT_OTHER_SILO;
			if (verdict != VERDICT_SET && verdict != VERDICT_NOT_WANTED)
				fn(arg, silo, hostname, verdict, verdict == VERDICT_OUTSIDE_BLOCK ? name->line : 0);
		}
	}
}
