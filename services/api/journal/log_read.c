#include "api/journal/log_internal.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"

#define FOLLOW_STEP 1000 /* entries of the log in one go */
/* Revisions between the end of a history and the beginning of the next: other hubs may have been ahead of this one. */
#define RENEW_STEP 10000

int changelog_open(const struct db_settings *settings, struct changelog **ret_log, bool *ret_durable,
		   struct why *ret_why)
{
	struct changelog *log = calloc(1, sizeof *log);
	uint64_t flush = 0;

	if (!log)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	log->settings = settings;
	int err = db_open(settings, journal_sql, &log->db, ret_why);
	if (!err) {
		err = db_query(log->db, SQL_DURABLE, NULL, 0, db_read_u64, &flush);
		if (!err)
			err = db_begin_implicitly(log->db);
		if (err)
			why_set(ret_why, err, "", "%s", db_error(log->db));
	}
	if (err) {
		changelog_close(log);
		return err;
	}
	*ret_durable = flush == 1;
	*ret_log = log;
	return ERR_OK;
}

void changelog_close(struct changelog *log)
{
	if (!log)
		return;
	db_close(log->db);
	free(log);
}

const char *changelog_error(const struct changelog *log)
{
	return log->why.text[0] ? log->why.text : db_error(log->db);
}

