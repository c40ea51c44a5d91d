#include "api/auth/ratelimit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/model/user.h"
#include "common/base/cleanup.h"

#define WAYS 4
#define SETS (1u << 18)
#define LOCKS 1024
#define NS_PER_S 1000000000
#define LOCKOUTS_MAX 30 /* doublings */
#define WRONG_KEPT 3
#define GOOD_NS (INT64_C(86400) * NS_PER_S)

/*
 * GCRA (the generic cell rate algorithm): `due` is when the bucket will be full again. Each token moves it on by the
 * time that one takes to come; how far it may be ahead of now is the burst. 0: free.
 */
struct bucket {
	uint64_t key;
	int64_t due_ns;
};

struct strikes {
	struct bucket wrong;
	int64_t locked_until_ns;
	uint16_t lockouts;             /* so far */
	uint16_t attempts[WRONG_KEPT]; /* the last wrong passwords */
};

/* What is counted; its number is part of the keys. */
enum kind { OF_ADDRESS = 1, OF_USER, OF_LOGINS, OF_USERS_LOGINS, GOOD, KINDS };

struct rate {
	const char *policy;
	unsigned long quota, window_s;
	int64_t interval_ns; /* between two tokens; 0: no limit */
	int64_t ahead_ns;    /* how far `due` may be ahead: all tokens but one */
};

struct ratelimit {
	struct ratelimit_settings settings;
	struct rate rates[KINDS];
	unsigned char key[crypto_shorthash_KEYBYTES];
	_Atomic int64_t locked_until_ns; /* of all: before it, there is something to look at */
	pthread_mutex_t locks[LOCKS]; /* each guards the sets of both tables whose index is the lock's modulo LOCKS */
	struct bucket (*buckets)[WAYS];
	struct strikes (*strikes)[WAYS];
};

static struct rate rate_of(const char *policy, int64_t tokens, int64_t seconds, int64_t burst)
{
	int64_t interval = tokens > 0 ? seconds * NS_PER_S / tokens : 0;

	return (struct rate){.policy = policy,
			     .quota = (unsigned long)burst,
			     .window_s = tokens > 0 ? (unsigned long)((burst * seconds + tokens - 1) / tokens) : 0,
			     .interval_ns = interval,
			     .ahead_ns = interval * (burst - 1)};
}

int ratelimit_new(const struct ratelimit_settings *settings, struct ratelimit **ret_limits)
{
	const long logins = settings->logins, all_logins = logins * LIMITS_ADDRESS_LOGINS;
	struct ratelimit *limits = calloc(1, sizeof *limits);

	if (!limits)
		return ERR_NOMEM;
	limits->settings = *settings;
	limits->rates[OF_ADDRESS] = rate_of("address", settings->address_rate, 1, settings->address_burst);
	limits->rates[OF_USER] = rate_of("user", settings->user_rate, 1, settings->user_burst);
	limits->rates[OF_USERS_LOGINS] = rate_of("login", logins, LIMITS_LOGIN_WINDOW_S, logins);
	limits->rates[OF_LOGINS] = rate_of("login", all_logins, LIMITS_LOGIN_WINDOW_S, all_logins);
	randombytes_buf(limits->key, sizeof limits->key);
	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_init(&limits->locks[i], NULL);
	/* So large that the allocator takes fresh pages for them, which the kernel fills when they are first used. */
	limits->buckets = calloc(SETS, sizeof *limits->buckets);
	limits->strikes = calloc(SETS, sizeof *limits->strikes);
	if (!limits->buckets || !limits->strikes) {
		ratelimit_free(limits);
		return ERR_NOMEM;
	}
	*ret_limits = limits;
	return ERR_OK;
}

void ratelimit_free(struct ratelimit *limits)
{
	if (!limits)
		return;
	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&limits->locks[i]);
	free(limits->buckets);
	free(limits->strikes);
	free(limits);
}

bool ratelimit_is_exempt(const struct ratelimit *limits, const struct ipaddr *address)
{
	return cidr_any_contains(limits->settings.exempt, limits->settings.exempt_count, address);
}

/* --- finding a bucket --------------------------------------------------------------------------------------------- */

static uint64_t hash(const struct ratelimit *limits, const void *data, size_t len)
{
	unsigned char out[crypto_shorthash_BYTES];
	uint64_t key;

	crypto_shorthash(out, data, len, limits->key);
	memcpy(&key, out, sizeof key);
	return key;
}

/* One who has a /64 has all its addresses (RFC 4291, 2.5.4; RFC 6177). */
static uint64_t address_key(const struct ratelimit *limits, enum kind kind, const struct ipaddr *address,
			    const char *user)
{
	unsigned char text[2 + 8 + USER_NAME_MAX] = {(unsigned char)kind, address->family};
	size_t len = strnlen(user, USER_NAME_MAX);

	memcpy(text + 2, address->bytes, address->family == 4 ? 4 : 8);
	memcpy(text + 10, user, len);
	return hash(limits, text, 10 + len);
}

