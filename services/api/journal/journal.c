#include "api/journal/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/auth/password.h"
#include "api/db/migrate.h"
#include "api/journal/decide.h"
#include "api/journal/log_read.h"
#include "api/journal/queue.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define RECONNECT_MS 250    /* between two attempts to reach a lost database */
#define DEADLOCK_RETRIES 20 /* of one batch; Galera's certification conflicts count too */
#define DOWN_LOG_EVERY_MS 10000
#define FRESH_MS 1000 /* memory counts as what the database is for so long after the poll that should have come */

struct journal {
	struct store *store;
	struct journal_settings settings;
	pthread_t thread;
	struct queue queue; /* has its own lock */
	atomic_uint_fast64_t reloads;

	struct changelog *log; /* the thread's alone, as all below; NULL while the database is away */
	bool migrated, warned_durability;
	int64_t down_logged;
	unsigned deadlocks; /* in a row */
	struct {            /* a commit whose outcome is not known yet; its items wait for it */
		uint64_t batch_id, first_revision;
		struct item *items[BATCH_MAX];
		size_t count;
	} doubt;
};

int journal_begin(struct journal *j, struct change *change, const struct waiter *waiter, struct item **ret_item,
		  struct why *ret_why)
{
	return queue_submit(&j->queue, change, waiter, ret_item, ret_why);
}

int journal_collect_take(struct journal *j, struct item *item, struct outcome *ret_outcome)
{
	return queue_collect(&j->queue, item, ret_outcome);
}

void journal_abandon(struct journal *j, struct item *item)
{
	queue_abandon(&j->queue, item);
}

int journal_submit(struct journal *j, struct change *change, struct outcome *ret_outcome)
{
	struct item *item;

	memset(ret_outcome, 0, sizeof *ret_outcome);
	int err = queue_submit(&j->queue, change, NULL, &item, &ret_outcome->why);
	return err == ERR_PENDING ? queue_collect(&j->queue, item, ret_outcome) : err;
}

void journal_drain(struct journal *j)
{
	queue_drain(&j->queue);
}

int journal_post(struct journal *j, struct change *change)
{
	return queue_post(&j->queue, change);
}

