#include "db.h"

#include <mysql.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define COLUMNS_MAX 16
#define BULK_ROWS_MAX 10000
#define BULK_BYTES_MAX (4u << 20) /* a quarter of max_allowed_packet's default */
#define TEXT_COLUMN_FIRST 512     /* bytes; grows to what a row needs */

struct db {
	MYSQL *mysql;
	const char *const *sql;
	size_t sql_count;
	MYSQL_STMT **statements; /* sql_count entries, NULL until first used */
	bool broken;
	char error[256];
};

/* What a caller can do about a server's error; a code that is not here is ERR_INTERNAL. Library errors (2000 and up)
 * all mean a lost connection. */
static const struct {
	unsigned code;
	int err;
	bool broken;
} error_classes[] = {
	{1021, ERR_UNAVAILABLE, false}, /* disk full */
	{1040, ERR_UNAVAILABLE, true},  /* too many connections */
	{1041, ERR_UNAVAILABLE, false}, /* out of memory */
	{1047, ERR_UNAVAILABLE, true},  /* Galera: node not ready */
	{1053, ERR_UNAVAILABLE, true},  /* shutting down */
	{1114, ERR_UNAVAILABLE, false}, /* table full */
	{1152, ERR_UNAVAILABLE, true},  /* aborted connection */
	{1205, ERR_UNAVAILABLE, false}, /* lock wait time-out */
	{1020, ERR_DEADLOCK, false},    /* record has changed since last read */
	{1213, ERR_DEADLOCK, false},    /* deadlock; Galera: certification failed */
	{1290, ERR_UNAVAILABLE, true},  /* read-only: fail-over under way */
	{1792, ERR_UNAVAILABLE, true},
	{1836, ERR_UNAVAILABLE, true},
	{1927, ERR_UNAVAILABLE, true},  /* connection was killed */
	{1969, ERR_UNAVAILABLE, false}, /* max_statement_time */
	/* What was decided in memory does not fit the tables: a backup is being restored. */
	{1062, ERR_UNAVAILABLE, false}, /* the row is there */
	{1146, ERR_UNAVAILABLE, false}, /* the table is not */
	{1412, ERR_UNAVAILABLE, false}, /* the table is another one */
	{1451, ERR_UNAVAILABLE, false}, /* another row needs it */
	{1452, ERR_UNAVAILABLE, false}, /* it needs another row */
};

static int db_fail(struct db *db, unsigned code, const char *text)
{
	int err = ERR_INTERNAL;

	snprintf(db->error, sizeof db->error, "%s (%u)", text, code);
	if (code >= 2000 && code < 3000) {
		err = code == 2008 ? ERR_NOMEM : ERR_UNAVAILABLE;
		db->broken = true;
	}
	for (size_t i = 0; i < sizeof error_classes / sizeof error_classes[0]; i++)
		if (error_classes[i].code == code) {
			err = error_classes[i].err;
			db->broken |= error_classes[i].broken;
		}
	return err;
}

static int db_fail_connection(struct db *db)
{
	return db_fail(db, mysql_errno(db->mysql), mysql_error(db->mysql));
}

static int db_fail_statement(struct db *db, MYSQL_STMT *statement)
{
	/* An error amid a result's rows stands in the connection only. */
	return mysql_stmt_errno(statement) ? db_fail(db, mysql_stmt_errno(statement), mysql_stmt_error(statement))
					   : db_fail_connection(db);
}

const char *db_error(const struct db *db)
{
	return db->error;
}

bool db_is_broken(const struct db *db)
{
	return db->broken;
}

static int db_text_query(struct db *db, const char *sql)
{
	return mysql_query(db->mysql, sql) ? db_fail_connection(db) : ERR_OK;
}

static int db_set_options(MYSQL *mysql, const struct db_settings *settings)
{
	unsigned seconds = (unsigned)((settings->timeout_ms + 999) / 1000);
	unsigned connect_seconds = seconds < 5 ? seconds : 5;
	unsigned protocol = settings->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
	my_bool tls = settings->tls_ca != NULL;

	/* Connector/C 3.4 verifies by default, 3.3 does not: say which it is to be. */
	if (mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_seconds) ||
	    mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &seconds) ||
	    mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds) ||
	    mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) ||
	    mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") ||
	    mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &tls) ||
	    mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &tls) ||
	    (tls && mysql_options(mysql, MYSQL_OPT_SSL_CA, settings->tls_ca)))
		return ERR_NOMEM;
	return ERR_OK;
}

