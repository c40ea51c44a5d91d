/*
 * How often somebody may ask, and how often be wrong. Three kinds of token bucket (as GCRA: one number each):
 *   - requests of one client address (IPv4: the address, IPv6: its /64);
 *   - requests of one user;
 *   - wrong log-ins of one address, and of one user from one address. When these are used up, the address or the pair
 * is locked out, each time for twice as long, up to a maximum. Never a user alone: a stranger must not be able to lock
 *     somebody out. The same wrong password again is no further guess and does not count.
 *
 * Memory is fixed: 2^20 buckets of 16 bytes and 2^20 of 32 for log-ins, 48 MiB when a million addresses have been seen
 * (pages that were never needed are not there). A bucket is found by a keyed hash (SipHash-2-4 under a random key): so
 * nobody can choose whom to collide with, and no address is kept. Where a set of four is full, the bucket that is
 * nearest to being untouched goes; one that is locked out never makes room for another.
 *
 * Thread-safe: one lock for 1/1024 of the sets. `now_us` is clock_mono_us(), given by the caller.
 */
#ifndef SILODNS_API_AUTH_RATELIMIT_H
#define SILODNS_API_AUTH_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/ipaddr.h"

/* Wrong log-ins are forgiven one after the other, all of them in so long. */
#define LIMITS_LOGIN_WINDOW_S 600
/* One address may be wrong so many times as often as one user from it: many machines may be behind one address. */
#define LIMITS_ADDRESS_LOGINS 5

/* In place of a user's name: unknown tokens. Nobody guesses one, and devices that keep one which was revoked are many:
 * they lock out each other, and no password. */
#define LIMITS_NO_USER ""

struct ratelimit_settings {
	long address_rate, address_burst; /* requests in a second; at once. A rate of 0: no limit */
	long user_rate, user_burst;
	long logins;                     /* wrong ones of one user from one address; 0: no limit */
	long lockout_ms, lockout_max_ms; /* the first time; at most */
	const struct cidr *exempt;       /* borrowed: addresses to which nothing here applies */
	size_t exempt_count;
};

/* What a refused client is told: so much in `window_s` seconds; nothing is left until `retry_s` seconds from now. */
struct ratelimit_verdict {
	const char *policy; /* "address", "user", "login": literals */
	unsigned long quota, window_s, retry_s;
};

struct ratelimit;

/* ERR_NOMEM. */
int ratelimit_new(const struct ratelimit_settings *settings, struct ratelimit **ret_limits);
void ratelimit_free(struct ratelimit *limits);

bool ratelimit_is_exempt(const struct ratelimit *limits, const struct ipaddr *address);

/* One request. ERR_RATE. */
int ratelimit_take_address(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us,
			   struct ratelimit_verdict *ret_verdict);
int ratelimit_take_user(struct ratelimit *limits, uint32_t user_id, int64_t now_us,
			struct ratelimit_verdict *ret_verdict);
/* It was the hub that failed: the request does not count. `user_id` 0: none was known. */
void ratelimit_give_back(struct ratelimit *limits, const struct ipaddr *address, uint32_t user_id);

enum ratelimit_login {
	LIMITS_LOGIN_OPEN,
	LIMITS_LOGIN_KNOWN, /* the address is locked out: only credentials that have been verified before are good */
	LIMITS_LOGIN_LOCKED /* this user from this address is locked out: nothing is looked at */
};

/* May `user` (as claimed, whether it exists or not) try from `address`? `ret_verdict` is set unless it is OPEN. */
enum ratelimit_login ratelimit_login(struct ratelimit *limits, const struct ipaddr *address, const char *user,
				     int64_t now_us, struct ratelimit_verdict *ret_verdict);
/* A wrong password or token; `attempt` is the same for the same one only. True: somebody is locked out by it. */
bool ratelimit_login_failed(struct ratelimit *limits, const struct ipaddr *address, const char *user, uint64_t attempt,
			    int64_t now_us);
/* A right one. For a day its address counts as a good one: it goes first where many wait to log in. */
void ratelimit_login_succeeded(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us);
bool ratelimit_is_good(struct ratelimit *limits, const struct ipaddr *address, int64_t now_us);

#endif
