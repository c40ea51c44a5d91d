#include "api/journal/writer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/db/migrate.h"
#include "api/journal/decide.h"
#include "api/journal/log_read.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define RECONNECT_MS 250    /* between two attempts to reach a lost database */
#define DEADLOCK_RETRIES 20 /* of one transaction; Galera's certification conflicts count too */
#define DOWN_LOG_EVERY_MS 10000
#define FRESH_MS 1000 /* memory counts as what the database is for so long after the poll that should have come */

struct writer {
	struct store *store;
	struct queue *queue;
	struct writer_settings settings;
	pthread_t thread;

	struct changelog *log; /* the thread's alone, as all below; NULL while the database is away */
	bool migrated, warned_durability;
	bool contended; /* another process was ahead: lock first */
	int64_t down_logged;
	unsigned deadlocks, losses; /* in a row */
	struct {                    /* a commit whose outcome is not known yet; its changes wait for it */
		uint64_t transaction_id, first_revision;
		struct pending *taken[TRANSACTION_MAX];
		size_t count;
	} doubt;
};

/* --- transactions ------------------------------------------------------------------------------------------------- */

/* Brings memory to what the database has, whatever that takes. Not while the hub's row is locked. */
static int follow(struct writer *w)
{
	int64_t began_us = clock_mono_us();
	bool continues;
	int err = changelog_follow(w->log, w->store, &continues);

	if (!err && !continues)
		err = changelog_reload(w->log, w->store);
	if (!err)
		store_confirm(w->store, began_us, w->settings.poll_ms + FRESH_MS);
	return err;
}

/* With the hub's row locked, memory becomes what the database is. ERR_STOPPED: it had to be loaded anew, for which the
 * lock was let go. */
static int lock(struct writer *w)
{
	uint64_t before = store_revision(w->store);
	int64_t began_us = clock_mono_us();
	bool continues = true;
	int err = changelog_lock(w->log);

	if (!err)
		err = changelog_follow(w->log, w->store, &continues);
	if (err)
		return err;
	if (!continues) {
		changelog_rollback(w->log);
		err = follow(w);
		return err ? err : ERR_STOPPED;
	}
	w->contended = store_revision(w->store) != before;
	store_confirm(w->store, began_us, w->settings.poll_ms + FRESH_MS);
	return ERR_OK;
}

/* Nothing to write. What was decided must be true of the database, too. */
static int finish_unchanged(struct writer *w, bool locked, uint64_t base, struct pending *taken[], size_t count)
{
	if (locked) {
		changelog_rollback(w->log);
	} else {
		int err = follow(w);
		if (err || store_revision(w->store) != base)
			return err ? err : ERR_STOPPED;
	}
	queue_finish_take(w->queue, taken, count, false);
	return ERR_OK;
}

static int commit(struct writer *w, const struct transaction *transaction, struct pending *taken[], size_t count)
{
	int64_t began_us = clock_mono_us(); /* the hub's row is locked: nobody else changes anything */

	if (!queue_enter_commit(w->queue, taken, count))
		return ERR_STOPPED;
	int err = changelog_commit(w->log);
	bool applied = !err && !store_apply(w->store, transaction->changes, transaction->count, transaction->revision);
	if (applied) {
		store_confirm(w->store, began_us, w->settings.poll_ms + FRESH_MS);
	} else if (!err) { /* memory is what was committed, or it is read from there: never something in between */
		log_error("out of memory while applying a commit: reading it again",
			  LOG_U64("revision", transaction->revision));
		if (follow(w))
			err = ERR_UNKNOWN_OUTCOME; /* not to be acknowledged before it can be read */
	}
	if (err == ERR_UNKNOWN_OUTCOME) {
		w->doubt.transaction_id = transaction->id;
		w->doubt.first_revision = transaction->changes[0]->revision;
		memcpy(w->doubt.taken, taken, count * sizeof taken[0]);
		w->doubt.count = count;
	}
	if (err)
		return err;
	queue_finish_take(w->queue, taken, count, true);
	return ERR_OK;
}

/* Decides as many as fit into one transaction: how large a patch's document becomes is known only then. How many; the
 * others wait again. */
static size_t decide(struct writer *w, struct transaction *transaction, struct pending *taken[], size_t count)
{
	size_t bytes = 0, i;

	for (i = 0; i < count && bytes < TRANSACTION_BYTES_MAX; i++) {
		struct change *change = &taken[i]->change;
		document_unref(taken[i]->outcome.body); /* of an earlier attempt */
		taken[i]->err = transaction_decide(transaction, change, &taken[i]->outcome);
		bytes += change->document ? change->document->len : 0;
	}
	queue_grant_time(w->queue, bytes);
	queue_return(w->queue, taken + i, count - i);
	return i;
}