/* A short lock wait: whoever waits for the revision row has a client waiting, too. A transaction whose client has gone
 * without a word (power, network) must not keep that row until TCP notices, which takes hours. */
static const char *const session_setup[] = {
	"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'",
	"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
	"SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 2, idle_transaction_timeout = 2",
};

int db_open(const struct db_settings *settings, const char *const *sql, size_t sql_count, struct db **ret_db,
	    struct why *ret_why)
{
	struct db *db = calloc(1, sizeof *db);

	if (!db)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	db->sql = sql;
	db->sql_count = sql_count;
	db->statements = calloc(sql_count + 1, sizeof(MYSQL_STMT *));
	db->mysql = mysql_init(NULL);
	if (!db->statements || !db->mysql || db_set_options(db->mysql, settings)) {
		db_close(db);
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	}

	int err = ERR_OK;
	if (!mysql_real_connect(db->mysql, settings->socket ? NULL : settings->host, settings->user, settings->password,
				settings->name, settings->port, settings->socket, 0))
		err = db_fail_connection(db);
	for (size_t i = 0; !err && i < sizeof session_setup / sizeof session_setup[0]; i++)
		err = db_text_query(db, session_setup[i]);
	if (err) {
		/* Whatever it is (wrong password, no such database, no route), it may be mended from outside. */
		why_set(ret_why, ERR_UNAVAILABLE, "", "%s", db->error);
		db_close(db);
		return ERR_UNAVAILABLE;
	}
	*ret_db = db;
	return ERR_OK;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (size_t i = 0; db->statements && i < db->sql_count; i++)
		if (db->statements[i])
			mysql_stmt_close(db->statements[i]);
	free(db->statements);
	if (db->mysql)
		mysql_close(db->mysql);
	free(db);
}

int db_begin(struct db *db)
{
	return db_text_query(db, "START TRANSACTION");
}

