#include "api/auth/verifier.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>
#include <utlist.h>

#include "api/auth/password.h"
#include "common/base/clock.h"

#define QUEUE_MAX 64             /* waiting passwords; each costs tens of milliseconds */
#define TURN_MS 5                /* between two looks at whether the memory is confirmed */
#define NICENESS 10              /* other requests first */
#define CONFIRMED_MAX_US 1000000 /* a database that is about to count as away is waited for no longer */

/* A password that is verified, or hashed. After a start of the hub, all clients of a user come at once: they wait for
 * one job. */
struct job {
	struct job *prev, *next;
	struct login_waiter *waiters;
	bool good;
	char *ret_hash;               /* not NULL: a hash is made; the next two are not used */
	struct login_key key;         /* for what it is verified */
	char hash[PASSWORD_HASH_MAX]; /* the user's, or the decoy */
	size_t len;
	char password[]; /* wiped */
};

struct verifier {
	struct store *store;
	struct login_cache *cache;
	void (*rehashed)(void *arg, const char *old_hash, const char *new_hash);
	void *rehashed_arg;
	char decoy[PASSWORD_HASH_MAX]; /* verified in place of an unknown user's hash */
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below, and the waiters; not held while a job is done */
	pthread_cond_t work;
	struct job *jobs; /* as they came; the one that is being done, too */
	struct login_waiter *unconfirmed;
	int64_t rests_until_ms;
	uint64_t verified;
	bool draining;
};

/* --- who waits: with the lock held -------------------------------------------------------------------------------- */

static int wait_in(struct login_waiter **list, struct login_waiter *waiter)
{
	DL_APPEND(*list, waiter);
	waiter->waiter.suspend(waiter->waiter.handle);
	return ERR_PENDING;
}

static void resume(struct login_waiter **list, struct login_waiter *waiter)
{
	DL_DELETE(*list, waiter);
	waiter->waiter.resume(waiter->waiter.handle); /* from here on it may be gone */
}

static void resume_confirmed(struct verifier *v)
{
	struct login_waiter *waiter, *next;

	DL_FOREACH_SAFE (v->unconfirmed, waiter, next)
		if (v->draining || verifier_is_confirmed(v, waiter->asked_us))
			resume(&v->unconfirmed, waiter);
}

static void settle(struct verifier *v, struct job *job, int err, bool right)
{
	struct login_waiter *waiter;

	if (!err && !job->ret_hash)
		login_cache_put(v->cache, &job->key, right);
	DL_DELETE(v->jobs, job);
	while ((waiter = job->waiters)) {
		waiter->key = job->key;
		waiter->err = err;
		waiter->right = right;
		waiter->settled = true;
		resume(&job->waiters, waiter);
	}
}

/* --- the thread: with the lock held, but where it is said --------------------------------------------------------- */

/* Strangers get half of the thread's time, so that a flood of them costs half a processor at most. */
static struct job *next_job(struct verifier *v)
{
	struct job *job;

	DL_FOREACH (v->jobs, job)
		if (job->good)
			return job;
	return clock_mono_ms() < v->rests_until_ms ? NULL : v->jobs;
}

static void free_job(struct job *job)
{
	sodium_memzero(job->password, job->len);
	free(job);
}

/* Gives up the lock meanwhile. */
static void run_job(struct verifier *v, struct job *job)
{
	int64_t began_ms = clock_mono_ms();
	char anew[PASSWORD_HASH_MAX];
	bool good = job->good, right = false;
	int err = ERR_OK;

	pthread_mutex_unlock(&v->lock);
	if (job->ret_hash)
		err = password_hash(job->password, job->len, job->ret_hash);
	else
		err = password_verify(job->hash, job->password, job->len, &right);
	right &= job->key.user_id != 0;
	pthread_mutex_lock(&v->lock);
	v->verified += !job->ret_hash;
	settle(v, job, err, right);
	pthread_mutex_unlock(&v->lock);
	if (right && v->rehashed && crypto_pwhash_str_needs_rehash(job->hash, PASSWORD_OPSLIMIT, PASSWORD_MEMLIMIT) &&
	    !password_hash(job->password, job->len, anew))
		v->rehashed(v->rehashed_arg, job->hash, anew);
	free_job(job);
	pthread_mutex_lock(&v->lock);
	int64_t ended_ms = clock_mono_ms();
	if (!good)
		v->rests_until_ms = ended_ms + (ended_ms - began_ms);
}

static void wait_for_work(struct verifier *v)
{
	const struct timespec until = clock_mono_at(v->unconfirmed ? clock_mono_ms() + TURN_MS : v->rests_until_ms);

	if (v->unconfirmed || v->jobs)
		pthread_cond_timedwait(&v->work, &v->lock, &until);
	else
		pthread_cond_wait(&v->work, &v->lock);
}