/*
 * One transaction of the first of them, `*count` at the return. ERR_OK: these are answered (each may have been
 * refused). ERR_UNKNOWN_OUTCOME: they wait in w->doubt. Any other error: nothing was changed, nobody answered, and they
 * are the caller's still.
 */
static int run_transaction(struct writer *w, struct pending *taken[], size_t *count)
{
	_cleanup_(transaction_release) struct transaction transaction = {.count = 0};
	bool locks = w->contended || changelog_needs_lock(w->log);
	int err = locks ? lock(w) : ERR_OK;

	if (err)
		return err;
	transaction_init(&transaction, w->store);
	*count = decide(w, &transaction, taken, *count);
	if (!transaction.count)
		return finish_unchanged(w, locks, transaction.base, taken, *count);
	err = changelog_write(w->log, &transaction);
	if (err == ERR_STOPPED) { /* another process was ahead */
		changelog_rollback(w->log);
		w->contended = true;
		err = follow(w);
		return err ? err : ERR_STOPPED;
	}
	return err ? err : commit(w, &transaction, taken, *count);
}

/* With a connection again: did the transaction in doubt land? If it did, its changes come by the log like anybody
 * else's; if not, it is run anew. */
static int settle_doubt(struct writer *w)
{
	bool landed = false;
	int err;

	if (!w->doubt.count)
		return ERR_OK;
	err = changelog_landed(w->log, w->doubt.transaction_id, w->doubt.first_revision, &landed);
	if (err)
		return err;
	log_warn("the outcome of an interrupted commit is known", LOG_BOOL("landed", landed),
		 LOG_U64("changes", w->doubt.count), LOG_U64("revision", w->doubt.first_revision));
	if (landed) {
		/* Decided outcomes stand: a change that was refused then is refused, the others have happened. */
		err = follow(w);
		if (err)
			return err;
		queue_finish_take(w->queue, w->doubt.taken, w->doubt.count, true);
	} else {
		queue_return(w->queue, w->doubt.taken, w->doubt.count);
	}
	w->doubt.count = 0;
	return ERR_OK;
}

/* --- the connection ----------------------------------------------------------------------------------------------- */

static void set_up(struct writer *w)
{
	int64_t away_ms = queue_open(w->queue);

	if (away_ms >= 0)
		log_info("database up", LOG_U64("revision", store_revision(w->store)), LOG_I64("away_ms", away_ms));
	w->down_logged = 0;
}

/* From now on submitters are told at once. A commit in doubt keeps waiting. */
static void set_down(struct writer *w, const char *reason)
{
	queue_close(w->queue, reason);
	if (!w->down_logged || clock_mono_ms() - w->down_logged >= DOWN_LOG_EVERY_MS) {
		log_warn("database away", LOG_STR("reason", reason));
		w->down_logged = clock_mono_ms();
	}
}

static void disconnect(struct writer *w)
{
	changelog_close(w->log);
	w->log = NULL;
}

static bool is_stopping(void *queue)
{
	return queue_is_stopping(queue);
}

static int connect_database(struct writer *w, struct why *ret_why)
{
	const struct migrate_stop stop = {is_stopping, w->queue};
	unsigned applied;
	bool durable;
	int err = ERR_OK;

	if (w->settings.migrate && !w->migrated) {
		err = migrate_run(&w->settings.db, &stop, &applied, ret_why);
		if (err)
			return err;
		w->migrated = true;
	}
	err = changelog_open(&w->settings.db, &w->log, &durable, ret_why);
	if (err)
		return err;
	if (!durable && !w->warned_durability) {
		log_error(
			"the database does not sync every commit to disk: acknowledged changes can be lost in a crash",
			LOG_STR("set", "innodb_flush_log_at_trx_commit=1"));
		w->warned_durability = true;
	}
	err = settle_doubt(w);
	if (!err)
		err = follow(w);
	if (err && !ret_why->text[0])
		why_set(ret_why, err, "", "%s", changelog_error(w->log)[0] ? changelog_error(w->log) : err_name(err));
	return err;
}

