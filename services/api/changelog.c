#include "changelog.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "loader.h"
#include "log.h"

#define FOLLOW_STEP 1000 /* entries of the log in one go */

enum {
	SQL_DURABLE,
	SQL_REVISION,
	SQL_LOCK,
	SQL_SET_REVISION,
	SQL_SINCE,
	SQL_LANDED,
	SQL_USER,
	SQL_PUT_SILO,
	SQL_DELETE_SILO,
	SQL_ADD_RECORD,
	SQL_DELETE_RECORD,
	SQL_LOG,
	SQL_INSERT_USER,
	SQL_UPDATE_USER,
	SQL_DELETE_USER,
	SQL_COUNT
};

static const char *const sql[SQL_COUNT] = {
	[SQL_DURABLE] = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS UNSIGNED)",
	[SQL_REVISION] = "SELECT revision, identity FROM hub WHERE id = 1",
	[SQL_LOCK] = "SELECT revision FROM hub WHERE id = 1 FOR UPDATE",
	[SQL_SET_REVISION] = "UPDATE hub SET revision = ? WHERE id = 1",
	[SQL_SINCE] = "SELECT revision, CAST(kind AS UNSIGNED), subject, owner, document FROM change_log "
		      "WHERE revision > ? AND revision <= ? ORDER BY revision",
	[SQL_LANDED] = "SELECT COUNT(*) FROM change_log WHERE revision = ? AND batch = ?",
	[SQL_USER] = "SELECT " LOADER_USER_COLUMNS " FROM account WHERE name = ?",
	[SQL_PUT_SILO] = "INSERT INTO silo (id, owner, revision) VALUES (?, ?, ?) "
			 "ON DUPLICATE KEY UPDATE owner = VALUES(owner), revision = VALUES(revision)",
	[SQL_DELETE_SILO] = "DELETE FROM silo WHERE id = ?", /* its records go with it */
	[SQL_ADD_RECORD] = "INSERT INTO record (silo, hostname, ip) VALUES (?, ?, ?)",
	[SQL_DELETE_RECORD] = "DELETE FROM record WHERE silo = ? AND hostname = ? AND ip = ?",
	[SQL_LOG] = "INSERT INTO change_log (revision, batch, kind, subject, owner, document, actor, peer, at) "
		    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_INSERT_USER] = "INSERT INTO account (role, quota, password_hash, revision, name) VALUES (?, ?, ?, ?, ?)",
	[SQL_UPDATE_USER] = "UPDATE account SET role = ?, quota = ?, password_hash = ?, revision = ? WHERE name = ?",
	[SQL_DELETE_USER] = "DELETE FROM account WHERE name = ?",
};

struct changelog {
	struct db *db;
	const struct db_settings *settings; /* to load over a connection of its own */
	struct why why;                     /* of the last loading that failed */
};

#define TEXT(s) DB_TEXT_VALUE((s), strlen(s))

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
	int err = db_open(settings, sql, SQL_COUNT, &log->db, ret_why);
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

/* --- reading
 * ---------------------------------------------------------------------------------------------------------- */

/* A stretch of the log, as changes for the store. */
struct follower {
	struct store_change *changes;
	char (*subjects)[SILO_ID_MAX + 1];
	size_t count;
	uint64_t revision; /* of the last entry */
	bool gap;          /* an entry is missing: pruned, or another history */
};

static void follower_release(struct follower *f)
{
	for (size_t i = 0; f->changes && i < f->count; i++)
		silo_body_unref(f->changes[i].body);
	free(f->changes);
	free(f->subjects);
}

static const enum store_op store_ops[] = {
	[CHANGE_SILO_PUT] = STORE_PUT_SILO,
	[CHANGE_SILO_DELETE] = STORE_DELETE_SILO,
	[CHANGE_USER_PUT] = STORE_PUT_USER,
	[CHANGE_USER_DELETE] = STORE_DELETE_USER,
};

static int follow_entry(void *arg, const struct db_value *row, size_t columns)
{
	struct follower *f = arg;
	struct store_change *change = &f->changes[f->count];

	(void)columns;
	f->gap |= row[0].u64 != f->revision + 1 || row[1].u64 < CHANGE_SILO_PUT || row[1].u64 > CHANGE_USER_DELETE;
	if (f->gap)
		return ERR_OK;
	*change = (struct store_change){.op = store_ops[row[1].u64], .subject = f->subjects[f->count]};
	snprintf(f->subjects[f->count], sizeof f->subjects[0], "%s", row[2].text);
	if (change->op == STORE_PUT_SILO) {
		change->body = silo_body_new(row[4].text, row[4].len, (uint32_t)row[3].u64, row[0].u64);
		if (!change->body)
			return ERR_NOMEM;
	}
	f->revision = row[0].u64;
	f->count++;
	return ERR_OK;
}

static int follow_user(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	loader_read_user(row, arg);
	return ERR_OK;
}

