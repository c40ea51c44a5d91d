/*
 * The inside of db: shared by db.c (the connection, its errors, transactions) and statement.c (prepared statements,
 * values in and out).
 */
#ifndef SILODNS_API_DB_DB_INTERNAL_H
#define SILODNS_API_DB_DB_INTERNAL_H

#include <mysql.h>

#include "api/db/db.h"

struct db {
	MYSQL *mysql;
	const char *const *sql;
	MYSQL_STMT *statements[DB_STATEMENTS_MAX]; /* of `sql`; NULL until first used */
	size_t host, host_count;                   /* its place in the settings' list, of so many */
	size_t packet_max; /* bytes of one statement with its values: the server's max_allowed_packet */
	uint64_t affected, insert_id;
	bool broken, cluster, implicit;
	char error[256];
};

/* Sorts the error, keeps its text, and returns its enum err. The others: the connection's or statement's last one. */
int db_fail(struct db *db, unsigned code, const char *text);
int db_fail_connection(struct db *db);
int db_fail_statement(struct db *db, MYSQL_STMT *statement);

#endif