static uint64_t user_key(const struct ratelimit *limits, uint32_t user_id)
{
	const uint32_t text[] = {OF_USER, user_id};

	return hash(limits, text, sizeof text);
}

/* The key's sets, until the end of the block; Clang takes a lock that is only let go for unused. */
#define _locks_sets_ __attribute__((unused)) _cleanup_(unlock_sets)
static pthread_mutex_t *lock_sets(struct ratelimit *limits, uint64_t key)
{
	pthread_mutex_t *lock = &limits->locks[key % SETS % LOCKS];

	pthread_mutex_lock(lock);
	return lock;
}

static void unlock_sets(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

/* The bucket of the key, or the one that it may have: the one that will be full first. */
static struct bucket *find_bucket(struct ratelimit *limits, uint64_t key)
{
	struct bucket *set = limits->buckets[key % SETS], *found = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].key == key && set[i].due_ns)
			return &set[i];
		if (set[i].due_ns < found->due_ns)
			found = &set[i];
	}
	return found;
}

/* Nanoseconds until there is a token; 0: it was taken. */
static int64_t take(struct bucket *bucket, uint64_t key, const struct rate *rate, int64_t now_ns)
{
	int64_t due = bucket->key == key && bucket->due_ns > now_ns ? bucket->due_ns : now_ns;

	if (due - now_ns > rate->ahead_ns)
		return due - now_ns - rate->ahead_ns;
	bucket->key = key;
	bucket->due_ns = due + rate->interval_ns;
	return 0;
}

static void tell(const struct rate *rate, int64_t wait_ns, struct ratelimit_verdict *ret_verdict)
{
	*ret_verdict = (struct ratelimit_verdict){.policy = rate->policy,
						  .quota = rate->quota,
						  .window_s = rate->window_s,
						  .retry_s = (unsigned long)((wait_ns + NS_PER_S - 1) / NS_PER_S)};
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int take_request(struct ratelimit *limits, enum kind kind, uint64_t key, int64_t now_us,
			struct ratelimit_verdict *ret_verdict)
{
	const struct rate *rate = &limits->rates[kind];

	if (!rate->interval_ns)
		return ERR_OK;
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);
	int64_t wait_ns = take(find_bucket(limits, key), key, rate, now_us * 1000);
	if (!wait_ns)
		return ERR_OK;
	tell(rate, wait_ns, ret_verdict);
	return ERR_RATE;
}

static void give_back(struct ratelimit *limits, enum kind kind, uint64_t key)
{
	int64_t interval_ns = limits->rates[kind].interval_ns;
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);
	struct bucket *bucket = find_bucket(limits, key);

	if (bucket->key == key && bucket->due_ns > interval_ns)
		bucket->due_ns -= interval_ns;
}

int ratelimit_take_address(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us,
			   struct ratelimit_verdict *ret_verdict)
{
	return take_request(limits, OF_ADDRESS, address_key(limits, OF_ADDRESS, address, ""), now_us, ret_verdict);
}

int ratelimit_take_user(struct ratelimit *limits, uint32_t user_id, int64_t now_us,
			struct ratelimit_verdict *ret_verdict)
{
	return take_request(limits, OF_USER, user_key(limits, user_id), now_us, ret_verdict);
}

void ratelimit_give_back(struct ratelimit *limits, const struct ipaddr *address, uint32_t user_id)
{
	give_back(limits, OF_ADDRESS, address_key(limits, OF_ADDRESS, address, ""));
	if (user_id)
		give_back(limits, OF_USER, user_key(limits, user_id));
}

/* --- log-ins ------------------------------------------------------------------------------------------------------ */

/* The key's, or the one that it may have, which is zeroed then; NULL: all others are locked out. */
static struct strikes *find_strikes(struct ratelimit *limits, uint64_t key, bool make, int64_t now_ns)
{
	struct strikes *set = limits->strikes[key % SETS], *free_one = NULL;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].wrong.key == key && set[i].wrong.due_ns)
			return &set[i];
		if (set[i].locked_until_ns <= now_ns && (!free_one || set[i].wrong.due_ns < free_one->wrong.due_ns))
			free_one = &set[i];
	}
	if (!make || !free_one)
		return NULL;
	*free_one = (struct strikes){.wrong.key = key};
	return free_one;
}

static int64_t locked_until(struct ratelimit *limits, uint64_t key, int64_t now_ns)
{
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);
	const struct strikes *strikes = find_strikes(limits, key, false, now_ns);

	return strikes ? strikes->locked_until_ns : 0;
}