static void refuse_take(struct writer *w, struct pending *taken[], size_t count, int err, const char *reason)
{
	for (size_t i = 0; i < count; i++) {
		document_unref(taken[i]->outcome.body);
		taken[i]->outcome = (struct outcome){0};
		taken[i]->err = why_set(&taken[i]->outcome.why, err, "", "%s", reason);
	}
	queue_finish_take(w->queue, taken, count, false);
}

/* What run_transaction() could not do: try again, split, or refuse. */
static void handle_failure_take(struct writer *w, struct pending *taken[], size_t count, int err)
{
	char reason[256];
	bool broken = changelog_is_broken(w->log) || err == ERR_UNKNOWN_OUTCOME; /* settled by the next connection */

	snprintf(reason, sizeof reason, "%s", changelog_error(w->log));
	if (broken) {
		log_warn(err == ERR_UNKNOWN_OUTCOME ? "connection lost during commit" : "connection lost",
			 LOG_STR("reason", reason), LOG_U64("changes", count));
		disconnect(w);
		w->losses++;
	} else {
		changelog_rollback(w->log);
	}
	if (err == ERR_UNKNOWN_OUTCOME) /* they wait in w->doubt */
		return;
	/* Nothing was committed: they are tried again, or refused if nothing can be reached. */
	if ((broken && err != ERR_TOO_LARGE) || err == ERR_STOPPED ||
	    (err == ERR_DEADLOCK && ++w->deadlocks <= DEADLOCK_RETRIES)) {
		queue_return(w->queue, taken, count);
		return;
	}
	if (broken || count == 1 || err == ERR_UNAVAILABLE || err == ERR_DEADLOCK) {
		log_error("changes refused by the database", LOG_ERR(err), LOG_STR("reason", reason),
			  LOG_U64("changes", count));
		refuse_take(w, taken, count, err == ERR_DEADLOCK || err == ERR_CONFLICT ? ERR_UNAVAILABLE : err,
			    err == ERR_INTERNAL ? "the database refused the change; see the hub's log" : reason);
		w->deadlocks = 0;
		if (err == ERR_TOO_LARGE && !broken)
			disconnect(w); /* a new connection is given the limit as it is then */
		return;
	}
	/* One of them is to blame: the others must not suffer. */
	for (size_t i = 0; i < count; i++) {
		size_t one = 1;
		int alone = w->log ? run_transaction(w, &taken[i], &one) : ERR_STOPPED;
		if (!w->log)
			queue_return(w->queue, &taken[i], 1);
		else if (alone)
			handle_failure_take(w, &taken[i], 1, alone);
	}
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* False: it is away, or a connection that breaks again and again rests for a while. */
static bool is_connected(struct writer *w)
{
	const struct timespec rest = {.tv_nsec = RECONNECT_MS * 1000000L};
	struct pending *none[TRANSACTION_MAX];
	struct why why = {0};

	if (w->log)
		return true;
	if (w->losses > 1)
		nanosleep(&rest, NULL);
	if (connect_database(w, &why)) {
		disconnect(w);
		set_down(w, why.text);
		queue_take(w->queue, RECONNECT_MS, none); /* closed: only waits, or is stopped */
		return false;
	}
	set_up(w);
	return true;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct pending *taken[TRANSACTION_MAX];

	while (!queue_is_drained(w->queue)) {
		if (!is_connected(w))
			continue;
		size_t count = queue_take(w->queue, w->settings.poll_ms, taken);
		int err = count ? run_transaction(w, taken, &count) : follow(w);
		if (!err) {
			w->deadlocks = w->losses = 0;
			if (!count)
				set_up(w);
		} else if (count) {
			handle_failure_take(w, taken, count, err);
		} else {
			log_warn("poll failed", LOG_STR("reason", changelog_error(w->log)));
			disconnect(w);
		}
	}
	queue_close(w->queue, "the hub is shutting down");
	refuse_take(w, w->doubt.taken, w->doubt.count, ERR_UNKNOWN_OUTCOME,
		    "the hub is shutting down during an interrupted commit: read before you try again");
	disconnect(w);
	return NULL;
}

int writer_start(struct store *store, struct queue *queue, const struct writer_settings *settings,
		 struct writer **ret_writer)
{
	struct writer *w = calloc(1, sizeof *w);

	if (!w)
		return ERR_NOMEM;
	w->store = store;
	w->queue = queue;
	w->settings = *settings;
	if (pthread_create(&w->thread, NULL, writer_main, w)) {
		free(w);
		return ERR_SYSTEM;
	}
	*ret_writer = w;
	return ERR_OK;
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	queue_stop(w->queue);
	pthread_join(w->thread, NULL);
	free(w);
}
