#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/db/db_internal.h"
#include "common/base/cleanup.h"

#define COLUMNS_MAX 16
#define BULK_ROWS_MAX 10000
#define BULK_BYTES_MAX (4u << 20) /* or a quarter of max_allowed_packet, if that is less */
#define STATEMENT_BYTES 64        /* at most, of a statement's packet without its values */
#define VALUE_BYTES 16            /* at most, of a value without its text: type, indicator, length or number */
#define TEXT_COLUMN_FIRST 511     /* bytes; grows to what a row needs */

/* When it is used for the first time. */
static int db_prepare(struct db *db, unsigned index)
{
	if (index >= DB_STATEMENTS_MAX)
		return db_fail(db, 0, "too many statements");
	if (db->statements[index])
		return ERR_OK;
	MYSQL_STMT *statement = mysql_stmt_init(db->mysql);
	if (!statement)
		return db_fail_connection(db);
	if (mysql_stmt_prepare(statement, db->sql[index], (unsigned long)-1)) {
		int err = db_fail_statement(db, statement);
		mysql_stmt_close(statement);
		return err;
	}
	db->statements[index] = statement;
	return ERR_OK;
}

uint64_t db_affected(const struct db *db)
{
	return db->affected;
}

uint64_t db_insert_id(const struct db *db)
{
	return db->insert_id;
}

static size_t row_bytes(const struct db_value *values, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += VALUE_BYTES + values[i].len;
	return bytes;
}

/* The server would close the connection. */
static int check_size(struct db *db, size_t bytes)
{
	if (bytes <= db->packet_max)
		return ERR_OK;
	snprintf(db->error, sizeof db->error,
		 "it takes %zu bytes in one statement, and the database server takes %zu: raise its max_allowed_packet",
		 bytes, db->packet_max);
	return ERR_TOO_LARGE;
}

/* Rows as Connector/C wants them: of each column an array of values, of lengths and of NULL indicators; all of them are
 * in `*ret_arrays`, to be freed. Only a text that is alone stands in the bind itself, and NULL if there is none. */
static int bind_rows(const struct db_value *rows, size_t columns, size_t count, MYSQL_BIND binds[static COLUMNS_MAX],
		     void **ret_arrays)
{
	size_t cells = columns * count;
	unsigned long long *values = calloc(cells + 1, sizeof *values + sizeof(unsigned long) + sizeof(char));

	*ret_arrays = values;
	if (!values)
		return ERR_NOMEM;
	unsigned long *lengths = (unsigned long *)(values + cells);
	char *indicators = (char *)(lengths + cells);
	for (size_t c = 0; c < columns; c++, values += count, lengths += count, indicators += count) {
		const char **texts = (const char **)(void *)values;
		enum db_type type = DB_NULL; /* of the column: that of its first value that is not NULL */

		for (size_t r = 0; r < count; r++) {
			const struct db_value *value = &rows[r * columns + c];
			type = type == DB_NULL ? value->type : type;
			lengths[r] = value->len;
			indicators[r] = value->type == DB_NULL ? STMT_INDICATOR_NULL : STMT_INDICATOR_NONE;
			if (value->type == DB_U64)
				values[r] = value->u64;
			else
				texts[r] = value->text;
		}
		binds[c] = (MYSQL_BIND){.buffer_type = type == DB_U64 ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING,
					.is_unsigned = type == DB_U64,
					.buffer = count > 1 || type == DB_U64 ? values : (void *)(uintptr_t)texts[0],
					.length = lengths,
					.u.indicator = indicators};
	}
	return ERR_OK;
}

/* Executes it once for each row; for a single one it is no bulk execution. */
static int db_run(struct db *db, unsigned index, const struct db_value *rows, size_t columns, size_t count)
{
	unsigned array_size = count > 1 ? (unsigned)count : 0;
	_cleanup_free_ void *arrays = NULL;
	MYSQL_BIND binds[COLUMNS_MAX];
	int err = db_prepare(db, index);

	if (err)
		return err;
	MYSQL_STMT *statement = db->statements[index];
	if (columns > COLUMNS_MAX || mysql_stmt_param_count(statement) != columns)
		return db_fail(db, 0, "wrong number of parameters");
	err = check_size(db, STATEMENT_BYTES + row_bytes(rows, columns * count));
	if (!err)
		err = bind_rows(rows, columns, count, binds, &arrays);
	if (err)
		return err;
	if (mysql_stmt_attr_set(statement, STMT_ATTR_ARRAY_SIZE, &array_size) ||
	    (columns && mysql_stmt_bind_param(statement, binds)) || mysql_stmt_execute(statement))
		return db_fail_statement(db, statement);
	db->affected = mysql_stmt_affected_rows(statement);
	db->insert_id = mysql_stmt_insert_id(statement);
	return ERR_OK;
}

int db_exec(struct db *db, unsigned index, const struct db_value *params, size_t param_count)
{
	return db_run(db, index, params, param_count, 1);
}