void journal_status(struct journal *j, struct journal_status *ret_status)
{
	struct queue *queue = &j->queue;

	pthread_mutex_lock(&queue->lock);
	bool stalled = queue_is_stalled(queue);
	*ret_status = (struct journal_status){.database_up = queue->open && !stalled,
					      .batches = queue->batches,
					      .changes = queue->changes,
					      .waiting = queue->count,
					      .reloads = atomic_load(&j->reloads)};
	memcpy(ret_status->batch_sizes, queue->batch_sizes, sizeof queue->batch_sizes);
	if (!queue->open)
		ret_status->down_ms = clock_mono_ms() - queue->closed_since;
	snprintf(ret_status->reason, sizeof ret_status->reason, "%s",
		 queue->open && stalled ? "it does not answer" : queue->reason);
	pthread_mutex_unlock(&queue->lock);
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static void release_batch(struct batch **batch)
{
	if (*batch)
		batch_release(*batch);
	free(*batch);
}

/* Brings memory to what the database has, whatever that takes. Not while the revision row is locked. */
static int follow(struct journal *j)
{
	bool continues;
	int err = changelog_follow(j->log, j->store, &continues);

	if (!err && !continues) {
		err = changelog_reload(j->log, j->store);
		atomic_fetch_add(&j->reloads, !err);
	}
	if (!err)
		store_confirm(j->store, j->settings.poll_ms + FRESH_MS);
	return err;
}

/* Memory is what was committed, or it is read from there: never something in between. */
static void apply(struct journal *j, struct batch *batch)
{
	if (batch_apply(batch) == ERR_OK)
		return;
	log_error("out of memory while applying a commit: reading it again", LOG_U64("revision", batch->revision));
	follow(j);
}

/* With the revision row locked, memory becomes what the database is. ERR_STOPPED: it had to be loaded anew, for which
 * the lock was let go. */
static int lock(struct journal *j)
{
	bool continues = true;
	int err = changelog_lock(j->log);

	if (!err)
		err = changelog_follow(j->log, j->store, &continues);
	if (!err && continues)
		store_confirm(j->store, j->settings.poll_ms + FRESH_MS);
	if (err || continues)
		return err;
	changelog_rollback(j->log);
	err = follow(j);
	return err ? err : ERR_STOPPED;
}

/*
 * One transaction for `items`. ERR_OK: all are answered (each may have been refused). ERR_UNKNOWN_OUTCOME: they wait in
 * j->doubt. Any other error: nothing was changed, nobody answered, and the items are the caller's still.
 */
static int run_batch(struct journal *j, struct item *items[], size_t count)
{
	_cleanup_(release_batch) struct batch *batch = calloc(1, sizeof *batch);
	int err = batch ? lock(j) : ERR_NOMEM;

	if (err)
		return err;
	batch_init(batch, j->store);
	for (size_t i = 0; i < count; i++) {
		document_unref(items[i]->outcome.body); /* of an earlier attempt */
		items[i]->err = batch_decide(batch, &items[i]->order, &items[i]->outcome);
	}
	if (!batch->count) { /* nothing to write: what was decided is what the database says already */
		changelog_rollback(j->log);
		queue_finish(&j->queue, items, count, false);
		return ERR_OK;
	}
	uint64_t first = batch->entries[0].revision;
	err = changelog_write(j->log, batch);
	if (err)
		return err;
	if (!queue_enter_commit(&j->queue, items, count))
		return ERR_STOPPED;
	err = changelog_commit(j->log);
	if (err == ERR_UNKNOWN_OUTCOME) {
		j->doubt.batch_id = batch->id;
		j->doubt.first_revision = first;
		memcpy(j->doubt.items, items, count * sizeof items[0]);
		j->doubt.count = count;
	}
	if (err)
		return err;
	apply(j, batch);
	queue_finish(&j->queue, items, count, true);
	return ERR_OK;
}

/* With a connection again: did the batch in doubt land? If it did, its changes come by the log like anybody else's; if
 * not, it is run anew. */
static int settle_doubt(struct journal *j)
{
	bool landed = false;
	int err;

	if (!j->doubt.count)
		return ERR_OK;
	err = changelog_landed(j->log, j->doubt.batch_id, j->doubt.first_revision, &landed);
	if (err)
		return err;
	log_warn("the outcome of an interrupted commit is known", LOG_BOOL("landed", landed),
		 LOG_U64("changes", j->doubt.count), LOG_U64("revision", j->doubt.first_revision));
	if (landed) {
		/* Decided outcomes stand: an item that was refused then is refused, the others have happened. */
		err = follow(j);
		if (err)
			return err;
		queue_finish(&j->queue, j->doubt.items, j->doubt.count, true);
	} else {
		queue_return(&j->queue, j->doubt.items, j->doubt.count);
	}
	j->doubt.count = 0;
	return ERR_OK;
}

/* --- the journal's side: the connection --------------------------------------------------------------------------- */

static void set_up(struct journal *j)
{
	int64_t away_ms = queue_open(&j->queue);

	if (away_ms >= 0)
		log_info("database up", LOG_U64("revision", store_revision(j->store)), LOG_I64("away_ms", away_ms));
	j->down_logged = 0;
}

/* From now on submitters are told at once. A commit in doubt keeps waiting. */
static void set_down(struct journal *j, const char *reason)
{
	queue_close(&j->queue, reason);
	if (!j->down_logged || clock_mono_ms() - j->down_logged >= DOWN_LOG_EVERY_MS) {
		log_warn("database away", LOG_STR("reason", reason));
		j->down_logged = clock_mono_ms();
	}
}

static void disconnect(struct journal *j)
{
	changelog_close(j->log);
	j->log = NULL;
}

/* Runs one change of the hub's own, outside of the queue. */
static int run_own_change(struct journal *j, struct change *change, struct why *ret_why)
{
	struct item *item = queue_own_item(change);

	if (!item)
		return ERR_NOMEM;
	int err = run_batch(j, &item, 1);
	if (!err) {
		err = item->err;
		*ret_why = item->outcome.why;
	}
	j->doubt.count = 0; /* it is decided anew after reconnecting */
	queue_drop_own_item(&j->queue, item);
	return err;
}

/* A hub without any admin gets the one from the settings. */
static int ensure_admin(struct journal *j, struct why *ret_why)
{
	static const struct principal nobody = {.role = ROLE_ADMIN};
	_cleanup_free_ struct user *users = NULL;
	char hash[PASSWORD_HASH_MAX];
	size_t count;
	int err = store_users(j->store, &users, &count);

	if (err || !j->settings.admin_user || !j->settings.admin_password)
		return err;
	for (size_t i = 0; i < count; i++)
		if (users[i].role == ROLE_ADMIN)
			return ERR_OK;
	err = password_hash(j->settings.admin_password, strlen(j->settings.admin_password), hash);
	if (err)
		return err;
	struct change change = {.kind = CHANGE_USER_PUT,
				.subject = j->settings.admin_user,
				.actor = &nobody,
				.precondition = {.kind = PRECONDITION_NONE_MATCH, .any = true},
				.password_hash = hash,
				.set_role = true,
				.role = ROLE_ADMIN};
	err = run_own_change(j, &change, ret_why);
	if (err == ERR_PRECONDITION) /* another hub, starting at the same moment, was faster */
		return ERR_OK;
	if (!err)
		log_info("first admin made", LOG_STR("user", j->settings.admin_user));
	return err;
}

static int connect_database(struct journal *j, struct why *ret_why)
{
	bool durable;
	int err = ERR_OK;

	if (j->settings.migrate && !j->migrated) {
		err = migrate_run(&j->settings.db, NULL, ret_why);
		if (err)
			return err;
		j->migrated = true;
	}
	err = changelog_open(&j->settings.db, &j->log, &durable, ret_why);
	if (err)
		return err;
	if (!durable && !j->warned_durability) {
		log_error(
			"the database does not sync every commit to disk: acknowledged changes can be lost in a crash",
			LOG_STR("set", "innodb_flush_log_at_trx_commit=1"));
		j->warned_durability = true;
	}
	err = settle_doubt(j);
	if (!err)
		err = follow(j);
	if (!err)
		err = ensure_admin(j, ret_why);
	if (err && !ret_why->text[0])
		why_set(ret_why, err, "", "%s", changelog_error(j->log)[0] ? changelog_error(j->log) : err_name(err));
	return err;
}

/* What run_batch() could not do: try again, split, or refuse. */
static void handle_failure(struct journal *j, struct item *items[], size_t count, int err)
{
	if (err == ERR_UNKNOWN_OUTCOME) { /* the items wait in j->doubt */
		log_warn("connection lost during commit", LOG_STR("reason", changelog_error(j->log)),
			 LOG_U64("changes", count));
		disconnect(j);
		return;
	}
	char reason[256];
	snprintf(reason, sizeof reason, "%s", changelog_error(j->log));
	if (changelog_is_broken(j->log)) {
		log_warn("connection lost", LOG_STR("reason", reason), LOG_U64("changes", count));
		disconnect(j);
		queue_return(
			&j->queue, items,
			count); /* nothing was committed: they are tried again, or refused if nothing can be reached */
		return;
	}
	changelog_rollback(j->log);
	if (err == ERR_STOPPED || (err == ERR_DEADLOCK && ++j->deadlocks <= DEADLOCK_RETRIES)) {
		queue_return(&j->queue, items, count);
		return;
	}
	if (count == 1 || err == ERR_UNAVAILABLE || err == ERR_DEADLOCK) {
		log_error("changes refused by the database", LOG_ERR(err), LOG_STR("reason", reason),
			  LOG_U64("changes", count));
		queue_refuse(&j->queue, items, count, err == ERR_DEADLOCK ? ERR_UNAVAILABLE : err,
			     err == ERR_INTERNAL ? "the database refused the change; see the hub's log" : reason);
		return;
	}
	/* One of them is to blame: the others must not suffer. */
	for (size_t i = 0; i < count; i++) {
		int alone = j->log ? run_batch(j, &items[i], 1) : ERR_STOPPED;
		if (!j->log)
			queue_return(&j->queue, &items[i], 1);
		else if (alone)
			handle_failure(j, &items[i], 1, alone);
	}
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void *journal_main(void *arg)
{
	struct journal *j = arg;
	struct item *items[BATCH_MAX];
	struct why why;

	while (!queue_is_drained(&j->queue)) {
		if (!j->log) {
			memset(&why, 0, sizeof why);
			if (connect_database(j, &why)) {
				disconnect(j);
				set_down(j, why.text);
				queue_take(&j->queue, RECONNECT_MS, items); /* closed: only waits, or is stopped */
				continue;
			}
			set_up(j);
		}
		size_t count = queue_take(&j->queue, j->settings.poll_ms, items);
		int err = count ? run_batch(j, items, count) : follow(j);
		if (!err) {
			j->deadlocks = 0;
			if (!count)
				set_up(j);
		} else if (count) {
			handle_failure(j, items, count, err);
		} else {
			log_warn("poll failed", LOG_STR("reason", changelog_error(j->log)));
			disconnect(j);
		}
	}
	queue_close(&j->queue, "the hub is shutting down");
	queue_refuse(&j->queue, j->doubt.items, j->doubt.count, ERR_UNKNOWN_OUTCOME,
		     "the hub is shutting down during an interrupted commit: read before you try again");
	disconnect(j);
	return NULL;
}

int journal_start(struct store *store, const struct journal_settings *settings, struct journal **ret_journal)
{
	struct journal *j = calloc(1, sizeof *j);

	if (!j)
		return ERR_NOMEM;
	j->store = store;
	j->settings = *settings;
	if (queue_init(&j->queue)) {
		free(j);
		return ERR_SYSTEM;
	}
	if (pthread_create(&j->thread, NULL, journal_main, j)) {
		queue_release(&j->queue);
		free(j);
		return ERR_SYSTEM;
	}
	*ret_journal = j;
	return ERR_OK;
}

void journal_stop(struct journal *j)
{
	if (!j)
		return;
	queue_stop(&j->queue);
	pthread_join(j->thread, NULL);
	queue_release(&j->queue);
	free(j);
}
