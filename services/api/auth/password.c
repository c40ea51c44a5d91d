#include "api/auth/password.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>
#include <utlist.h>

#include "api/model/token.h"
#include "common/base/clock.h"

/* OWASP's second choice for Argon2id: 19 MiB, 2 passes, 1 lane. */
#define OPSLIMIT 2
#define MEMLIMIT (19u << 20)
#define QUEUE_MAX 64 /* waiting verifications; each costs tens of milliseconds */
#define TURN_MS 5
#define VERIFIER_NICENESS 10 /* other requests first */

_Static_assert(PASSWORD_HASH_MAX == crypto_pwhash_STRBYTES, "the store must have room for a hash");

int password_check(const char *password, size_t len, struct why *ret_why)
{
	if (len < PASSWORD_LEN_MIN || len > PASSWORD_LEN_MAX)
		return why_set(ret_why, ERR_INVALID, "password", "a password has %d to %d bytes, this one has %zu",
			       PASSWORD_LEN_MIN, PASSWORD_LEN_MAX, len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)password[i] < 0x20 || password[i] == 0x7f)
			return why_set(ret_why, ERR_INVALID, "password",
				       "a password must not hold control characters (byte %zu does)", i + 1);
	unsigned char hash[TOKEN_HASH_BYTES];
	if (token_hash_secret(password, len, hash))
		return why_set(ret_why, ERR_INVALID, "password", "is a token, which no password may look like");
	return ERR_OK;
}

int password_hash(const char *password, size_t len, char ret_hash[static PASSWORD_HASH_MAX])
{
	char hash[PASSWORD_HASH_MAX] = {0};

	if (crypto_pwhash_str_alg(hash, password, len, OPSLIMIT, MEMLIMIT, crypto_pwhash_ALG_ARGON2ID13))
		return ERR_NOMEM;
	memcpy(ret_hash, hash, sizeof hash);
	return ERR_OK;
}

void password_random(size_t len, char *ret_text)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* no l, o, 0, 1 */

	for (size_t i = 0; i < len; i++)
		ret_text[i] = letters[randombytes_uniform(sizeof letters - 1)];
	ret_text[len] = '\0';
}

/* --- the verifying thread ----------------------------------------------------------------------------------------- */

struct job {
	struct job *prev, *next;
	password_verified_fn done;
	void *arg;
	char *ret_hash; /* not NULL: make a hash instead of verifying one */
	bool has_hash;  /* false: of nobody */
	char hash[PASSWORD_HASH_MAX];
	size_t len;
	char password[]; /* wiped */
};

struct password_verifier {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below; not held while a job is done */
	pthread_cond_t work, idle;
	struct job *good, *others; /* those go first */
	atomic_uint_fast64_t verified;
	void (*rehashed)(void *arg, const char *old_hash, const char *new_hash); /* set once, as the next */
	void *rehashed_arg;
	bool (*turn)(void *arg); /* set once, as the next */
	void *turn_arg;
	size_t waiting;
	bool draining, stopping, turn_due;
	char decoy[PASSWORD_HASH_MAX]; /* verified in place of an unknown user's hash */
};

static struct job *take_job(struct password_verifier *v, bool *ret_good)
{
	struct job **queue = v->good ? &v->good : &v->others;
	struct job *job = *queue;

	*ret_good = v->good != NULL;
	if (job)
		DL_DELETE(*queue, job);
	return job;
}

/* With the lock held. As long as what was done, but for somebody good: strangers get half of the thread's time, so that
 * a flood of them costs half a processor at most. */
static void rest(struct password_verifier *v, int64_t ms)
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + ms);

	while (!v->stopping && !v->good && pthread_cond_timedwait(&v->work, &v->lock, &until) == 0)
		;
}

static void free_job(struct job *job)
{
	sodium_memzero(job->password, job->len);
	free(job);
}

