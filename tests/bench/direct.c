/*
 * The ceiling of changing: MariaDB driven directly, one transaction per update of the tables that the hub writes for
 * the same change (record, hub, silo, change_log). As cheap as one transaction can be: prepared statements, no
 * transaction is begun by a statement of its own, the row of the silo's own record is changed before the hub's row is
 * locked, which all transactions share. Settings as the hub's: SILODNS_DB_….
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mysql.h>

#include "common/base/clock.h"
#include "lib/histogram.h"
#include "lib/program.h"
#include "lib/traffic.h"

#define CONNECTIONS_MAX 1000

enum { UPDATE_RECORD, UPDATE_HUB, UPDATE_SILO, INSERT_LOG, STATEMENT_COUNT };

static const char *const sql[STATEMENT_COUNT] = {
	[UPDATE_RECORD] = "UPDATE record SET ip = ? WHERE silo = ? AND hostname = 'a.example.net'",
	[UPDATE_HUB] = "UPDATE hub SET revision = LAST_INSERT_ID(revision + 1) WHERE id = 1",
	[UPDATE_SILO] = "UPDATE silo SET revision = ? WHERE id = ?",
	[INSERT_LOG] = ("INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, document, actor, "
			"peer, at) VALUES (?, ?, 1, ?, 1, 1, ?, 'admin', '127.0.0.1', ?)"),
};

struct direct {
	long connections, silos, first_change;
	long warmup_ms, duration_ms;
	atomic_uint next_change;
	int64_t counted_from_us, until_us;
};

struct periodic {
	pthread_t thread;
	struct direct *direct;
	unsigned number, turn;
	MYSQL *mysql;
	MYSQL_STMT *statements[STATEMENT_COUNT];
	struct histogram latency;
};

/* --- one transaction ---------------------------------------------------------------------------------------------- */

static MYSQL_BIND text(const char *value, unsigned long *len)
{
	*len = strlen(value);
	return (MYSQL_BIND){.buffer_type = MYSQL_TYPE_STRING,
			    .buffer = (void *)(uintptr_t)value,
			    .buffer_length = *len,
			    .length = len};
}

static MYSQL_BIND number(unsigned long long *value)
{
	return (MYSQL_BIND){.buffer_type = MYSQL_TYPE_LONGLONG, .is_unsigned = 1, .buffer = value};
}

static void execute(struct periodic *worker, unsigned statement, MYSQL_BIND *binds)
{
	MYSQL_STMT *prepared = worker->statements[statement];

	if ((binds && mysql_stmt_bind_param(prepared, binds)) || mysql_stmt_execute(prepared))
		program_fail("%s: %s", sql[statement], mysql_stmt_error(prepared));
}

static void update(struct periodic *worker)
{
	unsigned change = atomic_fetch_add(&worker->direct->next_change, 1);
	char silo[16], ip[20], document[256];
	unsigned long silo_len, ip_len, document_len;
	unsigned long long at = (unsigned long long)clock_wall_us(), batch = at << 12 | change;

	snprintf(silo, sizeof silo, "s%07u",
		 traffic_own_silo(worker->number, worker->direct->connections, worker->direct->silos, &worker->turn));
	snprintf(ip, sizeof ip, "10.%u.%u.%u", change >> 16 & 255, change >> 8 & 255, change & 255);
	snprintf(document, sizeof document,
		 "{\"id\":\"%s\",\"dnsrecords\":[{\"hostname\":\"a.example.net\",\"ip\":\"%s\"},"
		 "{\"hostname\":\"b.example.net\",\"ip\":\"192.0.2.7\"}]}",
		 silo, ip);

	execute(worker, UPDATE_RECORD, (MYSQL_BIND[]){text(ip, &ip_len), text(silo, &silo_len)});
	if (mysql_stmt_affected_rows(worker->statements[UPDATE_RECORD]) != 1)
		program_fail("silo %s is not there", silo);
	execute(worker, UPDATE_HUB, NULL);
	unsigned long long revision = mysql_stmt_insert_id(worker->statements[UPDATE_HUB]);
	execute(worker, UPDATE_SILO, (MYSQL_BIND[]){number(&revision), text(silo, &silo_len)});
	execute(worker, INSERT_LOG,
		(MYSQL_BIND[]){number(&revision), number(&batch), text(silo, &silo_len), text(document, &document_len),
			       number(&at)});
	if (mysql_commit(worker->mysql))
		program_fail("commit: %s", mysql_error(worker->mysql));
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		program_fail("%s is not set", name);
	return value;
}

