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

static int rows_add(struct rows *rows, const struct db_value *row)
{
	if (rows->len + rows->columns > rows->capacity) {
		size_t capacity = rows->capacity ? rows->capacity * 2 : 64 * rows->columns;
		struct db_value *values = realloc(rows->values, capacity * sizeof *values);
		if (!values)
			return ERR_NOMEM;
		rows->values = values;
		rows->capacity = capacity;
	}
	memcpy(rows->values + rows->len, row, rows->columns * sizeof *row);
	rows->len += rows->columns;
	return ERR_OK;
}

static int rows_write(struct changelog *log, enum journal_sql statement, const struct rows *rows)
{
	return db_bulk(log->db, statement, rows->values, rows->columns, rows->len / rows->columns);
}

/* By how much the tables grow and shrink; the hub's row keeps the sums. */
struct growth {
	uint64_t accounts, silos, records, tokens, accounts_gone, silos_gone, records_gone, tokens_gone;
};

/* --- silos and records -------------------------------------------------------------------------------------------- */

/* What becomes of them, in the order in which it is written. */
enum row_kind { PUT_SILO, DELETE_RECORD, CHANGE_RECORD, ADD_RECORD, DELETE_SILO, ROW_KINDS };
static const struct {
	enum journal_sql sql;
	size_t columns;
	size_t affected; /* what MariaDB counts for each row if the tables are what memory is; 0: it depends */
} row_kinds[ROW_KINDS] = {
	[PUT_SILO] = {SQL_PUT_SILO, 3, 0},           [DELETE_RECORD] = {SQL_DELETE_RECORD, 3, 1},
	[CHANGE_RECORD] = {SQL_CHANGE_RECORD, 4, 2}, [ADD_RECORD] = {SQL_ADD_RECORD, 3, 1},
	[DELETE_SILO] = {SQL_DELETE_SILO, 1, 1}, /* its records go with it */
};

/* What one silo's rows borrow from. */
struct silo_difference {
	struct silo before, after; /* but for records that both have */
	struct record_difference {
		const struct record *record;
		bool removed;
		char ip[IPADDR_TEXT_MAX];
	} * records;
	size_t count;
};

struct silo_rows {
	struct rows of[ROW_KINDS];
	struct silo_difference *silos;
	size_t count;
};

static void silo_rows_release(struct silo_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++) {
		silo_release(&rows->silos[i].before);
		silo_release(&rows->silos[i].after);
		free(rows->silos[i].records);
	}
	free(rows->silos);
	for (size_t kind = 0; kind < ROW_KINDS; kind++)
		rows_release(&rows->of[kind]);
}

/* A silo_diff_fn. */
static int add_difference(void *arg, const struct record *record, bool removed)
{
	struct silo_difference *silo = arg;
	struct record_difference *difference = &silo->records[silo->count++];

	difference->record = record;
	difference->removed = removed;
	ipaddr_format(&record->ip, difference->ip);
	return ERR_OK;
}

/* An address that goes and one that comes for the same hostname are one changed row. */
static int add_record_rows(struct silo_rows *rows, const char *id, const struct silo_difference *silo)
{
	int err = ERR_OK;

	for (size_t i = 0; i < silo->count && !err; i++) {
		const struct record_difference *it = &silo->records[i], *next = i + 1 < silo->count ? it + 1 : NULL;
		bool changes = it->removed && next && !next->removed &&
			       strcmp(it->record->hostname, next->record->hostname) == 0;
		const struct db_value row[] = {TEXT(id), TEXT(it->record->hostname), TEXT(it->ip),
					       TEXT(changes ? next->ip : "")};
		err = rows_add(&rows->of[changes ? CHANGE_RECORD : it->removed ? DELETE_RECORD : ADD_RECORD], row);
		i += changes;
	}
	return err;
}

static int add_silo(struct silo_rows *rows, const struct touched_silo *touched, struct growth *growth)
{
	struct silo_difference *silo = &rows->silos[rows->count++];
	int err = document_read_difference(touched->before, touched->now, &silo->before, &silo->after);

	if (err)
		return err;
	growth->silos += !touched->before;
	growth->silos_gone += !touched->now;
	growth->records += silo->after.count;
	growth->records_gone += silo->before.count;
	if (!touched->now)
		return rows_add(&rows->of[DELETE_SILO], &TEXT(touched->id));
	silo->records = calloc(silo->before.count + silo->after.count + 1, sizeof *silo->records);
	if (!silo->records)
		return ERR_NOMEM;
	const struct db_value row[] = {TEXT(touched->id), DB_U64_VALUE(touched->now->owner),
				       DB_U64_VALUE(touched->now->revision)};
	err = rows_add(&rows->of[PUT_SILO], row);
	if (!err)
		err = silo_diff(&silo->before, &silo->after, add_difference, silo);
	return err ? err : add_record_rows(rows, touched->id, silo);
}

