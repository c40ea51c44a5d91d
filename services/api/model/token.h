/*
 * A token: 256 random bits that stand for a user, with less than the user's rights. Its secret is known to whoever
 * holds it; the hub keeps a hash. (One of 256 random bits cannot be guessed, whatever its hash costs: Argon2, which
 * makes guessing people's passwords dear, would only make each request dear. And a look-up by that hash tells nothing
 * about a secret by the time that it takes.)
 *
 * Immutable and counted once it is in the store, but for the time of its last use, which is atomic. What it may do is a
 * JSON document, the same in requests, answers, the table and the log: see docs/http.md, Tokens. Thread-safe.
 */
#ifndef SILODNS_API_MODEL_TOKEN_H
#define SILODNS_API_MODEL_TOKEN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bsd/sys/tree.h>

#include "api/model/user.h"
#include "common/base/err.h"
#include "common/hub/silo.h"
#include "common/net/ipaddr.h"

#define TOKEN_NAME_MAX USER_NAME_MAX /* a name is as a user's: user_name_check() */
#define TOKEN_SUBJECT_MAX (USER_NAME_MAX + 1 + TOKEN_NAME_MAX)
#define TOKEN_PREFIX "silodns_" /* by which a secret is known for one, also by scanners of repositories */
#define TOKEN_SECRET_LEN 51     /* the prefix and 43 characters of base64 (RFC 4648, 5) */
#define TOKEN_HASH_BYTES 32
#define TOKEN_HASH_HEX (2 * TOKEN_HASH_BYTES)
#define TOKEN_SILOS_MAX 64 /* one watch may name as many */
#define TOKEN_HOSTNAMES_MAX 64
#define TOKEN_NETWORKS_MAX 16
#define TOKEN_UNUSED_MIN_S 3600 /* the last use is known to the minute, and to other hubs a minute later */
#define TOKEN_UNUSED_MAX_S 315360000

enum token_verb { TOKEN_READ = 1, TOKEN_UPDATE = 2, TOKEN_ADMIN = 4 };

struct token_names {
	char **items; /* owned, sorted */
	size_t count;
};

struct token {
	atomic_uint refs;
	uint32_t owner;    /* a user's id; this, the next two and the hash are set before others see the token */
	uint64_t revision; /* at which it was made */
	int64_t created_us;
	unsigned char hash[TOKEN_HASH_BYTES];
	char subject[TOKEN_SUBJECT_MAX + 1]; /* owner's name "/" its name */

	unsigned verbs;                      /* of enum token_verb */
	struct token_names silos, hostnames; /* none: no limit */
	struct cidr networks[TOKEN_NETWORKS_MAX];
	size_t network_count; /* 0: from anywhere */
	uint8_t family;       /* 4, 6; 0: both */
	int64_t expires_us;   /* 0: never */
	int64_t unused_s;     /* not used for so long: it has expired; 0: no such limit */
	char *document;       /* all of these as JSON; owned */

	atomic_int_least64_t used_us; /* 0: never; a minute is its resolution */
	atomic_bool use_unsaved;      /* `used_us` is newer than the database knows */

	RB_ENTRY(token)
	by_hash, by_subject; /* its places in the store, guarded by the store's lock; nobody else's business */
};

/* Reads what a token may do. ERR_MALFORMED, ERR_INVALID with the member's name as field, ERR_NOMEM. */
int token_parse(const char *json, size_t len, struct token **ret_token, struct why *ret_why);
/* One that may do nothing: in place of a row that nobody can read. NULL: no memory. */
struct token *token_new_void(void);
void token_set_subject(struct token *token, const char *owner, const char *name);
struct token *token_ref(struct token *token); /* NULL is allowed, as in the next */
void token_unref(struct token *token);
void token_cleanup(struct token **token);          /* for _cleanup_() */
const char *token_name(const struct token *token); /* "" for NULL */

/* A new secret, and its hash. */
void token_make_secret(char ret_secret[static TOKEN_SECRET_LEN + 1], unsigned char ret_hash[static TOKEN_HASH_BYTES]);
/* False if the text has not the form of a secret. */
bool token_hash_secret(const char *text, size_t len, unsigned char ret_hash[static TOKEN_HASH_BYTES]);

/* --- what it may do: with NULL, that is no token, everything --- */

bool token_has_verb(const struct token *token, enum token_verb verb);
bool token_covers_silo(const struct token *token, const char *id);
/* Whether it is for some of a silo's records only: then it neither makes nor deletes a silo. */
bool token_is_partial(const struct token *token);
/* Whether it may turn the records of `before` into those of `after`. ERR_FORBIDDEN with the hostname. */
int token_check_records(const struct token *token, const struct silo *before, const struct silo *after,
			struct why *ret_why);
/* ERR_UNAUTHORIZED: it has expired, or was not used for too long; ERR_FORBIDDEN: not from there. */
int token_check_use(const struct token *token, const struct ipaddr *peer, int64_t now_us, struct why *ret_why);

/* It is being used. Costs nothing, but once a minute. */
void token_touch(struct token *token, int64_t now_us);
/* The last use as another hub knows it. */
void token_merge_use(struct token *token, int64_t used_us);
/* A last use in the future, by a clock that was ahead, becomes one of now. */
void token_correct_use(struct token *token, int64_t now_us);

#endif
