/*
 * The hub's state in memory at one revision: silos with their ready-made JSON documents, users, and tokens. All reads
 * are served from here.
 *
 * Documents are immutable and counted, so a reader holds the lock only to find one and never sees half a change.
 * Writing is the journal's alone (store_apply, store_replace_take). Everything else may be called from any thread:
 * `lock` (a read-write lock) guards the state, and a writer holds it only to swap pointers.
 */
#ifndef SILODNS_API_STORE_STORE_H
#define SILODNS_API_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/model/document.h"
#include "api/model/token.h"
#include "api/model/user.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#define HUB_IDENTITY_LEN 32   /* hexadecimal digits */
#define STORE_GONE_MAX 100000 /* silos that are gone, remembered for those who continue from an earlier revision */

struct store;
struct store_state; /* store_state.h */
struct flapping;    /* flapping.h */

struct store *store_new(void);
void store_free(struct store *store);

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* False until the first store_replace_take(): the other readers find nothing then. Takes no lock. */
bool store_is_loaded(struct store *store);
uint64_t store_revision(struct store *store);
void store_identity(struct store *store, char ret_identity[static HUB_IDENTITY_LEN + 1]);

/* Where a state stands. */
struct store_point {
	uint64_t revision;
	uint64_t forgotten;    /* who knows the hub up to an earlier revision than this cannot continue from there */
	uint64_t replaced;     /* counts store_replace_take() */
	uint64_t user_changes; /* counts changes of users and tokens */
	char identity[HUB_IDENTITY_LEN + 1];
};

/* Holds the state still for several questions (store_state.h) that must fit together. Until store_view_end() the caller
 * neither waits nor calls any other function of the store than those that say that they take no lock. */
const struct store_state *store_view(struct store *store);
void store_view_end(struct store *store);

/* ERR_NOT_FOUND. `ret_body` is a reference of the caller's. */
int store_get(struct store *store, const char *id, struct document **ret_body);

/*
 * Up to `limit` silos in the order of their ids (bytes), those after `after` (NULL: from the first), owned by `owner`
 * (0: all); `ret_bodies` is an array of references of the caller's, as long as `*ret_count`. `*ret_more` says whether
 * there are more. `*ret_revision`: of the whole answer.
 */
int store_list(struct store *store, uint32_t owner, const char *after, size_t limit, struct document ***ret_bodies,
	       size_t *ret_count, bool *ret_more, uint64_t *ret_revision);

/* Counts the store's changes and the calls of store_wake(). Takes no lock. */
uint64_t store_news(struct store *store);
/* Blocks until store_news() is another than `*news`, or `timeout_ms` is over; `*news` becomes the present one. */
void store_wait(struct store *store, uint64_t *news, int64_t timeout_ms);
void store_wake(struct store *store); /* lets store_wait() return */

/* The journal has seen, looking since `began_us` (clock_mono_us), that the store is what the database is, and will see
 * it again within `again_ms`. */
void store_confirm(struct store *store, int64_t began_us, int64_t again_ms);
/* Whether it has, looking since later than `since_us`. Takes no lock. */
bool store_is_confirmed(struct store *store, int64_t since_us);
/* How old what is read from here may be: 0 while it is confirmed in time, else milliseconds since it was last. Takes no
 * lock. */
int64_t store_age_ms(struct store *store);

/* Copies; ERR_NOT_FOUND. */
int store_user(struct store *store, const char *name, struct user *ret_user);
int store_user_by_id(struct store *store, uint32_t id, struct user *ret_user);
/* All users by name; free() the array. */
int store_users(struct store *store, struct user **ret_users, size_t *ret_count);

/* A reference of the caller's; ERR_NOT_FOUND. */
int store_token(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES], struct token **ret_token);
int store_token_and_owner(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES],
			  struct token **ret_token, struct user *ret_owner);
int store_token_by_subject(struct store *store, const char *subject, struct token **ret_token);
/* The tokens of `owner` (0: all) by subject: an array of references of the caller's. ERR_NOMEM. */
int store_tokens(struct store *store, uint32_t owner, struct token ***ret_tokens, size_t *ret_count);
void store_tokens_release(struct token **tokens, size_t count);

struct store_size {
	size_t silos, users, tokens, gone, bytes; /* bytes: of all of them, without the allocator's overhead */
};
struct store_size store_size(struct store *store);

/* The names that are fought over, as far as this process has seen (flapping.h). */
struct flapping *store_flapping(struct store *store);

/* --- writing: the journal only ------------------------------------------------------------------------------------ */

/* Applies decided changes in order and moves the store to `revision`, all at once for readers; takes references of its
 * own. A document or token is put once, into one store. ERR_NOMEM leaves the store as it was: all that needs memory is
 * done before the first change. */
struct change;
int store_apply(struct store *store, struct change *const changes[], size_t count, uint64_t revision);

/* A whole new state, filled without the lock, in place of the old one. */
void store_replace_take(struct store *store, struct store_state *state, const char *identity, uint64_t revision);

#endif