int db_bulk(struct db *db, unsigned index, const struct db_value *rows, size_t columns, size_t row_count)
{
	size_t bytes_max = db->packet_max / 4 < BULK_BYTES_MAX ? db->packet_max / 4 : BULK_BYTES_MAX;
	uint64_t affected = 0;
	int err = ERR_OK;

	/* One packet holds a chunk: at least one row. */
	while (row_count && !err) {
		size_t chunk = 1, bytes = STATEMENT_BYTES + row_bytes(rows, columns);
		while (chunk < row_count && chunk < BULK_ROWS_MAX && bytes < bytes_max) {
			bytes += row_bytes(rows + chunk * columns, columns);
			chunk += bytes < bytes_max;
		}
		err = db_run(db, index, rows, columns, chunk);
		affected += db->affected;
		rows += chunk * columns;
		row_count -= chunk;
	}
	db->affected = affected;
	return err;
}

/* One row's buffers. A text column's is owned, and grows when a value does not fit. */
struct row_buffers {
	unsigned count;
	MYSQL_BIND binds[COLUMNS_MAX];
	unsigned long lengths[COLUMNS_MAX];
	my_bool nulls[COLUMNS_MAX];
	unsigned long long numbers[COLUMNS_MAX];
};

static void row_buffers_release(struct row_buffers *row)
{
	for (unsigned c = 0; c < row->count; c++)
		if (row->binds[c].buffer_type == MYSQL_TYPE_STRING)
			free(row->binds[c].buffer);
}

/* Room for a text of so many bytes, and for the NUL behind it. */
static int grow_text(MYSQL_BIND *bind, unsigned long len)
{
	char *text = realloc(bind->buffer, len + 1);

	if (!text)
		return ERR_NOMEM;
	bind->buffer = text;
	bind->buffer_length = len;
	return ERR_OK;
}

static int row_buffers_bind(struct db *db, MYSQL_STMT *statement, struct row_buffers *row)
{
	const MYSQL_FIELD *fields = mariadb_stmt_fetch_fields(statement);
	int err = ERR_OK;

	if (mysql_stmt_field_count(statement) > COLUMNS_MAX)
		return db_fail(db, 0, "too many columns");
	for (; !err && row->count < mysql_stmt_field_count(statement); row->count++) {
		unsigned c = row->count;
		MYSQL_BIND *bind = &row->binds[c];
		bool number = IS_NUM(fields[c].type);
		*bind = (MYSQL_BIND){.buffer_type = number ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING,
				     .is_unsigned = number,
				     .buffer = number ? &row->numbers[c] : NULL,
				     .length = &row->lengths[c],
				     .is_null = &row->nulls[c]};
		if (!number)
			err = grow_text(bind, TEXT_COLUMN_FIRST);
	}
	return !err && mysql_stmt_bind_result(statement, row->binds) ? db_fail_statement(db, statement) : err;
}

/* Fetches the columns that were cut again, whole. */
static int row_buffers_complete(struct db *db, MYSQL_STMT *statement, struct row_buffers *row)
{
	for (unsigned c = 0; c < row->count; c++) {
		MYSQL_BIND *bind = &row->binds[c];
		if (bind->buffer_type != MYSQL_TYPE_STRING || row->nulls[c] || row->lengths[c] <= bind->buffer_length)
			continue;
		if (grow_text(bind, row->lengths[c]))
			return ERR_NOMEM;
		if (mysql_stmt_fetch_column(statement, bind, c, 0))
			return db_fail_statement(db, statement);
	}
	return mysql_stmt_bind_result(statement, row->binds) ? db_fail_statement(db, statement) : ERR_OK;
}

static void row_buffers_values(const struct row_buffers *row, struct db_value values[static COLUMNS_MAX])
{
	for (unsigned c = 0; c < row->count; c++) {
		char *text = row->binds[c].buffer;
		if (row->nulls[c]) {
			values[c] = (struct db_value){.type = DB_NULL};
		} else if (row->binds[c].buffer_type == MYSQL_TYPE_STRING) {
			text[row->lengths[c]] = '\0';
			values[c] = DB_TEXT_VALUE(text, row->lengths[c]);
		} else {
			values[c] = DB_U64_VALUE(row->numbers[c]);
		}
	}
}

int db_read_u64(void *arg, const struct db_value *row)
{
	*(uint64_t *)arg = row[0].u64;
	return ERR_OK;
}

int db_query(struct db *db, unsigned index, const struct db_value *params, size_t param_count, db_row_fn fn, void *arg)
{
	_cleanup_(row_buffers_release) struct row_buffers row = {0};
	struct db_value values[COLUMNS_MAX];
	int err = db_run(db, index, params, param_count, 1);

	if (err)
		return err;
	MYSQL_STMT *statement = db->statements[index];
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
			err = fn(arg, values);
		}
	}
	mysql_stmt_free_result(statement); /* also reads away what the callback did not want */
	return err;
}
