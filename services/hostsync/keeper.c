#include "hostsync/keeper.h"

#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "hostsync/inplace.h"
#include "hostsync/tempfile.h"

#define TRIES 5 /* against somebody who writes at the same moment */

/* The file as it is and as it shall be. */
struct draft {
	struct diskfile target;
	struct diskfile_stamp stamp;
	struct buf now, wanted;
	struct hostsfile_block block;  /* of `now` */
	struct hostsfile_parts before; /* of `now` */
	struct plan plan;
};

static void draft_init(struct draft *draft)
{
	*draft = (struct draft){.now = BUF_INIT(HOSTSFILE_MAX), .wanted = BUF_INIT(2 * HOSTSFILE_MAX)};
}

static void draft_release(struct draft *draft)
{
	buf_release(&draft->now);
	buf_release(&draft->wanted);
	hostsfile_parts_release(&draft->before);
	plan_release(&draft->plan);
}

void keeper_init(struct keeper *keeper, const struct settings *settings)
{
	*keeper = (struct keeper){.settings = settings};
	policy_init(&keeper->policy, &settings->hostnames, &settings->deny, &settings->allow_suffixes,
		    settings->hosts_file);
}

void keeper_release(struct keeper *keeper)
{
	report_release(&keeper->report);
	free(keeper->block);
	keeper->block = NULL;
}

int keeper_recover(struct keeper *keeper, struct why *ret_why)
{
	struct diskfile target;
	enum inplace_found found;
	struct why where = {0};
	int err = diskfile_resolve(keeper->settings->hosts_file, keeper->settings->state_dir, &target, ret_why);
	if (err < 0)
		return err;
	tempfile_clean(target.dir, target.base);
	tempfile_clean(target.state_dir, target.base);
	err = inplace_recover(&target, &found, &where);
	if (err < 0) {
		*ret_why = where;
		return err;
	}
	if (found == INPLACE_FINISHED)
		log_warn("interrupted write finished", LOG_STR("file", target.path));
	if (found == INPLACE_FOREIGN)
		log_warn("interrupted write not finished: the file has been changed since",
			 LOG_STR("file", target.path), LOG_STR("detail", where.text));
	keeper->recovered = true;
	return 0;
}

static int read_draft(const struct settings *settings, struct draft *draft, struct why *ret_why)
{
	int err = diskfile_resolve(settings->hosts_file, settings->state_dir, &draft->target, ret_why);
	if (err == 0)
		err = diskfile_read(&draft->target, HOSTSFILE_MAX, &draft->now, &draft->stamp, ret_why);
	if (err == 0)
		err = hostsfile_find(draft->now.data, draft->now.len, &draft->block, ret_why);
	return err;
}

static int plan_draft(struct keeper *keeper, struct silos *silos, struct draft *draft)
{
	const struct buf *now = &draft->now;
	bool replace = strcmp(keeper->settings->conflict, "replace") == 0;
	int err = hostsfile_read_parts(now->data, &draft->block, &draft->before);
	if (err == 0)
		err = silos_adopt(silos, &draft->before);
	if (err == 0)
		err = plan_build(silos, &keeper->policy, now->data, now->len, &draft->block, replace, &draft->plan);
	if (err < 0)
		return err;
	if (!draft->block.found && draft->plan.parts.count == 0) /* nothing is known yet: no block for it */
		return buf_append(&draft->wanted, now->data, now->len);
	return hostsfile_rewrite(now->data, now->len, &draft->block, &draft->plan.parts, replace ? plan_sets : NULL,
				 &draft->plan, &draft->wanted);
}

static int make_draft(struct keeper *keeper, struct silos *silos, struct draft *draft, struct why *ret_why)
{
	int err = read_draft(keeper->settings, draft, ret_why);
	if (err < 0)
		return err;
	err = plan_draft(keeper, silos, draft);
	if (err == ERR_TOO_LARGE)
		return why_set(ret_why, err, "", "%s would become too long", draft->target.path);
	if (err < 0)
		return why_set(ret_why, err, "", "out of memory");
	return 0;
}

