/*
 * One state of the hub in memory: silos, users, tokens, and the order of changes. Data structures only: no lock is
 * taken here, that is the store's business. A state that nobody else sees yet (while loading) may be changed by any one
 * thread.
 *
 * The order of changes has every silo once, at the revision of its newest change, and besides a mark for what is gone:
 * a deleted silo, or one that was given to another owner. It is kept once for all silos and once for each owner, so
 * whoever knows the hub up to a revision finds what came since without looking at anything else. What is gone is
 * remembered for STORE_GONE_MAX marks; `point.forgotten` is the revision up to which some may be missing.
 *
 * Trees throughout, whose links are part of what stands in them: listings and paging need the order, 20 comparisons
 * find one of a million, and nothing can fail while a change is applied.
 */
#ifndef SILODNS_API_STORE_STORE_STATE_H
#define SILODNS_API_STORE_STORE_STATE_H

#include <bsd/sys/tree.h>

#include "api/model/document.h"
#include "api/model/token.h"
#include "api/model/user.h"
#include "api/store/store.h"

struct user_node {
	RB_ENTRY(user_node) by_name, by_id;
	struct user user;
};

RB_HEAD(silos_by_id, document);
RB_HEAD(silos_by_owner, document);
RB_HEAD(changes, document);
RB_HEAD(changes_by_owner, document);
RB_HEAD(marks_by_id, document);
RB_HEAD(marks_by_age, document);
RB_HEAD(users_by_name, user_node);
RB_HEAD(users_by_id, user_node);
RB_HEAD(tokens_by_hash, token);
RB_HEAD(tokens_by_subject, token);

struct store_state {
	struct silos_by_id silos_by_id;
	struct silos_by_owner silos_by_owner;
	struct changes changes; /* silos and marks */
	struct changes_by_owner changes_by_owner;
	struct marks_by_id marks_by_id;
	struct marks_by_age marks_by_age;
	struct users_by_name users_by_name;
	struct users_by_id users_by_id;
	struct tokens_by_hash tokens_by_hash;
	struct tokens_by_subject tokens_by_subject;
	struct store_point point;
	struct store_size size;
};

struct store_state *store_state_new(void); /* NULL: no memory */
void store_state_free(struct store_state *state);

/* --- reading: what is found is the state's; NULL: none --- */

struct document *store_state_silo(const struct store_state *state, const char *id);
/* The first silo behind `after` (NULL: of all) that is `owner`'s (0: anybody's), and the next one. */
struct document *store_state_first(const struct store_state *state, uint32_t owner, const char *after);
struct document *store_state_next(struct document *silo, uint32_t owner);
/* The first silo or mark behind a revision, of `owner` (0: anybody's), and the next one. */
struct document *store_state_since(const struct store_state *state, uint32_t owner, uint64_t after);
struct document *store_state_later(struct document *change, uint32_t owner);
/* The mark of a silo's deletion, if it is remembered and the silo was not made again. */
struct document *store_state_deleted(const struct store_state *state, const char *id);
struct user_node *store_state_user(const struct store_state *state, const char *name);
struct user_node *store_state_user_by_id(const struct store_state *state, uint32_t id);
/* In the order of names; behind NULL: the first. */
struct user_node *store_state_next_user(const struct store_state *state, struct user_node *user);
struct token *store_state_token(const struct store_state *state, const unsigned char hash[static TOKEN_HASH_BYTES]);
struct token *store_state_token_by_subject(const struct store_state *state, const char *subject);
/* In the order of subjects; behind NULL: the first. */
struct token *store_state_next_token(const struct store_state *state, struct token *token);

/* --- changing: cannot fail, as the caller brings what is put --- */

/* `mark` is used, and set to NULL, if the silo leaves an owner: document_new() with the silo's id and nothing else. */
void store_state_put_silo_take(struct store_state *state, struct document *silo, struct document **mark);
void store_state_delete_silo(struct store_state *state, const char *id, uint64_t revision, struct document **mark);
/* After all silos, in the order of revisions: `owner` has had the silo no more since `revision`, as it was deleted or
 * given to somebody else. */
void store_state_put_mark_take(struct store_state *state, struct document *mark, uint32_t owner, uint64_t revision,
			       enum document_kind kind);
/* A user of the same name becomes this one; if it was another user, that one is gone with its tokens. */
void store_state_put_user_take(struct store_state *state, struct user_node *user);
void store_state_remove_user(struct store_state *state, struct user_node *user); /* NULL is allowed */
/* In place of one of the same subject or hash. */
void store_state_put_token_take(struct store_state *state, struct token *token);
void store_state_remove_token(struct store_state *state, struct token *token); /* NULL is allowed */

struct user_node *user_node_new(const struct user *user); /* a copy; NULL: no memory; free() if it was not used */

#endif