/* Users are read as they are now: the log holds no password hashes. */
static int follow_users(struct changelog *log, struct follower *f)
{
	for (size_t i = 0; i < f->count; i++) {
		struct store_change *change = &f->changes[i];
		if (change->op != STORE_PUT_USER)
			continue;
		const struct db_value name = TEXT(change->subject);
		int err = db_query(log->db, SQL_USER, &name, 1, follow_user, &change->user);
		if (err)
			return err;
		if (!change->user.id) /* removed again since */
			change->op = STORE_DELETE_USER;
	}
	return ERR_OK;
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
	err = follow_users(log, &f);
	return err ? err : store_apply(store, f.changes, f.count, last);
}

int changelog_follow(struct changelog *log, struct store *store, bool *ret_reloaded)
{
	struct hub_row hub = {0};
	char identity[HUB_IDENTITY_LEN + 1];
	bool gap = false;
	int err = db_query(log->db, SQL_REVISION, NULL, 0, loader_read_hub, &hub);

	if (err)
		return err;
	store_identity(store, identity);
	*ret_reloaded =
		!store_is_loaded(store) || strcmp(identity, hub.identity) != 0 || hub.revision < store_revision(store);
	while (!err && !*ret_reloaded && !gap && store_revision(store) < hub.revision)
		err = follow_step(log, store, hub.revision, &gap);
	*ret_reloaded |= gap;
	if (err || !*ret_reloaded)
		return err;
	if (store_is_loaded(store))
		log_warn("the database does not continue what is in memory: loading all of it again",
			 LOG_U64("memory_revision", store_revision(store)), LOG_U64("database_revision", hub.revision),
			 LOG_STR("memory_hub", identity), LOG_STR("database_hub", hub.identity));
	return loader_load(log->settings, store, &log->why);
}

/* --- writing
 * ---------------------------------------------------------------------------------------------------------- */

int changelog_lock(struct changelog *log)
{
	uint64_t revision;
	int err = db_begin(log->db);

	return err ? err : db_query(log->db, SQL_LOCK, NULL, 0, read_u64, &revision);
}

/* Rows of parameters for one bulk statement. */
struct rows {
	struct db_value *values;
	size_t len, capacity; /* in values */
	size_t columns;
};

static void rows_release(struct rows *rows)
{
	free(rows->values);
}

/* The place for one more row; NULL without memory. */
static struct db_value *rows_add(struct rows *rows)
{
	if (rows->len + rows->columns > rows->capacity) {
		size_t capacity = rows->capacity ? rows->capacity * 2 : 64 * rows->columns;
		struct db_value *values = realloc(rows->values, capacity * sizeof *values);
		if (!values)
			return NULL;
		rows->values = values;
		rows->capacity = capacity;
	}
	rows->len += rows->columns;
	return rows->values + rows->len - rows->columns;
}

static int rows_write(struct changelog *log, unsigned statement, const struct rows *rows)
{
	return db_bulk(log->db, statement, rows->values, rows->columns, rows->len / rows->columns);
}

/* How one silo's records differ between the database and the batch: what the rows borrow lives here. */
struct silo_rows {
	const char *id;
	struct silo before;
	char (*ips)[IPADDR_TEXT_MAX];
	size_t ip_count;
	struct rows *added, *removed;
};

static int add_record_row(void *arg, const struct record *record, bool removed)
{
	struct silo_rows *silo = arg;
	struct db_value *row = rows_add(removed ? silo->removed : silo->added);
	char *ip = silo->ips[silo->ip_count++];

	if (!row)
		return ERR_NOMEM;
	ipaddr_format(&record->ip, ip);
	row[0] = TEXT(silo->id);
	row[1] = TEXT(record->hostname);
	row[2] = TEXT(ip);
	return ERR_OK;
}

static int diff_records(struct silo_rows *rows, const struct batch_silo *silo)
{
	int err = ERR_OK;
	struct why why;

	if (silo->before)
		err = silo_parse(silo->before->json, silo->before->len, silo->id, NULL, &rows->before, &why);
	if (err)
		return err;
	rows->id = silo->id;
	rows->ips = calloc(rows->before.count + silo->records->count + 1, sizeof *rows->ips);
	return rows->ips ? silo_diff(&rows->before, silo->records, add_record_row, rows) : ERR_NOMEM;
}

/* Everything that a batch does to silos and records. */
struct silo_writes {
	struct rows puts, deletes, added, removed;
	struct silo_rows *silos;
	size_t count;
};

static void silo_writes_release(struct silo_writes *writes)
{
	for (size_t i = 0; writes->silos && i < writes->count; i++) {
		silo_release(&writes->silos[i].before);
		free(writes->silos[i].ips);
	}
	free(writes->silos);
	rows_release(&writes->puts);
	rows_release(&writes->deletes);
	rows_release(&writes->added);
	rows_release(&writes->removed);
}