static void *verifier_main(void *arg)
{
	struct verifier *v = arg;
	struct job *job;

	setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	pthread_mutex_lock(&v->lock);
	while (!v->draining) {
		resume_confirmed(v);
		job = next_job(v);
		if (job)
			run_job(v, job);
		else
			wait_for_work(v);
	}
	resume_confirmed(v);
	while ((job = v->jobs)) {
		settle(v, job, ERR_BUSY, false);
		free_job(job);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

int verifier_start(struct store *store, struct login_cache *cache, struct verifier **ret_verifier)
{
	struct verifier *v = calloc(1, sizeof *v);
	char random[33];

	if (!v)
		return ERR_NOMEM;
	v->store = store;
	v->cache = cache;
	pthread_mutex_init(&v->lock, NULL);
	clock_cond_init(&v->work);
	password_random(sizeof random - 1, random);
	int err = password_hash(random, sizeof random - 1, v->decoy);
	if (!err && pthread_create(&v->thread, NULL, verifier_main, v))
		err = ERR_SYSTEM;
	if (err) {
		v->draining = true; /* as if it had: there is no thread */
		verifier_stop(v);
		return err;
	}
	*ret_verifier = v;
	return ERR_OK;
}

void verifier_drain(struct verifier *v)
{
	pthread_mutex_lock(&v->lock);
	bool runs = !v->draining;
	v->draining = true;
	pthread_cond_signal(&v->work);
	pthread_mutex_unlock(&v->lock);
	if (runs)
		pthread_join(v->thread, NULL);
}

void verifier_stop(struct verifier *v)
{
	if (!v)
		return;
	verifier_drain(v);
	pthread_cond_destroy(&v->work);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void verifier_on_rehash(struct verifier *v, void (*fn)(void *arg, const char *old_hash, const char *new_hash),
			void *arg)
{
	v->rehashed = fn;
	v->rehashed_arg = arg;
}

/* --- passwords ---------------------------------------------------------------------------------------------------- */

static size_t count_jobs(const struct verifier *v)
{
	const struct job *job;
	size_t count;

	DL_COUNT(v->jobs, job, count);
	return count;
}

void verifier_count(struct verifier *v, size_t *ret_waiting, uint64_t *ret_verified)
{
	pthread_mutex_lock(&v->lock);
	*ret_waiting = count_jobs(v);
	*ret_verified = v->verified;
	pthread_mutex_unlock(&v->lock);
}

/* With the lock held. A copy of `wanted`, with the password. */
static int add_job(struct verifier *v, const struct job *wanted, const char *password, size_t len,
		   struct login_waiter *waiter)
{
	if (v->draining || count_jobs(v) >= (wanted->good ? 2 * QUEUE_MAX : QUEUE_MAX))
		return ERR_BUSY;
	struct job *job = malloc(sizeof *job + len);
	if (!job)
		return ERR_NOMEM;
	*job = *wanted;
	job->len = len;
	memcpy(job->password, password, len);
	DL_APPEND(v->jobs, job);
	pthread_cond_signal(&v->work);
	return wait_in(&job->waiters, waiter);
}

int verifier_verify(struct verifier *v, const struct user *user, const struct credentials *credentials,
		    const struct login_key *key, bool good, struct login_waiter *waiter, bool *ret_right)
{
	struct job wanted = {.good = good, .key = *key}, *job;
	int err = ERR_OK;

	memcpy(wanted.hash, user->id ? user->password_hash : v->decoy, sizeof wanted.hash);
	pthread_mutex_lock(&v->lock);
	if (!login_cache_find(v->cache, key, ret_right)) {
		DL_FOREACH (v->jobs, job)
			if (login_key_equal(&job->key, key))
				break;
		if (job && good && !job->good) {
			job->good = true;
			pthread_cond_signal(&v->work); /* it may be resting */
		}
		err = job ? wait_in(&job->waiters, waiter)
			  : add_job(v, &wanted, credentials->password, credentials->password_len, waiter);
	}
	pthread_mutex_unlock(&v->lock);
	return err;
}

int verifier_hash(struct verifier *v, const char *password, size_t len, struct login_waiter *waiter,
		  char ret_hash[static PASSWORD_HASH_MAX])
{
	const struct job wanted = {.good = true, .ret_hash = ret_hash};

	pthread_mutex_lock(&v->lock);
	int err = add_job(v, &wanted, password, len, waiter);
	pthread_mutex_unlock(&v->lock);
	return err;
}

/* --- confirmation ------------------------------------------------------------------------------------------------- */

bool verifier_is_confirmed(const struct verifier *v, int64_t since_us)
{
	return store_is_confirmed(v->store, since_us) || store_age_ms(v->store) ||
	       clock_mono_us() - since_us > CONFIRMED_MAX_US;
}

int verifier_await_confirmation(struct verifier *v, struct login_waiter *waiter, struct why *ret_why)
{
	pthread_mutex_lock(&v->lock);
	bool first =
		!v->unconfirmed; /* else the thread looks within TURN_MS: a flood does not make it look more often */
	int err = v->draining ? why_set(ret_why, ERR_UNAVAILABLE, "", "the hub is stopping")
			      : wait_in(&v->unconfirmed, waiter);
	if (first)
		pthread_cond_signal(&v->work);
	pthread_mutex_unlock(&v->lock);
	return err;
}