static void run_job(struct password_verifier *v, struct job *job)
{
	const char *hash = job->has_hash ? job->hash : v->decoy;
	bool ok = false;
	int err = ERR_OK;

	if (job->ret_hash)
		err = password_hash(job->password, job->len, job->ret_hash);
	else
		ok = crypto_pwhash_str_verify(hash, job->password, job->len) == 0 && job->has_hash;
	if (!job->ret_hash)
		atomic_fetch_add_explicit(&v->verified, 1, memory_order_relaxed);
	job->done(job->arg, err, ok);
	if (ok && v->rehashed && crypto_pwhash_str_needs_rehash(job->hash, OPSLIMIT, MEMLIMIT)) {
		char anew[PASSWORD_HASH_MAX];
		if (!password_hash(job->password, job->len, anew))
			v->rehashed(v->rehashed_arg, job->hash, anew);
	}
}

/* With the lock held, which is given up for it; as the next. */
static void take_turn(struct password_verifier *v)
{
	if (!v->turn_due)
		return;
	v->turn_due = false;
	pthread_mutex_unlock(&v->lock);
	bool again = v->turn(v->turn_arg);
	pthread_mutex_lock(&v->lock);
	v->turn_due |= again;
}

static void wait_for_work(struct password_verifier *v)
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + TURN_MS);

	if (v->turn_due)
		pthread_cond_timedwait(&v->work, &v->lock, &until);
	else
		pthread_cond_wait(&v->work, &v->lock);
}