int db_begin_snapshot(struct db *db)
{
	int err = db_text_query(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");

	return err ? err : db_text_query(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
}

int db_commit(struct db *db)
{
	int err = db_text_query(db, "COMMIT");

	return err && db->broken ? ERR_UNKNOWN_OUTCOME : err;
}

int db_rollback(struct db *db)
{
	return db_text_query(db, "ROLLBACK");
}

int db_script(struct db *db, const char *sql)
{
	int status = mysql_set_server_option(db->mysql, MYSQL_OPTION_MULTI_STATEMENTS_ON);

	if (!status)
		status = mysql_query(db->mysql, sql);
	while (!status) {
		MYSQL_RES *result = mysql_store_result(db->mysql);
		if (result)
			mysql_free_result(result);
		status = mysql_next_result(db->mysql); /* 0: one more, -1: none, > 0: error */
	}
	if (status > 0)
		return db_fail_connection(db);
	return mysql_set_server_option(db->mysql, MYSQL_OPTION_MULTI_STATEMENTS_OFF) ? db_fail_connection(db) : ERR_OK;
}

static int db_statement(struct db *db, unsigned index, MYSQL_STMT **ret_statement)
{
	if (index >= db->sql_count)
		return ERR_INTERNAL;
	if (!db->statements[index]) {
		MYSQL_STMT *statement = mysql_stmt_init(db->mysql);
		if (!statement)
			return db_fail_connection(db);
		if (mysql_stmt_prepare(statement, db->sql[index], (unsigned long)-1)) {
			int err = db_fail_statement(db, statement);
			mysql_stmt_close(statement);
			return err;
		}
		db->statements[index] = statement;
	}
	*ret_statement = db->statements[index];
	return ERR_OK;
}

static int db_run(struct db *db, MYSQL_STMT *statement, MYSQL_BIND *binds, unsigned rows)
{
	if (mysql_stmt_attr_set(statement, STMT_ATTR_ARRAY_SIZE, &rows) ||
	    (binds && mysql_stmt_bind_param(statement, binds)) || mysql_stmt_execute(statement))
		return db_fail_statement(db, statement);
	return ERR_OK;
}

static int db_run_one(struct db *db, MYSQL_STMT *statement, const struct db_value *params, size_t count)
{
	MYSQL_BIND binds[COLUMNS_MAX];
	unsigned long lengths[COLUMNS_MAX];
	unsigned long long numbers[COLUMNS_MAX];

	if (count > COLUMNS_MAX || mysql_stmt_param_count(statement) != count)
		return db_fail(db, 0, "wrong number of parameters");
	memset(binds, 0, sizeof binds);
	for (size_t i = 0; i < count; i++) {
		lengths[i] = params[i].len;
		numbers[i] = params[i].u64;
		switch (params[i].type) {
		case DB_NULL:
			binds[i].buffer_type = MYSQL_TYPE_NULL;
			break;
		case DB_U64:
			binds[i].buffer_type = MYSQL_TYPE_LONGLONG;
			binds[i].is_unsigned = 1;
			binds[i].buffer = &numbers[i];
			break;
		case DB_TEXT:
			binds[i].buffer_type = MYSQL_TYPE_STRING;
			binds[i].buffer = (void *)(uintptr_t)params[i].text;
			binds[i].buffer_length = params[i].len;
			binds[i].length = &lengths[i];
			break;
		}
	}
	return db_run(db, statement, count ? binds : NULL, 0);
}

int db_exec(struct db *db, unsigned index, const struct db_value *params, size_t param_count)
{
	MYSQL_STMT *statement;
	int err = db_statement(db, index, &statement);

	return err ? err : db_run_one(db, statement, params, param_count);
}

/* One column of a bulk execution, as Connector/C wants it: an array of values, of lengths, of NULL indicators. */
struct bulk_column {
	void *values; /* unsigned long long[] or char *[] */
	unsigned long *lengths;
	char *indicators;
};

static void bulk_columns_free(struct bulk_column columns[static COLUMNS_MAX])
{
	for (size_t c = 0; c < COLUMNS_MAX; c++) {
		free(columns[c].values);
		free(columns[c].lengths);
		free(columns[c].indicators);
	}
}

static int bulk_column_fill(struct bulk_column *column, MYSQL_BIND *bind, const struct db_value *first, size_t stride,
			    size_t rows)
{
	enum db_type type = DB_NULL; /* of the column: that of its first value that is not NULL */

	for (size_t r = 0; r < rows && type == DB_NULL; r++)
		type = first[r * stride].type;
	column->values = calloc(rows, sizeof(unsigned long long));
	column->lengths = calloc(rows, sizeof *column->lengths);
	column->indicators = calloc(rows, 1);
	if (!column->values || !column->lengths || !column->indicators)
		return ERR_NOMEM;

	for (size_t r = 0; r < rows; r++) {
		const struct db_value *value = &first[r * stride];
		column->indicators[r] = value->type == DB_NULL ? STMT_INDICATOR_NULL : STMT_INDICATOR_NONE;
		column->lengths[r] = value->len;
		if (type == DB_U64)
			((unsigned long long *)column->values)[r] = value->u64;
		else
			((char **)column->values)[r] = (char *)(uintptr_t)(value->type == DB_TEXT ? value->text : "");
	}
	bind->buffer_type = type == DB_U64 ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING;
	bind->is_unsigned = type == DB_U64;
	bind->buffer = column->values;
	bind->length = column->lengths;
	bind->u.indicator = column->indicators;
	return ERR_OK;
}

static int db_bulk_chunk(struct db *db, unsigned index, const struct db_value *rows, size_t columns, size_t row_count)
{
	MYSQL_STMT *statement;
	MYSQL_BIND binds[COLUMNS_MAX];
	struct bulk_column arrays[COLUMNS_MAX] = {0};

	if (row_count == 1)
		return db_exec(db, index, rows, columns);
	int err = db_statement(db, index, &statement);
	if (err)
		return err;
	if (columns > COLUMNS_MAX || mysql_stmt_param_count(statement) != columns)
		return db_fail(db, 0, "wrong number of parameters");

	memset(binds, 0, sizeof binds);
	for (size_t c = 0; c < columns && !err; c++)
		err = bulk_column_fill(&arrays[c], &binds[c], rows + c, columns, row_count);
	if (!err)
		err = db_run(db, statement, binds, (unsigned)row_count);
	bulk_columns_free(arrays);
	return err;
}

int db_bulk(struct db *db, unsigned index, const struct db_value *rows, size_t columns, size_t row_count)
{
	int err = ERR_OK;

	/* One packet holds a chunk: it must stay below max_allowed_packet. */
	while (row_count && !err) {
		size_t chunk = 0, bytes = 0;
		do {
			for (size_t c = 0; c < columns; c++)
				bytes += 16 + rows[chunk * columns + c].len;
		} while (++chunk < row_count && chunk < BULK_ROWS_MAX && bytes < BULK_BYTES_MAX);
		err = db_bulk_chunk(db, index, rows, columns, chunk);
		rows += chunk * columns;
		row_count -= chunk;
	}
	return err;
}

/* One row's buffers; a text column grows when a value does not fit. */
struct row_buffers {
	unsigned count;
	MYSQL_BIND binds[COLUMNS_MAX];
	unsigned long lengths[COLUMNS_MAX];
	my_bool nulls[COLUMNS_MAX];
	unsigned long long numbers[COLUMNS_MAX];
	char *texts[COLUMNS_MAX];
	unsigned long capacities[COLUMNS_MAX];
};

static void row_buffers_release(struct row_buffers *row)
{
	for (unsigned c = 0; c < row->count; c++)
		free(row->texts[c]);
}

static bool is_number(enum enum_field_types type)
{
	return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
	       type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG;
}

static int row_buffers_bind(struct db *db, MYSQL_STMT *statement, struct row_buffers *row)
{
	MYSQL_RES *meta = mysql_stmt_result_metadata(statement);

	if (!meta)
		return db_fail_statement(db, statement);
	row->count = mysql_num_fields(meta);
	if (row->count > COLUMNS_MAX) {
		row->count = 0;
		mysql_free_result(meta);
		return db_fail(db, 0, "too many columns");
	}
	int err = ERR_OK;
	for (unsigned c = 0; c < row->count; c++) {
		MYSQL_BIND *bind = &row->binds[c];
		bind->length = &row->lengths[c];
		bind->is_null = &row->nulls[c];
		if (is_number(mysql_fetch_field_direct(meta, c)->type)) {
			bind->buffer_type = MYSQL_TYPE_LONGLONG;
			bind->is_unsigned = 1;
			bind->buffer = &row->numbers[c];
			continue;
		}
		row->capacities[c] = TEXT_COLUMN_FIRST;
		row->texts[c] = malloc(TEXT_COLUMN_FIRST);
		if (!row->texts[c])
			err = ERR_NOMEM;
		bind->buffer_type = MYSQL_TYPE_STRING;
		bind->buffer = row->texts[c];
		bind->buffer_length = TEXT_COLUMN_FIRST - 1;
	}
	mysql_free_result(meta);
	if (!err && mysql_stmt_bind_result(statement, row->binds))
		err = db_fail_statement(db, statement);
	return err;
}

/* Fetches the columns that were cut again, whole. */
static int row_buffers_complete(struct db *db, MYSQL_STMT *statement, struct row_buffers *row)
{
	bool grown = false;

	for (unsigned c = 0; c < row->count; c++) {
		if (!row->texts[c] || row->nulls[c] || row->lengths[c] < row->capacities[c])
			continue;
		char *text = realloc(row->texts[c], row->lengths[c] + 1);
		if (!text)
			return ERR_NOMEM;
		row->texts[c] = text;
		row->capacities[c] = row->lengths[c] + 1;
		row->binds[c].buffer = text;
		row->binds[c].buffer_length = row->lengths[c];
		if (mysql_stmt_fetch_column(statement, &row->binds[c], c, 0))
			return db_fail_statement(db, statement);
		grown = true;
	}
	return grown && mysql_stmt_bind_result(statement, row->binds) ? db_fail_statement(db, statement) : ERR_OK;
}

static void row_buffers_values(struct row_buffers *row, struct db_value values[static COLUMNS_MAX])
{
	for (unsigned c = 0; c < row->count; c++) {
		if (row->nulls[c]) {
			values[c] = (struct db_value){.type = DB_NULL};
		} else if (row->texts[c]) {
			row->texts[c][row->lengths[c]] = '\0';
			values[c] = DB_TEXT_VALUE(row->texts[c], row->lengths[c]);
		} else {
			values[c] = DB_U64_VALUE(row->numbers[c]);
		}
	}
}

int db_query(struct db *db, unsigned index, const struct db_value *params, size_t param_count, db_row_fn fn, void *arg)
{
	MYSQL_STMT *statement;
	_cleanup_(row_buffers_release) struct row_buffers row = {0};
	struct db_value values[COLUMNS_MAX];
	int err = db_statement(db, index, &statement);

	if (!err)
		err = db_run_one(db, statement, params, param_count);
	if (err)
		return err;
	err = row_buffers_bind(db, statement, &row);
	while (!err) {
		int status = mysql_stmt_fetch(statement);
		if (status == MYSQL_NO_DATA)
			break;
		if (status == MYSQL_DATA_TRUNCATED)
			err = row_buffers_complete(db, statement, &row);
		else if (status)
			err = db_fail_statement(db, statement);
		if (!err) {
			row_buffers_values(&row, values);
			err = fn(arg, values, row.count);
		}
	}
	mysql_stmt_free_result(statement); /* also reads away what the callback did not want */
	return err;
}