static bool same_text(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static int write_draft(const struct draft *draft, enum replace_way *ret_way, struct why *ret_why)
{
	const struct diskfile_texts texts = {.old = draft->now.data,
					     .old_len = draft->now.len,
					     .new = draft->wanted.data ? draft->wanted.data : "",
					     .new_len = draft->wanted.len};
	return replace_write(&draft->target, &draft->stamp, &texts, ret_way, ret_why);
}

/* ---- who else writes to the file ---- */

static bool is_known_block(const struct keeper *keeper, const struct buf *text)
{
	struct hostsfile_block block;
	return hostsfile_find(text->data, text->len, &block, NULL) == 0 &&
	       block.end - block.start == keeper->block_len &&
	       memcmp(text->data + block.start, keeper->block, keeper->block_len) == 0;
}

/* The hub wants nothing new, yet the file is not as it was left: this write would undo somebody else's. */
static bool is_repair(const struct keeper *keeper, const struct draft *draft)
{
	return keeper->block && is_known_block(keeper, &draft->wanted);
}

static void remember_block(struct keeper *keeper, const struct draft *draft)
{
	struct hostsfile_block block;
	keeper->waits = false;
	if (hostsfile_find(draft->wanted.data, draft->wanted.len, &block, NULL) < 0)
		return;
	char *copy = malloc(block.end - block.start + 1);
	if (!copy) /* then the next repair is not recognised as one */
		return;
	memcpy(copy, draft->wanted.data + block.start, block.end - block.start);
	free(keeper->block);
	keeper->block = copy;
	keeper->block_len = block.end - block.start;
}

static void log_repair(struct keeper *keeper)
{
	int64_t now = clock_mono_ms();
	uint32_t repairs = guard_repaired(&keeper->guard, now);
	if (repairs < GUARD_FREE)
		log_warn("another program had changed the block, it has been put back",
			 LOG_STR("file", keeper->settings->hosts_file));
	else
		log_warn("another program keeps changing the block: slowing down",
			 LOG_STR("file", keeper->settings->hosts_file), LOG_U64("times", repairs),
			 LOG_I64("next_repair_after_ms", guard_wait_ms(&keeper->guard, now)));
}

int64_t keeper_wait_ms(const struct keeper *keeper)
{
	return keeper->waits ? guard_wait_ms(&keeper->guard, clock_mono_ms()) : -1;
}

/* ---- what is told about it ---- */

static int count_one(void *arg, const struct record *record, bool removed)
{
	(void)record;
	(void)removed;
	(*(uint64_t *)arg)++;
	return 0;
}

static uint64_t count_changes(const struct hostsfile_parts *before, const struct hostsfile_parts *after)
{
	const struct silo none = {0};
	uint64_t changed = 0;
	for (size_t i = 0; i < after->count; i++) {
		const struct silo *old = hostsfile_find_part(before, after->items[i].id);
		(void)silo_diff(old ? old : &none, &after->items[i], count_one, &changed);
	}
	for (size_t i = 0; i < before->count; i++)
		if (!hostsfile_find_part(after, before->items[i].id))
			changed += before->items[i].count;
	return changed;
}

static void log_written(const struct draft *draft, const struct silos *silos, enum replace_way way, int64_t since_us)
{
	log_info("hosts file written", LOG_U64("revision", silos_revision(silos)),
		 LOG_U64("records", draft->plan.records),
		 LOG_U64("changed", count_changes(&draft->before, &draft->plan.parts)),
		 LOG_MS("ms", (double)(clock_mono_us() - since_us) / 1000), LOG_STR("file", draft->target.path),
		 LOG_STR("way", way == REPLACE_IN_PLACE ? "in place" : "rename"));
}

static void announce(struct silos *silos)
{
	for (size_t i = 0; i < silos->count; i++) {
		struct silo_state *state = &silos->items[i];
		if (state->origin != SILO_FROM_HUB || state->announced)
			continue;
		state->announced = true;
		log_info("silo applied", LOG_STR("silo", state->silo.id), LOG_U64("revision", state->revision),
			 LOG_U64("records", state->silo.count));
	}
}

/* ---- the calls ---- */

/* ERR_PRECONDITION: somebody wrote meanwhile, try again. */
static int apply_once(struct keeper *keeper, struct silos *silos, struct why *ret_why)
{
	_cleanup_(draft_release) struct draft draft;
	enum replace_way way;
	int64_t since = clock_mono_us();
	draft_init(&draft);
	int err = keeper->recovered ? 0 : keeper_recover(keeper, ret_why);
	if (err == 0)
		err = make_draft(keeper, silos, &draft, ret_why);
	if (err < 0)
		return err;
	report_refused(&keeper->report, &draft.plan, silos);
	if (!same_text(&draft.now, &draft.wanted)) {
		bool repair = is_repair(keeper, &draft);
		keeper->waits = repair && guard_wait_ms(&keeper->guard, clock_mono_ms()) > 0;
		if (keeper->waits)
			return 0;
		err = write_draft(&draft, &way, ret_why);
		if (err < 0)
			return err;
		keeper->writes++;
		log_written(&draft, silos, way, since);
		if (repair)
			log_repair(keeper);
	}
	announce(silos);
	remember_block(keeper, &draft);
	return 0;
}

static int settle(int (*once)(struct keeper *, struct silos *, struct why *), struct keeper *keeper,
		  struct silos *silos, struct why *ret_why)
{
	int err = ERR_PRECONDITION;
	for (int i = 0; i < TRIES && err == ERR_PRECONDITION; i++)
		err = once(keeper, silos, ret_why);
	if (err == ERR_PRECONDITION)
		return why_set(ret_why, err, "", "%s changes faster than it can be replaced",
			       keeper->settings->hosts_file);
	return err;
}

int keeper_apply(struct keeper *keeper, struct silos *silos, struct why *ret_why)
{
	return settle(apply_once, keeper, silos, ret_why);
}

int keeper_print(struct keeper *keeper, struct silos *silos, FILE *out, struct why *ret_why)
{
	_cleanup_(draft_release) struct draft draft;
	draft_init(&draft);
	int err = make_draft(keeper, silos, &draft, ret_why);
	if (err < 0)
		return err;
	report_refused(&keeper->report, &draft.plan, silos);
	if (fwrite(draft.wanted.data ? draft.wanted.data : "", 1, draft.wanted.len, out) != draft.wanted.len ||
	    fflush(out) != 0)
		return why_set(ret_why, ERR_SYSTEM, "", "cannot write to the standard output");
	return 0;
}

static int remove_once(struct keeper *keeper, struct silos *silos, struct why *ret_why)
{
	_cleanup_(draft_release) struct draft draft;
	enum replace_way way;
	(void)silos;
	draft_init(&draft);
	int err = read_draft(keeper->settings, &draft, ret_why);
	if (err < 0 || !draft.block.found)
		return err;
	if (hostsfile_rewrite(draft.now.data, draft.now.len, &draft.block, NULL, NULL, NULL, &draft.wanted) < 0)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	err = write_draft(&draft, &way, ret_why);
	if (err == 0)
		log_info("block removed", LOG_STR("file", draft.target.path));
	return err;
}

int keeper_remove(struct keeper *keeper, struct why *ret_why)
{
	return settle(remove_once, keeper, NULL, ret_why);
}
