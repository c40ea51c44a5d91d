#include "api/journal/log_internal.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/journal/load.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#define FOLLOW_STEP 1000 /* entries of the log in one go */
/* Revisions between the end of a history and the beginning of the next: other hubs may have been ahead of this one. */
#define RENEW_STEP 10000

static const char *const sql[CHANGELOG_SQL_COUNT] = {
	[SQL_DURABLE] = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS UNSIGNED)",
	[SQL_REVISION] = LOADER_HUB_QUERY,
	[SQL_LOCK] = LOADER_HUB_QUERY " FOR UPDATE",
	[SQL_SET_REVISION] = "UPDATE hub SET revision = ?, accounts = accounts + ? - ?, silos = silos + ? - ?, "
			     "records = records + ? - ?, tokens = tokens + ? - ? WHERE id = 1",
	[SQL_RENEW] = "UPDATE hub SET identity = ?, revision = ? WHERE id = 1 AND identity = ? AND revision = ?",
	[SQL_FORGET] = "DELETE FROM change_log WHERE revision > (SELECT revision FROM hub WHERE id = 1)",
	[SQL_SINCE] = "SELECT revision, CAST(kind AS UNSIGNED), subject, owner, document FROM change_log "
		      "WHERE revision > ? AND revision <= ? ORDER BY revision",
	[SQL_LANDED] = "SELECT COUNT(*) FROM change_log WHERE revision = ? AND batch = ?",
	[SQL_FENCE] = "INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, actor, peer, at) "
		      "VALUES (?, 0, 'silo-delete', '', 0, 0, '', '', 0)",
	[SQL_UNFENCE] = "DELETE FROM change_log WHERE revision = ? AND batch = ?",
	[SQL_USER] = "SELECT " LOADER_USER_COLUMNS " FROM account WHERE name = ?",
	[SQL_PUT_SILO] = "INSERT INTO silo (id, owner, revision) VALUES (?, ?, ?) "
			 "ON DUPLICATE KEY UPDATE owner = VALUES(owner), revision = VALUES(revision)",
	[SQL_DELETE_SILO] = "DELETE FROM silo WHERE id = ?", /* its records go with it */
	[SQL_ADD_RECORD] = "INSERT INTO record (silo, hostname, ip) VALUES (?, ?, ?)",
	[SQL_DELETE_RECORD] = "DELETE FROM record WHERE silo = ? AND hostname = ? AND ip = ?",
	[SQL_LOG] = "INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, document, actor, "
		    "peer, at, credential) "
		    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_INSERT_USER] = "INSERT INTO account (role, quota, password_hash, revision, name) VALUES (?, ?, ?, ?, ?)",
	[SQL_UPDATE_USER] = "UPDATE account SET role = ?, quota = ?, password_hash = ?, revision = ? WHERE name = ?",
	[SQL_DELETE_USER] = "DELETE FROM account WHERE name = ?",
	[SQL_TOKEN] = LOADER_TOKEN_QUERY " WHERE a.name = ? AND t.name = ?",
	[SQL_INSERT_TOKEN] =
		"INSERT INTO token (owner, name, hash, scope, created, revision) VALUES (?, ?, ?, ?, ?, ?)",
	[SQL_DELETE_TOKEN] = "DELETE FROM token WHERE owner = ? AND name = ?",
	[SQL_DELETE_TOKENS] = "DELETE FROM token WHERE owner = ?",
};

static int read_u64(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	*(uint64_t *)arg = row[0].u64;
	return ERR_OK;
}

int changelog_open(const struct db_settings *settings, struct changelog **ret_log, bool *ret_durable,
		   struct why *ret_why)
{
	struct changelog *log = calloc(1, sizeof *log);
	uint64_t flush = 0;