static int collect_silo(struct silo_writes *writes, const struct batch_silo *silo)
{
	struct db_value *row;

	if (silo->now == silo->before)
		return ERR_OK;
	if (!silo->now) {
		row = rows_add(&writes->deletes);
		if (row)
			row[0] = TEXT(silo->id);
		return row ? ERR_OK : ERR_NOMEM;
	}
	row = rows_add(&writes->puts);
	if (!row)
		return ERR_NOMEM;
	row[0] = TEXT(silo->id);
	row[1] = DB_U64_VALUE(silo->now->owner);
	row[2] = DB_U64_VALUE(silo->now->revision);
	struct silo_rows *records = &writes->silos[writes->count++];
	records->added = &writes->added;
	records->removed = &writes->removed;
	return diff_records(records, silo);
}

static int write_silos(struct changelog *log, const struct batch *batch)
{
	_cleanup_(silo_writes_release) struct silo_writes writes = {
		.puts.columns = 3, .deletes.columns = 1, .added.columns = 3, .removed.columns = 3};
	int err = ERR_OK;

	writes.silos = calloc(HASH_COUNT(batch->silos) + 1, sizeof *writes.silos);
	if (!writes.silos)
		return ERR_NOMEM;
	for (const struct batch_silo *silo = batch->silos; silo && !err; silo = silo->hh.next)
		err = collect_silo(&writes, silo);
	if (!err)
		err = rows_write(log, SQL_PUT_SILO, &writes.puts);
	if (!err)
		err = rows_write(log, SQL_DELETE_RECORD, &writes.removed);
	if (!err)
		err = rows_write(log, SQL_ADD_RECORD, &writes.added);
	return err ? err : rows_write(log, SQL_DELETE_SILO, &writes.deletes);
}

static int write_user(struct changelog *log, struct batch *batch, enum change_kind kind)
{
	struct user *user = &batch->user;
	const struct db_value name = TEXT(user->name);
	const char *role = user->role == ROLE_ADMIN ? "admin" : "common";
	const struct db_value row[] = {TEXT(role), DB_U64_VALUE(user->quota), TEXT(user->password_hash),
				       DB_U64_VALUE(batch->revision), name};
	struct user written;

	if (kind == CHANGE_USER_DELETE)
		return db_exec(log->db, SQL_DELETE_USER, &name, 1);
	int err = db_exec(log->db, user->id ? SQL_UPDATE_USER : SQL_INSERT_USER, row, 5);
	if (err || user->id)
		return err;
	err = db_query(log->db, SQL_USER, &name, 1, follow_user, &written);
	if (!err)
		user->id = batch->entries[0].owner = written.id;
	return err;
}

static int write_log(struct changelog *log, const struct batch *batch)
{
	_cleanup_(rows_release) struct rows rows = {.columns = 9};
	char peers[BATCH_MAX][IPADDR_TEXT_MAX];

	for (size_t i = 0; i < batch->count; i++) {
		const struct batch_entry *entry = &batch->entries[i];
		const struct order *order = entry->order;
		struct db_value *row = rows_add(&rows);
		if (!row)
			return ERR_NOMEM;
		ipaddr_format(&order->peer, peers[i]);
		row[0] = DB_U64_VALUE(entry->revision);
		row[1] = DB_U64_VALUE(batch->id);
		row[2] = DB_U64_VALUE(order->kind);
		row[3] = TEXT(order->subject);
		row[4] = DB_U64_VALUE(entry->owner);
		row[5] = order->body ? DB_TEXT_VALUE(order->body->json, order->body->len)
				     : (struct db_value){.type = DB_NULL};
		row[6] = TEXT(order->actor.name);
		row[7] = TEXT(peers[i]);
		row[8] = DB_U64_VALUE((uint64_t)batch->at);
	}
	return rows_write(log, SQL_LOG, &rows);
}

int changelog_write(struct changelog *log, struct batch *batch)
{
	const struct db_value revision = DB_U64_VALUE(batch->revision);
	int err = write_silos(log, batch);

	for (size_t i = 0; i < batch->count && !err; i++) {
		enum change_kind kind = batch->entries[i].order->kind;
		if (kind == CHANGE_USER_PUT || kind == CHANGE_USER_DELETE)
			err = write_user(log, batch, kind);
	}
	if (!err)
		err = write_log(log, batch);
	return err ? err : db_exec(log->db, SQL_SET_REVISION, &revision, 1);
}

int changelog_commit(struct changelog *log)
{
	return db_commit(log->db);
}

void changelog_rollback(struct changelog *log)
{
	if (!db_is_broken(log->db))
		db_rollback(log->db);
}

int changelog_landed(struct changelog *log, uint64_t batch_id, uint64_t first_revision, bool *ret_landed)
{
	const struct db_value params[] = {DB_U64_VALUE(first_revision), DB_U64_VALUE(batch_id)};
	uint64_t found = 0;
	/* With the lock held, the transaction in question is over, one way or the other. */
	int err = changelog_lock(log);

	if (!err)
		err = db_query(log->db, SQL_LANDED, params, 2, read_u64, &found);
	changelog_rollback(log);
	if (!err)
		*ret_landed = found > 0;
	return err;
}
