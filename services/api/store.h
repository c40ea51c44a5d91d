/*
 * The hub's state in memory at one revision: silos with their ready-made JSON bodies, and users. All reads are served
 * from here.
 *
 * Bodies are immutable and counted, so a reader holds the lock only to find one and never sees half a change. Writing
 * is the journal's alone (store_apply, store_replace). Everything else may be called from any thread: `lock` (a
 * read-write lock) guards the trees and the users, and a writer holds it only to swap pointers.
 */
#ifndef SILODNS_STORE_H
#define SILODNS_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "silo.h"

#define USER_NAME_MAX 64
#define PASSWORD_HASH_MAX 128 /* crypto_pwhash_STRBYTES */
#define HUB_IDENTITY_LEN 32   /* hexadecimal digits */

enum role { ROLE_COMMON, ROLE_ADMIN };

struct user {
	uint32_t id; /* never 0, never used again */
	enum role role;
	uint32_t quota; /* silos that it may own; no limit for an admin */
	uint32_t silos; /* silos that it owns; kept by the store */
	char name[USER_NAME_MAX + 1];
	char password_hash[PASSWORD_HASH_MAX];
};

/* A silo at one revision. Immutable; released by the last silo_body_unref(). */
struct silo_body {
	atomic_uint refs;
	uint32_t owner;    /* user id */
	uint64_t revision; /* at which it became so */
	size_t len;
	char json[]; /* canonical document, with a final NUL that is not counted */
};

struct silo_body *silo_body_new(const char *json, size_t len, uint32_t owner, uint64_t revision); /* NULL: no memory */
struct silo_body *silo_body_ref(struct silo_body *body);
void silo_body_unref(struct silo_body *body); /* NULL is allowed */

struct store;

struct store *store_new(void);
void store_free(struct store *store);

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* False until the first store_replace(): the other readers find nothing then. */
bool store_is_loaded(struct store *store);
uint64_t store_revision(struct store *store);
void store_identity(struct store *store, char ret_identity[static HUB_IDENTITY_LEN + 1]);

/* ERR_NOT_FOUND. `ret_body` is a reference of the caller's. */
int store_get(struct store *store, const char *id, struct silo_body **ret_body);

/*
 * Up to `limit` silos in the order of their ids (bytes), those after `after` (NULL: from the first), owned by `owner`
 * (0: all); `ret_bodies` is an array of references of the caller's, as long as `*ret_count`. `*ret_more` says whether
 * there are more. `*ret_revision`: of the whole answer.
 */
int store_list(struct store *store, uint32_t owner, const char *after, size_t limit, struct silo_body ***ret_bodies,
	       size_t *ret_count, bool *ret_more, uint64_t *ret_revision);

/* Copies; ERR_NOT_FOUND. */
int store_user(struct store *store, const char *name, struct user *ret_user);
int store_user_by_id(struct store *store, uint32_t id, struct user *ret_user);
/* All users by name; free() the array. */
int store_users(struct store *store, struct user **ret_users, size_t *ret_count);

struct store_size {
	size_t silos, users, bytes; /* bytes: of nodes and bodies, without the allocator's overhead */
};
struct store_size store_size(struct store *store);

/* --- writing: the journal only ------------------------------------------------------------------------------------ */

enum store_op { STORE_PUT_SILO, STORE_DELETE_SILO, STORE_PUT_USER, STORE_DELETE_USER };

struct store_change {
	enum store_op op;
	const char *subject;    /* silo id or user name; borrowed */
	struct silo_body *body; /* STORE_PUT_SILO; the store takes its own reference */
	struct user user;       /* STORE_PUT_USER; `silos` is ignored */
};

/* Applies changes in order and moves the store to `revision`, all at once for readers. ERR_NOMEM leaves the store as it
 * was. */
int store_apply(struct store *store, const struct store_change *changes, size_t count, uint64_t revision);

/* A whole new state is filled without the lock, then put in place of the old one. */
struct store_state;
struct store_state *store_state_new(void);
void store_state_free(struct store_state *state);
int store_state_add_user(struct store_state *state, const struct user *user);
int store_state_add_silo_take(struct store_state *state, const char *id, struct silo_body *body);
struct store_size store_state_size(const struct store_state *state);
void store_replace_take(struct store *store, struct store_state *state, const char *identity, uint64_t revision);

#endif