static int add_silos(const struct transaction *transaction, struct silo_rows *rows, struct growth *growth)
{
	int err = ERR_OK;

	for (size_t kind = 0; kind < ROW_KINDS; kind++)
		rows->of[kind].columns = row_kinds[kind].columns;
	rows->silos = calloc(HASH_COUNT(transaction->silos) + 1, sizeof *rows->silos);
	if (!rows->silos)
		return ERR_NOMEM;
	for (const struct touched_silo *silo = transaction->silos; silo && !err; silo = silo->hh.next)
		if (silo->now != silo->before)
			err = add_silo(rows, silo, growth);
	return err;
}

static int write_silos(struct changelog *log, const struct silo_rows *rows)
{
	int err = ERR_OK;

	for (size_t kind = 0; kind < ROW_KINDS && !err; kind++) {
		size_t expected = rows->of[kind].len / row_kinds[kind].columns * row_kinds[kind].affected;
		err = rows_write(log, row_kinds[kind].sql, &rows->of[kind]);
		if (!err && expected && db_affected(log->db) != expected)
			err = db_is_cluster(log->db)
				      ? ERR_DEADLOCK /* or the transaction's beginning was rolled back: see db.c */
				      : why_set(&log->why, ERR_CONFLICT, "",
						"the database lacks a silo or record: is a backup being restored?");
	}
	return err;
}

/* --- users and tokens --------------------------------------------------------------------------------------------- */

static void count_accounts(const struct change *change, struct growth *growth)
{
	growth->accounts += change->kind == CHANGE_USER_PUT && !change->user.id;
	growth->accounts_gone += change->kind == CHANGE_USER_DELETE;
	growth->tokens += change->kind == CHANGE_TOKEN_PUT;
	growth->tokens_gone += change_is_of_silo(change) ? 0 : change->tokens_gone;
}

static int write_user(struct changelog *log, struct change *change)
{
	struct user *user = &change->user;
	const struct db_value name = TEXT(user->name), owner = DB_U64_VALUE(user->id);
	const char *role = user->role == ROLE_ADMIN ? "admin" : "common";
	const struct db_value row[] = {TEXT(role), DB_U64_VALUE(user->quota), TEXT(user->password_hash),
				       DB_U64_VALUE(change->revision), name};

	if (change->kind == CHANGE_USER_DELETE) {
		int err = db_exec(log->db, SQL_DELETE_TOKENS, &owner, 1);
		return err ? err : db_exec(log->db, SQL_DELETE_USER, &name, 1);
	}
	int err = db_exec(log->db, user->id ? SQL_UPDATE_USER : SQL_INSERT_USER, row, 5);
	if (!err && !user->id)
		user->id = change->owner = (uint32_t)db_insert_id(log->db);
	return err;
}

static int write_token(struct changelog *log, const struct change *change)
{
	const struct token *token = change->token;
	char hash[TOKEN_HASH_HEX + 1] = "";

	if (token)
		sodium_bin2hex(hash, sizeof hash, token->hash, sizeof token->hash);
	const struct db_value key[] = {DB_U64_VALUE(change->owner), TEXT(strchr(change->subject, '/') + 1), TEXT(hash)};
	int err = change->tokens_gone ? db_exec(log->db, SQL_DELETE_TOKEN, key, 3) : ERR_OK;
	if (err || !token)
		return err;
	const struct db_value row[] = {key[0],
				       key[1],
				       key[2],
				       TEXT(token->document),
				       DB_U64_VALUE((uint64_t)token->created_us),
				       DB_U64_VALUE(token->revision)};
	return db_exec(log->db, SQL_INSERT_TOKEN, row, 6);
}

static int write_accounts(struct changelog *log, const struct transaction *transaction)
{
	int err = ERR_OK;

	for (size_t i = 0; i < transaction->count && !err; i++) {
		struct change *change = transaction->changes[i];
		if (change->kind == CHANGE_USER_PUT || change->kind == CHANGE_USER_DELETE)
			err = write_user(log, change);
		else if (change->kind == CHANGE_TOKEN_PUT || change->kind == CHANGE_TOKEN_DELETE)
			err = write_token(log, change);
	}
	return err;
}

/* --- the log and the hub's row ------------------------------------------------------------------------------------ */

/* What the change made of its subject; never a secret, nor its hash. */
static struct db_value document_of(const struct change *change)
{
	if (change->document)
		return DB_TEXT_VALUE(change->document->json, change->document->len);
	if (change->token)
		return TEXT(change->token->document);
	return change->kind == CHANGE_USER_PUT ? TEXT(change->note) : (struct db_value){.type = DB_NULL};
}

