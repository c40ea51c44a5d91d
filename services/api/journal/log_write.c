#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/journal/log_internal.h"
#include "common/base/cleanup.h"

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

static int read_body(const struct document *body, const char *id, struct silo *ret_silo)
{
	int err = silo_read_canonical(body->json, ret_silo);
	struct why why;

	/* Not written by a hub: a person's repair of the log, perhaps. */
	return err == ERR_MALFORMED ? silo_parse(body->json, body->len, id, NULL, ret_silo, &why) : err;
}

static int diff_records(struct silo_rows *rows, const struct batch_silo *silo)
{
	int err = silo->before ? read_body(silo->before, silo->id, &rows->before) : ERR_OK;

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

/* By how much the tables grow and shrink; the hub's row keeps the sums. */
struct growth {
	uint64_t accounts, silos, records, tokens, accounts_gone, silos_gone, records_gone, tokens_gone;
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

static int collect_delete(struct silo_writes *writes, const struct batch_silo *silo, struct growth *growth)
{
	_cleanup_(silo_release) struct silo before = {0};
	struct db_value *row = rows_add(&writes->deletes);

	if (!row)
		return ERR_NOMEM;
	row[0] = TEXT(silo->id);
	int err = read_body(silo->before, silo->id, &before);
	growth->silos_gone++;
	growth->records_gone += before.count;
	return err;
}

static int collect_silo(struct silo_writes *writes, const struct batch_silo *silo, struct growth *growth)
{
	struct db_value *row;

	if (silo->now == silo->before)
		return ERR_OK;
	if (!silo->now)
		return collect_delete(writes, silo, growth);
	growth->silos += !silo->before;
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

static int write_silos(struct changelog *log, const struct batch *batch, struct growth *growth)
{
	_cleanup_(silo_writes_release) struct silo_writes writes = {
		.puts.columns = 3, .deletes.columns = 1, .added.columns = 3, .removed.columns = 3};
	int err = ERR_OK;

	writes.silos = calloc(HASH_COUNT(batch->silos) + 1, sizeof *writes.silos);
	if (!writes.silos)
		return ERR_NOMEM;
	for (const struct batch_silo *silo = batch->silos; silo && !err; silo = silo->hh.next)
		err = collect_silo(&writes, silo, growth);
	growth->records += writes.added.len / writes.added.columns;
	growth->records_gone += writes.removed.len / writes.removed.columns;
	if (!err)
		err = rows_write(log, SQL_PUT_SILO, &writes.puts);
	if (!err)
		err = rows_write(log, SQL_DELETE_RECORD, &writes.removed);
	if (!err)
		err = rows_write(log, SQL_ADD_RECORD, &writes.added);
	return err ? err : rows_write(log, SQL_DELETE_SILO, &writes.deletes);
}

static int write_user(struct changelog *log, struct batch *batch, enum change_kind kind, struct growth *growth)
{
	struct user *user = &batch->user;
	const struct db_value name = TEXT(user->name);
	const char *role = user->role == ROLE_ADMIN ? "admin" : "common";
	const struct db_value row[] = {TEXT(role), DB_U64_VALUE(user->quota), TEXT(user->password_hash),
				       DB_U64_VALUE(batch->revision), name};
	struct user written;

	growth->accounts += kind == CHANGE_USER_PUT && !user->id;
	growth->accounts_gone += kind == CHANGE_USER_DELETE;
	if (kind == CHANGE_USER_DELETE) {
		growth->tokens_gone += batch->tokens_gone;
		const struct db_value owner = DB_U64_VALUE(user->id);
		int failed = db_exec(log->db, SQL_DELETE_TOKENS, &owner, 1);
		return failed ? failed : db_exec(log->db, SQL_DELETE_USER, &name, 1);
	}
	int err = db_exec(log->db, user->id ? SQL_UPDATE_USER : SQL_INSERT_USER, row, 5);
	if (err || user->id)
		return err;
	err = db_query(log->db, SQL_USER, &name, 1, changelog_read_user, &written);
	if (!err)
		user->id = batch->entries[0].owner = written.id;
	return err;
}

static int write_token(struct changelog *log, const struct batch *batch, const struct order *order,
		       struct growth *growth)
{
	const struct token *token = order->token;
	const struct db_value key[] = {DB_U64_VALUE(batch->user.id), TEXT(strchr(order->subject, '/') + 1)};
	char hash[TOKEN_HASH_HEX + 1];

	if (order->kind == CHANGE_TOKEN_DELETE) {
		growth->tokens_gone += batch->tokens_gone;
		return db_exec(log->db, SQL_DELETE_TOKEN, key, 2);
	}
	growth->tokens++;
	sodium_bin2hex(hash, sizeof hash, token->hash, sizeof token->hash);
	const struct db_value row[] = {key[0],
				       key[1],
				       TEXT(hash),
				       TEXT(token->document),
				       DB_U64_VALUE((uint64_t)token->created_us),
				       DB_U64_VALUE(token->revision)};
	return db_exec(log->db, SQL_INSERT_TOKEN, row, 6);
}

/* What the change made of its subject; never a secret, nor its hash. */
static struct db_value document_of(const struct order *order)
{
	if (order->body)
		return DB_TEXT_VALUE(order->body->json, order->body->len);
	if (order->token)
		return TEXT(order->token->document);
	return order->kind == CHANGE_USER_PUT ? TEXT(order->note) : (struct db_value){.type = DB_NULL};
}

static int write_log(struct changelog *log, const struct batch *batch)
{
	_cleanup_(rows_release) struct rows rows = {.columns = 11};
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
		row[5] = DB_U64_VALUE(entry->former_owner);
		row[6] = document_of(order);
		row[7] = TEXT(order->actor.name);
		row[8] = TEXT(peers[i]);
		row[9] = DB_U64_VALUE((uint64_t)batch->at);
		row[10] = TEXT(token_name(order->actor.token));
	}
	return rows_write(log, SQL_LOG, &rows);
}

/* A node of a cluster may have rolled back the transaction's beginning, and told nobody: see db.c. */
static int check_intact(struct changelog *log, const struct batch *batch)
{
	bool there = true;
	int err = db_is_cluster(log->db) ? changelog_has(log, batch->id, batch->entries[0].revision, &there) : ERR_OK;

	return err || there ? err : ERR_DEADLOCK;
}

int changelog_write(struct changelog *log, struct batch *batch)
{
	struct growth growth = {0};
	int err = ERR_OK;

	for (size_t i = 0; i < batch->count && !err; i++) {
		const struct order *order = batch->entries[i].order;
		if (order->kind == CHANGE_USER_PUT || order->kind == CHANGE_USER_DELETE)
			err = write_user(log, batch, order->kind, &growth);
		else if (order->kind == CHANGE_TOKEN_PUT || order->kind == CHANGE_TOKEN_DELETE)
			err = write_token(log, batch, order, &growth);
	}
	/* Before all else that a batch of silos writes: whoever else has got the lock meanwhile has taken the revision.
	 */
	if (!err)
		err = write_log(log, batch);
	if (!err)
		err = write_silos(log, batch, &growth);
	const struct db_value hub[] = {
		DB_U64_VALUE(batch->revision),     DB_U64_VALUE(growth.accounts),   DB_U64_VALUE(growth.accounts_gone),
		DB_U64_VALUE(growth.silos),        DB_U64_VALUE(growth.silos_gone), DB_U64_VALUE(growth.records),
		DB_U64_VALUE(growth.records_gone), DB_U64_VALUE(growth.tokens),     DB_U64_VALUE(growth.tokens_gone)};
	if (!err)
		err = db_exec(log->db, SQL_SET_REVISION, hub, sizeof hub / sizeof hub[0]);
	return err ? err : check_intact(log, batch);
}