static void *verifier_main(void *arg)
{
	struct password_verifier *v = arg;
	struct job *job;
	bool good;

	setpriority(PRIO_PROCESS, (id_t)gettid(), VERIFIER_NICENESS);
	pthread_mutex_lock(&v->lock);
	while (!v->stopping) {
		take_turn(v);
		job = take_job(v, &good);
		if (!job) {
			wait_for_work(v);
			continue;
		}
		pthread_mutex_unlock(&v->lock);
		int64_t began_ms = clock_mono_ms();
		run_job(v, job);
		free_job(job);
		pthread_mutex_lock(&v->lock);
		if (!--v->waiting)
			pthread_cond_broadcast(&v->idle);
		if (!good)
			rest(v, clock_mono_ms() - began_ms);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

int password_verifier_start(bool (*turn)(void *arg), void *arg, struct password_verifier **ret_verifier)
{
	struct password_verifier *v = calloc(1, sizeof *v);
	char random[33];

	if (!v)
		return ERR_NOMEM;
	password_random(sizeof random - 1, random);
	if (password_hash(random, sizeof random - 1, v->decoy)) {
		free(v);
		return ERR_NOMEM;
	}
	v->turn = turn;
	v->turn_arg = arg;
	pthread_mutex_init(&v->lock, NULL);
	clock_cond_init(&v->work);
	pthread_cond_init(&v->idle, NULL);
	if (pthread_create(&v->thread, NULL, verifier_main, v)) {
		pthread_cond_destroy(&v->work);
		pthread_cond_destroy(&v->idle);
		pthread_mutex_destroy(&v->lock);
		free(v);
		return ERR_SYSTEM;
	}
	*ret_verifier = v;
	return ERR_OK;
}

void password_verifier_wake(struct password_verifier *v)
{
	pthread_mutex_lock(&v->lock);
	if (!v->turn_due) /* else it comes within TURN_MS: a flood does not make it come more often */
		pthread_cond_signal(&v->work);
	v->turn_due = true;
	pthread_mutex_unlock(&v->lock);
}

void password_verifier_drain(struct password_verifier *v)
{
	struct job *job;
	bool good;

	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->draining = true;
	while ((job = take_job(v, &good))) {
		v->waiting--;
		pthread_mutex_unlock(&v->lock);
		job->done(job->arg, ERR_BUSY, false);
		free_job(job);
		pthread_mutex_lock(&v->lock);
	}
	while (v->waiting) /* the one that is being done */
		pthread_cond_wait(&v->idle, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

void password_verifier_stop(struct password_verifier *v)
{
	if (!v)
		return;
	password_verifier_drain(v);
	pthread_mutex_lock(&v->lock);
	v->stopping = true;
	pthread_cond_signal(&v->work);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	pthread_cond_destroy(&v->work);
	pthread_cond_destroy(&v->idle);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void password_on_rehash(struct password_verifier *v, void (*fn)(void *arg, const char *old_hash, const char *new_hash),
			void *arg)
{
	v->rehashed = fn;
	v->rehashed_arg = arg;
}

uint64_t password_verified(struct password_verifier *v)
{
	return atomic_load_explicit(&v->verified, memory_order_relaxed);
}

size_t password_waiting(struct password_verifier *v)
{
	pthread_mutex_lock(&v->lock);
	size_t waiting = v->waiting;
	pthread_mutex_unlock(&v->lock);
	return waiting;
}

static struct job *make_job(const char *password, size_t len, password_verified_fn done, void *arg)
{
	struct job *job = calloc(1, sizeof *job + len);

	if (!job)
		return NULL;
	memcpy(job->password, password, len);
	job->len = len;
	job->done = done;
	job->arg = arg;
	return job;
}

/* A line is suspended before its job can be done. */
static int add_job_take(struct password_verifier *v, struct job *job, bool good, const struct waiter *waiter)
{
	struct job **queue = good ? &v->good : &v->others;

	if (!job)
		return ERR_NOMEM;
	pthread_mutex_lock(&v->lock);
	bool room = !v->draining && v->waiting < (good ? 2 * QUEUE_MAX : QUEUE_MAX);
	if (room) {
		v->waiting++;
		DL_APPEND(*queue, job);
		if (waiter)
			waiter->suspend(waiter->handle);
		pthread_cond_signal(&v->work);
	}
	pthread_mutex_unlock(&v->lock);
	if (!room)
		free_job(job);
	return room ? ERR_OK : ERR_BUSY;
}

int password_verify(struct password_verifier *v, const char *hash, const char *password, size_t len, bool good,
		    password_verified_fn done, void *arg)
{
	struct job *job = make_job(password, len, done, arg);

	if (job && hash) {
		job->has_hash = true;
		memcpy(job->hash, hash, sizeof job->hash);
	}
	return add_job_take(v, job, good, NULL);
}

/* --- new passwords ------------------------------------------------------------------------------------------------ */

struct password_hashing {
	struct password_verifier *verifier; /* whose lock guards the rest until the waiter is resumed */
	struct waiter waiter;
	int err;
	char hash[PASSWORD_HASH_MAX];
};

static void on_hashed(void *arg, int err, bool ok)
{
	struct password_hashing *hashing = arg;
	struct password_verifier *v = hashing->verifier;

	(void)ok;
	pthread_mutex_lock(&v->lock);
	hashing->err = err;
	hashing->waiter.resume(hashing->waiter.handle); /* from here on it may be gone */
	pthread_mutex_unlock(&v->lock);
}

int password_hash_begin(struct password_verifier *v, const char *password, size_t len, const struct waiter *waiter,
			struct password_hashing **ret_hashing)
{
	struct password_hashing *hashing = calloc(1, sizeof *hashing);
	struct job *job = hashing ? make_job(password, len, on_hashed, hashing) : NULL;

	if (job) {
		hashing->verifier = v;
		hashing->waiter = *waiter;
		job->ret_hash = hashing->hash;
	}
	int err = add_job_take(v, job, true, waiter);
	if (err) {
		free(hashing);
		return err;
	}
	*ret_hashing = hashing;
	return ERR_PENDING;
}

int password_hash_result(const struct password_hashing *hashing, const char **ret_hash)
{
	if (!hashing->err)
		*ret_hash = hashing->hash;
	return hashing->err;
}

void password_hashing_free(void *hashing)
{
	free(hashing);
}