static int write_log(struct changelog *log, const struct transaction *transaction)
{
	_cleanup_(rows_release) struct rows rows = {.columns = 11};
	char peers[TRANSACTION_MAX][IPADDR_TEXT_MAX];

	for (size_t i = 0; i < transaction->count; i++) {
		const struct change *change = transaction->changes[i];
		bool patch = change->kind == CHANGE_SILO_PATCH;
		ipaddr_format(&change->peer, peers[i]);
		const struct db_value row[] = {DB_U64_VALUE(change->revision),
					       DB_U64_VALUE(transaction->id),
					       DB_U64_VALUE(patch ? CHANGE_SILO_PUT : change->kind),
					       TEXT(change->subject),
					       DB_U64_VALUE(change->owner),
					       DB_U64_VALUE(change->former_owner),
					       document_of(change),
					       TEXT(change->actor.name),
					       TEXT(peers[i]),
					       DB_U64_VALUE((uint64_t)transaction->at),
					       TEXT(token_name(change->actor.token))};
		if (rows_add(&rows, row))
			return ERR_NOMEM;
	}
	return rows_write(log, SQL_LOG, &rows);
}

/* Locks the hub's row, if it is not locked, and takes the revisions. */
static int claim(struct changelog *log, const struct transaction *transaction, const struct growth *growth)
{
	char identity[HUB_IDENTITY_LEN + 1];

	store_identity(transaction->store, identity);
	const struct db_value values[] = {DB_U64_VALUE(transaction->revision),
					  DB_U64_VALUE(growth->accounts),
					  DB_U64_VALUE(growth->accounts_gone),
					  DB_U64_VALUE(growth->silos),
					  DB_U64_VALUE(growth->silos_gone),
					  DB_U64_VALUE(growth->records),
					  DB_U64_VALUE(growth->records_gone),
					  DB_U64_VALUE(growth->tokens),
					  DB_U64_VALUE(growth->tokens_gone),
					  DB_U64_VALUE(transaction->base),
					  TEXT(identity)};
	int err = db_exec(log->db, SQL_CLAIM, values, sizeof values / sizeof values[0]);
	return err || db_affected(log->db) == 1 ? err : ERR_STOPPED;
}

/* The most usual transaction: one address of one silo is another one now, and all else stays. */
static bool is_one_address(const struct changelog *log, const struct transaction *transaction,
			   const struct silo_rows *rows)
{
	return !log->locked && transaction->count == 1 && rows->of[CHANGE_RECORD].len == 4 &&
	       !rows->of[ADD_RECORD].len && !rows->of[DELETE_RECORD].len && !transaction->changes[0]->former_owner;
}

/* In one statement: as claim(), with the silo's and the record's row. */
static int claim_address(struct changelog *log, const struct transaction *transaction, const struct silo_rows *rows)
{
	const struct db_value *record = rows->of[CHANGE_RECORD].values, revision = DB_U64_VALUE(transaction->revision);
	char identity[HUB_IDENTITY_LEN + 1];

	store_identity(transaction->store, identity);
	const struct db_value values[] = {revision,       revision,  record[3], DB_U64_VALUE(transaction->base),
					  TEXT(identity), record[0], record[0], record[1],
					  record[2]};
	int err = db_exec(log->db, SQL_CLAIM_ADDRESS, values, sizeof values / sizeof values[0]);
	return err || db_affected(log->db) == 3 ? err : ERR_STOPPED;
}

/* A node of a cluster may have rolled back the transaction's beginning, and told nobody: see db.c. */
static int check_intact(struct changelog *log, const struct transaction *transaction)
{
	bool there = true;
	int err = changelog_has(log, transaction->id, transaction->changes[0]->revision, &there);

	return err || there ? err : ERR_DEADLOCK;
}

int changelog_write(struct changelog *log, const struct transaction *transaction)
{
	_cleanup_(silo_rows_release) struct silo_rows rows = {.count = 0};
	bool cluster = db_is_cluster(log->db);
	struct growth growth = {0};
	int err = add_silos(transaction, &rows, &growth);

	log->why.text[0] = '\0';
	for (size_t i = 0; i < transaction->count; i++)
		count_accounts(transaction->changes[i], &growth);
	/* On one server the hub's row comes first: it is the lock. In a cluster the log comes first, and check_intact()
	 * sees by it that nothing was rolled back; there the lock is held, for what it is worth. */
	bool one_address = !err && is_one_address(log, transaction, &rows);
	if (one_address)
		err = claim_address(log, transaction, &rows);
	else if (!err && !cluster)
		err = claim(log, transaction, &growth);
	if (!err)
		err = write_accounts(log, transaction);
	if (!err)
		err = write_log(log, transaction);
	if (!err && !one_address)
		err = write_silos(log, &rows);
	if (!err && cluster)
		err = claim(log, transaction, &growth);
	return !err && cluster ? check_intact(log, transaction) : err;
}