enum ratelimit_login ratelimit_login(struct ratelimit *limits, const struct ipaddr *address, const char *user,
				     int64_t now_us, struct ratelimit_verdict *ret_verdict)
{
	enum ratelimit_login answer = LIMITS_LOGIN_LOCKED;
	enum kind kind = OF_USERS_LOGINS;
	int64_t now_ns = now_us * 1000;

	if (atomic_load_explicit(&limits->locked_until_ns, memory_order_relaxed) <= now_ns)
		return LIMITS_LOGIN_OPEN;
	int64_t until = locked_until(limits, address_key(limits, kind, address, user), now_ns);
	if (until <= now_ns) {
		answer = LIMITS_LOGIN_KNOWN;
		kind = OF_LOGINS;
		until = locked_until(limits, address_key(limits, kind, address, ""), now_ns);
	}
	if (until <= now_ns)
		return LIMITS_LOGIN_OPEN;
	tell(&limits->rates[kind], until - now_ns, ret_verdict);
	return answer;
}

/* Doubles with each lock-out, until the address has been quiet for the longest of them. */
static void lock_out(struct ratelimit *limits, struct strikes *strikes, int64_t now_ns)
{
	const int64_t longest = limits->settings.lockout_max_ms * 1000000;
	int64_t length = limits->settings.lockout_ms * 1000000;

	if (strikes->lockouts && now_ns - strikes->locked_until_ns > longest)
		strikes->lockouts = 0;
	for (unsigned i = 0; i < strikes->lockouts && length < longest; i++)
		length *= 2;
	if (length > longest)
		length = longest;
	strikes->locked_until_ns = now_ns + length;
	if (strikes->lockouts < LOCKOUTS_MAX)
		strikes->lockouts++;
	/* Remembered until the doubling is forgotten. */
	if (strikes->wrong.due_ns < strikes->locked_until_ns)
		strikes->wrong.due_ns = strikes->locked_until_ns;
	int64_t last = atomic_load(&limits->locked_until_ns);
	while (last < strikes->locked_until_ns &&
	       !atomic_compare_exchange_weak(&limits->locked_until_ns, &last, strikes->locked_until_ns))
		;
}

static bool is_repeated(const struct strikes *strikes, uint16_t attempt)
{
	for (size_t i = 0; i < WRONG_KEPT; i++)
		if (strikes->attempts[i] == attempt)
			return true;
	return false;
}

enum outcome { REPEATED, COUNTED, LOCKED };

static enum outcome strike(struct ratelimit *limits, enum kind kind, const struct ipaddr *address, const char *user,
			   uint16_t attempt, int64_t now_ns)
{
	const struct rate *rate = &limits->rates[kind];
	uint64_t key = address_key(limits, kind, address, user);
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);
	struct strikes *strikes = find_strikes(limits, key, true, now_ns);

	if (!strikes || (attempt && is_repeated(strikes, attempt)))
		return REPEATED;
	memmove(strikes->attempts + 1, strikes->attempts, sizeof strikes->attempts - sizeof strikes->attempts[0]);
	strikes->attempts[0] = attempt;
	take(&strikes->wrong, key, rate, now_ns);
	if (strikes->locked_until_ns > now_ns || strikes->wrong.due_ns - now_ns <= rate->ahead_ns)
		return COUNTED;
	lock_out(limits, strikes, now_ns);
	return LOCKED;
}

bool ratelimit_login_failed(struct ratelimit *limits, const struct ipaddr *address, const char *user, uint64_t attempt,
			    int64_t now_us)
{
	uint16_t tag = (uint16_t)(attempt % UINT16_MAX + 1); /* 0 stands for none */

	if (!limits->settings.logins)
		return false;
	enum outcome of_pair = strike(limits, OF_USERS_LOGINS, address, user, tag, now_us * 1000);
	if (of_pair == REPEATED || !user[0]) /* no further guess; or no password's */
		return of_pair == LOCKED;
	return strike(limits, OF_LOGINS, address, "", 0, now_us * 1000) == LOCKED || of_pair == LOCKED;
}

/* A bucket that is full in a day. */
void ratelimit_login_succeeded(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us)
{
	uint64_t key = address_key(limits, GOOD, address, "");
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);

	*find_bucket(limits, key) = (struct bucket){.key = key, .due_ns = now_us * 1000 + GOOD_NS};
}

bool ratelimit_is_good(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us)
{
	uint64_t key = address_key(limits, GOOD, address, "");
	_locks_sets_ pthread_mutex_t *lock = lock_sets(limits, key);
	const struct bucket *bucket = find_bucket(limits, key);

	return bucket->key == key && bucket->due_ns > now_us * 1000;
}