	if (!log)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	log->settings = settings;
	int err = db_open(settings, sql, CHANGELOG_SQL_COUNT, &log->db, ret_why);
	if (!err) {
		err = db_query(log->db, SQL_DURABLE, NULL, 0, read_u64, &flush);
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

/* A stretch of the log, as changes for the store. */
struct follower {
	struct store_change *changes;
	char (*subjects)[CHANGE_SUBJECT_MAX + 1];
	size_t count;
	uint64_t revision; /* of the last entry */
	bool gap;          /* an entry is missing: pruned, or another history */
};

static void follower_release(struct follower *f)
{
	for (size_t i = 0; f->changes && i < f->count; i++) {
		document_unref(f->changes[i].body);
		token_unref(f->changes[i].token);
	}
	free(f->changes);
	free(f->subjects);
}

static const enum store_op store_ops[] = {
	[CHANGE_SILO_PUT] = STORE_PUT_SILO,   [CHANGE_SILO_DELETE] = STORE_DELETE_SILO,
	[CHANGE_USER_PUT] = STORE_PUT_USER,   [CHANGE_USER_DELETE] = STORE_DELETE_USER,
	[CHANGE_TOKEN_PUT] = STORE_PUT_TOKEN, [CHANGE_TOKEN_DELETE] = STORE_DELETE_TOKEN,
};

static int follow_entry(void *arg, const struct db_value *row, size_t columns)
{
	struct follower *f = arg;
	struct store_change *change = &f->changes[f->count];

	(void)columns;
	f->gap |= row[0].u64 != f->revision + 1 || row[1].u64 < CHANGE_SILO_PUT || row[1].u64 > CHANGE_LAST_;
	if (f->gap)
		return ERR_OK;
	*change = (struct store_change){
		.op = store_ops[row[1].u64], .subject = f->subjects[f->count], .revision = row[0].u64};
	snprintf(f->subjects[f->count], sizeof f->subjects[0], "%s", row[2].text);
	if (change->op == STORE_PUT_SILO) {
		change->body = document_new(change->subject, row[4].text, row[4].len, (uint32_t)row[3].u64, row[0].u64);
		if (!change->body)
			return ERR_NOMEM;
	}
	f->revision = row[0].u64;
	f->count++;
	return ERR_OK;
}

int changelog_read_user(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	loader_read_user(row, arg);
	return ERR_OK;
}

static int follow_user(struct changelog *log, struct store_change *change)
{
	const struct db_value name = TEXT(change->subject);
	int err = db_query(log->db, SQL_USER, &name, 1, changelog_read_user, &change->user);

	if (!err && !change->user.id) /* removed again since */
		change->op = STORE_DELETE_USER;
	return err;
}

static int read_token(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	return loader_read_token(row, arg);
}

static int follow_token(struct changelog *log, struct store_change *change)
{
	size_t owner_len = strcspn(change->subject, "/");
	const char *name = change->subject + owner_len + (change->subject[owner_len] == '/');
	const struct db_value key[] = {DB_TEXT_VALUE(change->subject, owner_len), TEXT(name)};
	int err = db_query(log->db, SQL_TOKEN, key, 2, read_token, &change->token);

	if (!err && !change->token) /* revoked again since */
		change->op = STORE_DELETE_TOKEN;
	return err;
}

/* Users and tokens are read as they are now: the log holds no hashes. */
static int follow_accounts(struct changelog *log, struct follower *f)
{
	int err = ERR_OK;

	for (size_t i = 0; i < f->count && !err; i++) {
		struct store_change *change = &f->changes[i];
		if (change->op == STORE_PUT_USER)
			err = follow_user(log, change);
		else if (change->op == STORE_PUT_TOKEN)
			err = follow_token(log, change);
	}
	return err;
}

static int follow_step(struct changelog *log, struct store *store, uint64_t until, bool *ret_gap)
{
	_cleanup_(follower_release) struct follower f = {.revision = store_revision(store)};
	size_t expected = until - f.revision > FOLLOW_STEP ? FOLLOW_STEP : (size_t)(until - f.revision);
	uint64_t last = f.revision + expected;
	const struct db_value range[] = {DB_U64_VALUE(f.revision), DB_U64_VALUE(last)};

	f.changes = calloc(expected, sizeof *f.changes);
	f.subjects = calloc(expected, sizeof *f.subjects);
	if (!f.changes || !f.subjects)
		return ERR_NOMEM;
	int err = db_query(log->db, SQL_SINCE, range, 2, follow_entry, &f);
	if (err)
		return err;
	if (f.gap || f.revision != last) {
		*ret_gap = true;
		return ERR_OK;
	}
	err = follow_accounts(log, &f);
	return err ? err : store_apply(store, f.changes, f.count, last);
}

int changelog_follow(struct changelog *log, struct store *store, bool *ret_continues)
{
	struct hub_row hub = {0};
	char identity[HUB_IDENTITY_LEN + 1];
	bool gap = false;
	int err = ERR_OK;

	if (log->locked) /* nobody has changed it since */
		hub = log->hub;
	else
		err = db_query(log->db, SQL_REVISION, NULL, 0, loader_read_hub, &hub);
	if (err)
		return err;
	store_identity(store, identity);
	bool same = store_is_loaded(store) && strcmp(identity, hub.identity) == 0;
	while (!err && same && !gap && store_revision(store) < hub.revision)
		err = follow_step(log, store, hub.revision, &gap);
	*ret_continues = same && !gap && store_revision(store) == hub.revision;
	return err;
}

/* Only one of several processes that notice it renews the identity; the others find the new one. What they wrote into
 * the log while the backup came back, table by table, is no part of this history, and would stand in the way of its
 * next entries. `lost` is the newest revision of the history that is lost: a revision, which is an entity tag too, must
 * not name another state in the next one. */
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
		err = db_commit(log->db);
	if (err)
		changelog_rollback(log);
	return err == ERR_UNKNOWN_OUTCOME ? ERR_UNAVAILABLE
					  : err; /* there is nothing in doubt that anybody waits for */
}

int changelog_reload(struct changelog *log, struct store *store)
{
	struct hub_row hub = {0};
	char identity[HUB_IDENTITY_LEN + 1];
	int err = db_query(log->db, SQL_REVISION, NULL, 0, loader_read_hub, &hub);

	if (!err && store_is_loaded(store)) {
		store_identity(store, identity);
		log_warn("the database does not continue what is in memory: loading all of it again",
			 LOG_U64("memory_revision", store_revision(store)), LOG_U64("database_revision", hub.revision),
			 LOG_STR("memory_hub", identity), LOG_STR("database_hub", hub.identity));
		if (strcmp(identity, hub.identity) == 0 && hub.revision < store_revision(store))
			err = renew_identity(log, &hub, store_revision(store));
	}
	return err ? err : loader_load(log->settings, store, &log->why);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

int changelog_lock(struct changelog *log)
{
	int err = db_begin(log->db);

	log->why.text[0] = '\0'; /* of an earlier loading: not the reason of what fails from now on */
	memset(&log->hub, 0, sizeof log->hub);
	if (!err)
		err = db_query(log->db, SQL_LOCK, NULL, 0, loader_read_hub, &log->hub);
	log->locked = !err;
	return err;
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

int changelog_has(struct changelog *log, uint64_t batch_id, uint64_t first_revision, bool *ret_there)
{
	const struct db_value params[] = {DB_U64_VALUE(first_revision), DB_U64_VALUE(batch_id)};
	uint64_t found = 0;
	int err = db_query(log->db, SQL_LANDED, params, 2, read_u64, &found);

	if (!err)
		*ret_there = found > 0;
	return err;
}

/* With the lock held the transaction in question is over, one way or the other, if it was on this server. */
static int look_up(struct changelog *log, uint64_t batch_id, uint64_t first_revision, bool *ret_landed)
{
	int err = changelog_lock(log);

	return err ? err : changelog_has(log, batch_id, first_revision, ret_landed);
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

int changelog_landed(struct changelog *log, uint64_t batch_id, uint64_t first_revision, bool *ret_landed)
{
	bool landed = false;
	int err = look_up(log, batch_id, first_revision, &landed);

	if (!err && !landed && db_is_cluster(log->db)) {
		err = fence(log, first_revision);
		if (!err) /* it may have been what the fence had to give way to */
			err = look_up(log, batch_id, first_revision, &landed);
	}
	changelog_rollback(log);
	if (!err)
		*ret_landed = landed;
	return err;
}
