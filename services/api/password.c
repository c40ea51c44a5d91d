#include "password.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>
#include <utlist.h>

/* OWASP's second choice for Argon2id: 19 MiB, 2 passes, 1 lane. */
#define OPSLIMIT 2
#define MEMLIMIT (19u << 20)
#define QUEUE_MAX 32        /* waiting verifications; each costs tens of milliseconds */
#define VERIFIER_NICENESS 5 /* other requests first */

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

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int user_name_check(const char *name, size_t len, struct why *ret_why)
{
	if (len < 1 || len > USER_NAME_MAX)
		return why_set(ret_why, ERR_INVALID, "name", "a user name has 1 to %d characters, this one has %zu",
			       USER_NAME_MAX, len);
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(name[i]) && (i == 0 || !name[i] || !strchr("._@-", name[i])))
			return why_set(ret_why, ERR_INVALID, "name",
				       "a user name has letters, digits, '.', '_', '@' and '-' and begins with a "
				       "letter or digit; character %zu is something else",
				       i + 1);
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

struct job { /* lives on the stack of the thread that waits for it */
	struct job *prev, *next;
	const char *hash, *password;
	size_t len;
	char *ret_hash;        /* not NULL: make a hash instead of verifying one */
	struct rehash *rehash; /* not NULL: nobody waits, and the job is a part of it */
	int err;
	bool ok, done;
};

struct rehash {
	struct job job;
	struct user user;
	password_rehashed_fn fn;
	void *arg;
	char password[PASSWORD_LEN_MAX + 1], hash[PASSWORD_HASH_MAX];
};

struct password_verifier {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t work, finished;
	struct job *jobs;
	size_t waiting;
	uint64_t verified;
	bool stopping;
	char decoy[PASSWORD_HASH_MAX]; /* verified in place of an unknown user's hash */
};

static void run_job(const struct password_verifier *v, struct job *job)
{
	const char *hash = job->hash ? job->hash : v->decoy;

	if (job->ret_hash)
		job->err = password_hash(job->password, job->len, job->ret_hash);
	else
		job->ok = crypto_pwhash_str_verify(hash, job->password, job->len) == 0 && job->hash;
}

static void rehash_free(struct rehash *rehash)
{
	sodium_memzero(rehash, sizeof *rehash);
	free(rehash);
}

static void *verifier_main(void *arg)
{
	struct password_verifier *v = arg;

	setpriority(PRIO_PROCESS, (id_t)gettid(), VERIFIER_NICENESS);
	pthread_mutex_lock(&v->lock);
	for (;;) {
		while (!v->jobs && !v->stopping)
			pthread_cond_wait(&v->work, &v->lock);
		if (!v->jobs)
			break;
		struct job *job = v->jobs;
		DL_DELETE(v->jobs, job);
		pthread_mutex_unlock(&v->lock);
		run_job(v, job);
		bool verified = !job->ret_hash;
		if (job->rehash) {
			if (!job->err)
				job->rehash->fn(job->rehash->arg, &job->rehash->user, job->rehash->hash);
			rehash_free(job->rehash);
			job = NULL;
		}
		pthread_mutex_lock(&v->lock);
		if (job)
			job->done = true;
		v->waiting--;
		v->verified += verified;
		pthread_cond_broadcast(&v->finished);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

int password_verifier_start(struct password_verifier **ret_verifier)
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
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->work, NULL);
	pthread_cond_init(&v->finished, NULL);
	if (pthread_create(&v->thread, NULL, verifier_main, v)) {
		pthread_cond_destroy(&v->finished);
		pthread_cond_destroy(&v->work);
		pthread_mutex_destroy(&v->lock);
		free(v);
		return ERR_SYSTEM;
	}
	*ret_verifier = v;
	return ERR_OK;
}

void password_verifier_stop(struct password_verifier *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->stopping = true;
	pthread_cond_signal(&v->work);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	pthread_cond_destroy(&v->finished);
	pthread_cond_destroy(&v->work);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

size_t password_waiting(struct password_verifier *v)
{
	pthread_mutex_lock(&v->lock);
	size_t waiting = v->waiting;
	pthread_mutex_unlock(&v->lock);
	return waiting;
}

uint64_t password_verified(struct password_verifier *v)
{
	pthread_mutex_lock(&v->lock);
	uint64_t verified = v->verified;
	pthread_mutex_unlock(&v->lock);
	return verified;
}

bool password_is_stale(const char *hash)
{
	return crypto_pwhash_str_needs_rehash(hash, OPSLIMIT, MEMLIMIT) != 0;
}

void password_rehash_later(struct password_verifier *v, const struct user *user, const char *password, size_t len,
			   password_rehashed_fn fn, void *arg)
{
	struct rehash *rehash = len <= PASSWORD_LEN_MAX ? calloc(1, sizeof *rehash) : NULL;

	if (!rehash)
		return;
	rehash->user = *user;
	rehash->fn = fn;
	rehash->arg = arg;
	memcpy(rehash->password, password, len);
	rehash->job =
		(struct job){.password = rehash->password, .len = len, .ret_hash = rehash->hash, .rehash = rehash};
	pthread_mutex_lock(&v->lock);
	bool room = v->waiting < QUEUE_MAX / 2 && !v->stopping; /* log-ins first */
	if (room) {
		v->waiting++;
		DL_APPEND(v->jobs, &rehash->job);
		pthread_cond_signal(&v->work);
	}
	pthread_mutex_unlock(&v->lock);
	if (!room)
		rehash_free(rehash);
}

/* Blocks until the thread has done it. */
static int do_job(struct password_verifier *v, struct job *job)
{
	pthread_mutex_lock(&v->lock);
	if (v->waiting >= QUEUE_MAX || v->stopping) {
		pthread_mutex_unlock(&v->lock);
		return ERR_BUSY;
	}
	v->waiting++;
	DL_APPEND(v->jobs, job);
	pthread_cond_signal(&v->work);
	while (!job->done)
		pthread_cond_wait(&v->finished, &v->lock);
	pthread_mutex_unlock(&v->lock);
	return job->err;
}

int password_verify(struct password_verifier *v, const char *hash, const char *password, size_t len, bool *ret_ok)
{
	struct job job = {.hash = hash, .password = password, .len = len};
	int err = do_job(v, &job);

	if (!err)
		*ret_ok = job.ok;
	return err;
}

int password_hash_in_turn(struct password_verifier *v, const char *password, size_t len,
			  char ret_hash[static PASSWORD_HASH_MAX])
{
	struct job job = {.password = password, .len = len, .ret_hash = ret_hash};

	return do_job(v, &job);
}