bool changelog_is_broken(const struct changelog *log)
{
	return db_is_broken(log->db);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* A stretch of the log, as changes that were decided. */
struct stretch {
	struct change *changes, **list; /* as many as are expected; each of `list` is one of `changes` */
	size_t count;
	uint64_t revision; /* of the last entry */
	bool gap;          /* an entry is missing: pruned, or another history */
};

static void stretch_release(struct stretch *stretch)
{
	for (size_t i = 0; i < stretch->count; i++)
		change_release(&stretch->changes[i]);
	free(stretch->changes);
	free(stretch->list);
}

static int read_entry(void *arg, const struct db_value *row)
{
	struct stretch *stretch = arg;
	struct change *change = &stretch->changes[stretch->count];

	stretch->gap |= row[0].u64 != stretch->revision + 1 || !row[1].u64 || row[1].u64 > CHANGE_LAST_LOGGED_;
	if (stretch->gap)
		return ERR_OK;
	*change = (struct change){
		.kind = (enum change_kind)row[1].u64, .owner = (uint32_t)row[3].u64, .revision = row[0].u64};
	snprintf(change->subject, sizeof change->subject, "%s", row[2].text);
	stretch->revision = row[0].u64;
	stretch->list[stretch->count++] = change;
	snprintf(change->actor.name, sizeof change->actor.name, "%s", row[5].text);
	if (row[6].len)
		(void)ipaddr_parse(row[6].text, row[6].len, &change->peer, NULL);
	if (change->kind != CHANGE_SILO_PUT)
		return ERR_OK;
	change->document = document_new(change->subject, row[4].text, row[4].len, change->owner, change->revision);
	return change->document ? ERR_OK : ERR_NOMEM;
}

static int read_user(struct changelog *log, struct change *change)
{
	const struct db_value name = TEXT(change->subject);
	int err = db_query(log->db, SQL_USER, &name, 1, journal_read_user, &change->user);

	if (!err && !change->user.id) /* removed again since */
		change->kind = CHANGE_USER_DELETE;
	return err;
}

static int read_token(struct changelog *log, struct change *change)
{
	size_t owner_len = strcspn(change->subject, "/");
	const char *name = change->subject + owner_len + (change->subject[owner_len] == '/');
	const struct db_value key[] = {DB_TEXT_VALUE(change->subject, owner_len), TEXT(name)};
	int err = db_query(log->db, SQL_TOKEN, key, 2, journal_read_token, &change->token);

	if (!err && !change->token) /* revoked again since */
		change->kind = CHANGE_TOKEN_DELETE;
	return err;
}

/* Users and tokens are read as they are now: the log holds no hashes. */
static int read_accounts(struct changelog *log, struct stretch *stretch)
{
	int err = ERR_OK;

	for (size_t i = 0; i < stretch->count && !err; i++) {
		if (stretch->changes[i].kind == CHANGE_USER_PUT)
			err = read_user(log, &stretch->changes[i]);
		else if (stretch->changes[i].kind == CHANGE_TOKEN_PUT)
			err = read_token(log, &stretch->changes[i]);
	}
	return err;
}

static int follow_stretch(struct changelog *log, struct store *store, uint64_t until, bool *ret_gap)
{
	_cleanup_(stretch_release) struct stretch stretch = {.revision = store_revision(store)};
	size_t expected = until - stretch.revision > FOLLOW_STEP ? FOLLOW_STEP : (size_t)(until - stretch.revision);
	uint64_t last = stretch.revision + expected;
	const struct db_value range[] = {DB_U64_VALUE(stretch.revision), DB_U64_VALUE(last)};

	stretch.changes = calloc(expected, sizeof *stretch.changes);
	stretch.list = calloc(expected, sizeof(struct change *));
	if (!stretch.changes || !stretch.list)
		return ERR_NOMEM;
	int err = db_query(log->db, SQL_SINCE, range, 2, read_entry, &stretch);
	if (err)
		return err;
	if (stretch.gap || stretch.revision != last) {
		*ret_gap = true;
		return ERR_OK;
	}
	err = read_accounts(log, &stretch);
	return err ? err : store_apply(store, stretch.list, stretch.count, last);
}

/* Ends what a poll has begun. */
static int end_reading(struct changelog *log, int err)
{
	return err || log->locked ? err : db_rollback(log->db);
}

int changelog_follow(struct changelog *log, struct store *store, bool *ret_continues)
{
	struct hub_row hub = {0};
	char identity[HUB_IDENTITY_LEN + 1];
	bool gap = false;
	int err = ERR_OK;

	log->why.text[0] = '\0';
	if (log->locked) /* nobody has changed it since */
		hub = log->hub;
	else
		err = db_query(log->db, SQL_HUB, NULL, 0, journal_read_hub, &hub);
	if (err)
		return err;
	store_identity(store, identity);
	bool same = store_is_loaded(store) && strcmp(identity, hub.identity) == 0;
	while (!err && same && !gap && store_revision(store) < hub.revision)
		err = follow_stretch(log, store, hub.revision, &gap);
	*ret_continues = same && !gap && store_revision(store) == hub.revision;
	return end_reading(log, err);
}

/* Only one of several processes that notice it renews the identity; the others find the new one. What they wrote into
 * the log while the backup came back, table by table, would collide with its next entries: it is deleted. `lost` is the
 * newest revision of the history that is lost: a revision, which is an entity tag too, must not name another state in
 * the next one. */
static int renew_identity(struct changelog *log, const struct hub_row *hub, uint64_t lost)
{
	unsigned char random[HUB_IDENTITY_LEN / 2];
	char identity[HUB_IDENTITY_LEN + 1];

	randombytes_buf(random, sizeof random);
	sodium_bin2hex(identity, sizeof identity, random, sizeof random);
	const struct db_value params[] = {TEXT(identity), DB_U64_VALUE(lost + RENEW_STEP), TEXT(hub->identity),
					  DB_U64_VALUE(hub->revision)};
	int err = changelog_lock(log);
	if (!err)
		err = db_exec(log->db, SQL_FORGET, NULL, 0);
	if (!err)
		err = db_exec(log->db, SQL_RENEW, params, 4);
	if (!err)
		err = changelog_commit(log);
	if (err)
		changelog_rollback(log);
	return err == ERR_UNKNOWN_OUTCOME ? ERR_UNAVAILABLE : err; /* nobody waits to know it */
}

int changelog_reload(struct changelog *log, struct store *store)
{
	struct hub_row hub = {0};
	char identity[HUB_IDENTITY_LEN + 1];
	uint64_t revision = store_revision(store);
	bool loaded = store_is_loaded(store);
	int err = end_reading(log, db_query(log->db, SQL_HUB, NULL, 0, journal_read_hub, &hub));

	store_identity(store, identity);
	/* Not before all tables are the backup's, as journal_load() sees by the hub's row: above the revision of a
	 * renewed one there is nothing. */
	if (!err && loaded && hub.revision < revision) {
		err = journal_load(log->settings, store, true, &log->why);
		if (!err)
			err = renew_identity(log, &hub, revision);
	}
	if (!err)
		err = journal_load(log->settings, store, false, &log->why);
	if (!err && loaded) /* not for each attempt while a backup is being restored */
		log_warn("the database does not continue what was in memory: all of it was loaded again",
			 LOG_U64("memory_revision", revision), LOG_U64("database_revision", hub.revision),
			 LOG_STR("memory_hub", identity), LOG_STR("database_hub", hub.identity));
	return err;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

int changelog_lock(struct changelog *log)
{
	int err = db_begin(log->db);

	log->why.text[0] = '\0'; /* of an earlier loading: not the reason of what fails from now on */
	memset(&log->hub, 0, sizeof log->hub);
	if (!err)
		err = db_query(log->db, SQL_LOCK_HUB, NULL, 0, journal_read_hub, &log->hub);
	log->locked = !err;
	return err;
}

bool changelog_needs_lock(const struct changelog *log)
{
	return db_is_cluster(log->db);
}

int changelog_commit(struct changelog *log)
{
	log->locked = false;
	return db_commit(log->db);
}

void changelog_rollback(struct changelog *log)
{
	log->locked = false;
	if (!db_is_broken(log->db))
		db_rollback(log->db);
}

int changelog_has(struct changelog *log, uint64_t transaction_id, uint64_t first_revision, bool *ret_there)
{
	const struct db_value params[] = {DB_U64_VALUE(first_revision), DB_U64_VALUE(transaction_id)};
	uint64_t found = 0;
	int err = db_query(log->db, SQL_LANDED, params, 2, db_read_u64, &found);

	if (!err)
		*ret_there = found > 0;
	return err;
}

/* With the lock held the transaction in question is over, one way or the other, if it was on this server. */
static int look_up(struct changelog *log, uint64_t transaction_id, uint64_t first_revision, bool *ret_landed)
{
	int err = changelog_lock(log);

	return err ? err : changelog_has(log, transaction_id, first_revision, ret_landed);
}

/* With the lock held. A node of a cluster knows nothing of another one's locks: a transaction may still be stuck there,
 * and be committed after "it did not land" has been said. Not once somebody else has written the row that it has
 * written, be it that the row is gone again. */
static int fence(struct changelog *log, uint64_t revision)
{
	const struct db_value params[] = {DB_U64_VALUE(revision)};
	int err = ERR_OK;

	if (log->hub.revision < revision)
		err = db_exec(log->db, SQL_FENCE, params, 1);
	if (!err)
		err = db_exec(log->db, SQL_UNFENCE, (const struct db_value[]){params[0], DB_U64_VALUE(0)}, 2);
	return err ? err : changelog_commit(log);
}

int changelog_landed(struct changelog *log, uint64_t transaction_id, uint64_t first_revision, bool *ret_landed)
{
	bool landed = false;
	int err = look_up(log, transaction_id, first_revision, &landed);

	if (!err && !landed && db_is_cluster(log->db)) {
		err = fence(log, first_revision);
		if (!err) /* it may have been what the fence had to give way to */
			err = look_up(log, transaction_id, first_revision, &landed);
	}
	changelog_rollback(log);
	if (!err)
		*ret_landed = landed;
	return err;
}
