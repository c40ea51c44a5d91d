#include "api/db/db_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errmsg.h>

#include "common/base/cleanup.h"

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
	{1180, ERR_UNAVAILABLE, true},  /* error during COMMIT; Galera: the group was lost, the others may have it */
	{1152, ERR_UNAVAILABLE, true},  /* aborted connection */
	{1153, ERR_TOO_LARGE, true},    /* max_allowed_packet */
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

/* Where to connect to first. A process has one database. */
static atomic_size_t first_host;

int db_fail(struct db *db, unsigned code, const char *text)
{
	int err = ERR_INTERNAL;
	size_t host = db->host;

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
	/* The revision row was locked, and this does not fit: the transaction was rolled back, and nobody was told. */
	if (db->cluster && (code == 1062 || code == 1451 || code == 1452))
		err = ERR_DEADLOCK;
	if (db->broken && db->host_count)
		atomic_compare_exchange_strong(&first_host, &host, (host + 1) % db->host_count);
	return err;
}

int db_fail_connection(struct db *db)
{
	return db_fail(db, mysql_errno(db->mysql), mysql_error(db->mysql));
}

int db_fail_statement(struct db *db, MYSQL_STMT *statement)
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

bool db_is_cluster(const struct db *db)
{
	return db->cluster;
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
	    (tls && (mysql_options(mysql, MYSQL_OPT_SSL_CA, settings->tls_ca) ||
		     mysql_options(mysql, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3"))))
		return ERR_NOMEM;
	return ERR_OK;
}

/* What a server's configuration may say otherwise. A short lock wait: whoever waits for the revision row has a client
 * waiting, too. A transaction whose client has gone without a word (power, network) must not keep that row until TCP
 * notices, which takes hours. */
static const struct {
	const char *sql;
	unsigned harmless; /* an error that does not matter */
} session_setup[] = {
	{"SET NAMES utf8mb4", 0},
	{"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', "
	 "autocommit = 1, completion_type = 0, "
	 "time_zone = '+00:00', innodb_lock_wait_timeout = 2, idle_transaction_timeout = 2, max_statement_time = 0, "
	 "sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0, sql_auto_is_null = 0, "
	 "foreign_key_checks = 1, unique_checks = 1",
	 0},
	{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE", 0},
	{"SET SESSION wsrep_sync_wait = 1, wsrep_dirty_reads = OFF", 1193 /* built without Galera */},
};

/* On a node without a majority this fails, as any look at a table does. */
static const char what_server[] = "SELECT @@GLOBAL.read_only, (SELECT COUNT(*) FROM information_schema.GLOBAL_STATUS "
				  "WHERE VARIABLE_NAME = 'WSREP_CLUSTER_SIZE' AND VARIABLE_VALUE + 0 > 0), "
				  "@@SESSION.max_allowed_packet";

static int db_set_up_session(struct db *db)
{
	for (size_t i = 0; i < sizeof session_setup / sizeof session_setup[0]; i++) {
		int err = db_text_query(db, session_setup[i].sql);
		if (err && mysql_errno(db->mysql) != session_setup[i].harmless)
			return err;
	}
	db->error[0] = '\0';
	int err = db_text_query(db, what_server);
	MYSQL_RES *result = err ? NULL : mysql_store_result(db->mysql);
	MYSQL_ROW row = result ? mysql_fetch_row(result) : NULL;
	bool read_only = row && strcmp(row[0], "0") != 0;

	if (row) {
		db->cluster = strcmp(row[1], "0") != 0;
		db->packet_max = strtoul(row[2], NULL, 10);
	} else if (!err) {
		err = db_fail_connection(db);
	}
	mysql_free_result(result);
	return read_only && db->host_count > 1 ? db_fail(db, 1290, "the server is read-only") : err;
}

static int db_connect(const struct db_settings *settings, size_t host, const char *const *sql, struct db **ret_db,
		      struct why *ret_why)
{
	const char *name = settings->socket ? NULL : settings->hosts.items[host];
	_cleanup_(db_cleanup) struct db *db = calloc(1, sizeof *db);

	if (db)
		db->mysql = mysql_init(NULL);
	if (!db || !db->mysql || db_set_options(db->mysql, settings))
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	db->sql = sql;
	db->host = host;
	db->host_count = settings->socket ? 1 : settings->hosts.count;
	if (!(mysql_real_connect(db->mysql, name, settings->user, settings->password, settings->name,
				 (unsigned)settings->port, settings->socket, 0)
		      ? db_set_up_session(db)
		      : db_fail_connection(db))) {
		*ret_db = TAKE_PTR(db);
		return ERR_OK;
	}
	/* Whatever it is (wrong password, no such database, no route), it may be mended from outside. */
	if (settings->tls_ca && mysql_errno(db->mysql) == CR_SSL_CONNECTION_ERROR)
		return why_set(ret_why, ERR_UNAVAILABLE, "",
			       "%s: the server must have a certificate for %s by an authority in %s", db->error,
			       name ? name : "localhost", settings->tls_ca);
	return why_set(ret_why, ERR_UNAVAILABLE, "", "%s", db->error);
}

int db_open(const struct db_settings *settings, const char *const *sql, struct db **ret_db, struct why *ret_why)
{
	size_t count = settings->socket ? 1 : settings->hosts.count, first = atomic_load(&first_host);
	struct why reasons = {0}, why;
	int err = ERR_UNAVAILABLE;

	for (size_t i = 0; i < count && err == ERR_UNAVAILABLE; i++) {
		size_t host = (first + i) % count;
		const struct why before = reasons;
		err = db_connect(settings, host, sql, ret_db, &why);
		if (!err)
			atomic_store(&first_host, host);
		else if (count == 1)
			reasons = why;
		else
			why_set(&reasons, err, "", "%s%s%s: %s", before.text, i ? "; " : "",
				settings->hosts.items[host], why.text);
	}
	return err ? why_set(ret_why, err, "", "%s", reasons.text) : ERR_OK;
}

void db_use(struct db *db, const char *const *sql)
{
	if (sql == db->sql)
		return;
	for (size_t i = 0; i < DB_STATEMENTS_MAX; i++)
		if (db->statements[i])
			mysql_stmt_close(db->statements[i]);
	memset(db->statements, 0, sizeof db->statements);
	db->sql = sql;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	db_use(db, NULL);
	if (db->mysql)
		mysql_close(db->mysql);
	free(db);
}

void db_cleanup(struct db **db)
{
	db_close(*db);
}

int db_begin_implicitly(struct db *db)
{
	if (db->cluster || db->implicit)
		return ERR_OK;
	db->implicit = true;
	return db_text_query(db, "SET SESSION autocommit = 0");
}

/* A node of a cluster that has to give way to another one's transaction rolls this one back, and sometimes says so to
 * nobody (MariaDB 10.11: bulk statements). What follows must not be committed piece by piece then. */
static int db_autocommit(struct db *db, bool on)
{
	if (!db->cluster)
		return ERR_OK;
	return db_text_query(db, on ? "SET SESSION autocommit = 1" : "SET SESSION autocommit = 0");
}

int db_begin(struct db *db)
{
	int err = db_autocommit(db, false);

	return err || db->implicit ? err : db_text_query(db, "START TRANSACTION");
}

int db_begin_snapshot(struct db *db)
{
	/* It locks nothing. The server has sent the last rows long before a busy machine has dealt with them. */
	int err = db_text_query(db, "SET SESSION idle_transaction_timeout = 600");

	if (!err)
		err = db_text_query(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
	return err ? err : db_text_query(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
}

int db_commit(struct db *db)
{
	int err = db_text_query(db, "COMMIT");

	if (err)
		return db->broken ? ERR_UNKNOWN_OUTCOME : err;
	if (db_autocommit(db, true)) /* it is committed all the same */
		db->broken = true;
	return ERR_OK;
}

int db_rollback(struct db *db)
{
	int err = db_text_query(db, "ROLLBACK");

	return err ? err : db_autocommit(db, true);
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
	return status > 0 ? db_fail_connection(db) : ERR_OK;
}