static void connect_worker(struct periodic *worker)
{
	worker->mysql = mysql_init(NULL);
	if (!worker->mysql ||
	    !mysql_real_connect(worker->mysql, setting("SILODNS_DB_HOST"), setting("SILODNS_DB_USER"),
				setting("SILODNS_DB_PASSWORD"), setting("SILODNS_DB_NAME"),
				(unsigned)atoi(setting("SILODNS_DB_PORT")), NULL, 0) ||
	    mysql_query(worker->mysql, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED") ||
	    mysql_autocommit(worker->mysql, 0))
		program_fail("cannot connect: %s", worker->mysql ? mysql_error(worker->mysql) : "out of memory");
	for (unsigned i = 0; i < STATEMENT_COUNT; i++) {
		worker->statements[i] = mysql_stmt_init(worker->mysql);
		if (!worker->statements[i] ||
		    mysql_stmt_prepare(worker->statements[i], sql[i], (unsigned long)strlen(sql[i])))
			program_fail("%s: %s", sql[i], mysql_error(worker->mysql));
	}
}

static void *work(void *arg)
{
	struct periodic *worker = arg;
	const struct direct *direct = worker->direct;

	for (int64_t now = clock_mono_us(), done; now < direct->until_us; now = done) {
		update(worker);
		done = clock_mono_us();
		if (done >= direct->counted_from_us && done < direct->until_us)
			histogram_add(&worker->latency, done - now);
	}
	return NULL;
}

static void disconnect_worker(struct periodic *worker)
{
	for (unsigned i = 0; i < STATEMENT_COUNT; i++)
		mysql_stmt_close(worker->statements[i]);
	mysql_close(worker->mysql);
}

static void report(const struct direct *direct, const struct periodic *workers)
{
	static struct histogram all;

	for (long i = 0; i < direct->connections; i++)
		histogram_merge(&all, &workers[i].latency);
	program_print_take(json_pack("{s:I, s:f, s:o, s:I}", "answers", (json_int_t)all.count, "per_second",
				     (double)all.count * 1000 / (double)direct->duration_ms, "latency_us",
				     histogram_json(&all), "next_change",
				     (json_int_t)atomic_load(&direct->next_change)));
}

int main(int argc, char **argv)
{
	static struct direct direct = {.connections = 32, .silos = 1, .warmup_ms = 200, .duration_ms = 1000};
	const struct flag flags[] = {
		{.name = "connections", .number = &direct.connections},
		{.name = "silos", .number = &direct.silos},
		{.name = "first-change", .number = &direct.first_change},
		{.name = "warmup-ms", .number = &direct.warmup_ms},
		{.name = "duration-ms", .number = &direct.duration_ms},
	};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (direct.connections < 1 || direct.connections > CONNECTIONS_MAX || direct.silos < direct.connections)
		program_fail("from 1 to %d connections, and a silo for each", CONNECTIONS_MAX);
	struct periodic *workers = calloc((size_t)direct.connections, sizeof *workers);
	if (!workers || mysql_library_init(0, NULL, NULL))
		program_fail("out of memory");
	atomic_init(&direct.next_change, (unsigned)direct.first_change);
	for (long i = 0; i < direct.connections; i++) {
		workers[i].direct = &direct;
		workers[i].number = (unsigned)i;
		connect_worker(&workers[i]);
	}
	direct.counted_from_us = clock_mono_us() + direct.warmup_ms * 1000;
	direct.until_us = direct.counted_from_us + direct.duration_ms * 1000;
	for (long i = 0; i < direct.connections; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			program_fail("cannot start a thread");
	for (long i = 0; i < direct.connections; i++)
		pthread_join(workers[i].thread, NULL);
	report(&direct, workers);
	for (long i = 0; i < direct.connections; i++)
		disconnect_worker(&workers[i]);
	free(workers);
	return 0;
}
