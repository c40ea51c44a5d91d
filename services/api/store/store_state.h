/*
 * One state of the hub in memory: silos, users, tokens, and the order of changes. Data structures only: no lock is
 * taken here, that is the store's business. A state that nobody else sees yet (while loading) may be changed by any one
 * thread.
 *
 * The order of changes has every silo once, at the revision of its newest change, and besides what is gone: a deleted
 * silo, or one that was given to another owner. It is kept once for all silos and once for each owner, so whoever knows
 * the hub up to a revision finds what came since without looking at anything else. What is gone is remembered for
 * STORE_GONE_MAX entries; `forgotten` is the revision up to which some may be missing.
 */
#ifndef SILODNS_API_STORE_STORE_STATE_H
#define SILODNS_API_STORE_STORE_STATE_H

#include <bsd/sys/tree.h>
#include <uthash.h>

#include "api/model/document.h"
#include "api/store/store.h"

/* Where an entry stands in one of the orders. */
struct store_place {
	RB_ENTRY(store_place) link;
	struct store_entry *entry;
	uint64_t revision;
	uint32_t owner; /* of the order; 0: the order of all silos */
	bool gone;      /* a silo that changes hands leaves one owner and comes to another at one revision */
};

struct store_entry {
	struct store_place all, own;
	struct document *body; /* NULL: gone; owned */
	const char *id;
};

/* Two ordered trees rather than a hash table: listings and paging need the order, and 20 comparisons find one of a
 * million. */
struct silo_node {
	struct store_entry entry;
	RB_ENTRY(silo_node) by_id, by_owner;
	uint32_t owner; /* = body->owner; here so that a search key needs no body */
	char id[];
};

/* `owner` has the silo no more. */
struct gone_node {
	struct store_entry entry;
	RB_ENTRY(gone_node) by_id; /* and owner */
	struct gone_node *older, *newer;
	uint32_t owner;
	bool deleted; /* and not made again since; else it was given to somebody else */
	char id[];
};

struct user_node {
	UT_hash_handle by_name, by_id;
	struct user user;
};

struct token_node {
	UT_hash_handle by_hash, by_subject;
	struct token *token; /* a reference */
};

RB_HEAD(id_tree, silo_node);
RB_HEAD(owner_tree, silo_node);
RB_HEAD(gone_tree, gone_node);
RB_HEAD(order, store_place);

struct store_state {
	struct id_tree by_id;
	struct owner_tree by_owner;
	struct order order;
	struct gone_tree gone;
	struct gone_node *gone_oldest, *gone_newest;
	uint64_t forgotten;
	struct user_node *users_by_name, *users_by_id;
	struct token_node *tokens_by_hash, *tokens_by_subject;
	struct store_size size;
};

/* --- reading --- */

struct silo_node *store_state_silo(const struct store_state *state, const char *id);
/* The first silo behind `after` (NULL: of all) that is `owner`'s (0: anybody's), and the next one; NULL: none. */
struct silo_node *store_state_first(const struct store_state *state, uint32_t owner, const char *after);
struct silo_node *store_state_next(struct silo_node *node, uint32_t owner);
/* The first entry of an order behind a revision, and the next one; NULL: none. */
struct store_entry *store_state_since(const struct store_state *state, uint32_t owner, uint64_t after);
struct store_entry *store_state_later(struct store_entry *entry, uint32_t owner);
bool store_entry_deleted(const struct store_entry *entry);
/* The revision at which a silo that is not there was deleted; 0: not remembered. */
uint64_t store_state_deleted(const struct store_state *state, const char *id);
struct user_node *store_state_user(const struct store_state *state, const char *name);
struct user_node *store_state_user_by_id(const struct store_state *state, uint32_t id);
struct token_node *store_state_token(const struct store_state *state,
				     const unsigned char hash[static TOKEN_HASH_BYTES]);
struct token_node *store_state_token_by_subject(const struct store_state *state, const char *subject);

/* --- changing: cannot fail, as the caller brings the nodes --- */

struct silo_node *silo_node_new(const char *id); /* NULL: no memory; free() if it was not used */
struct gone_node *gone_node_new(const char *id);

/* Takes the body. `spare` and `gone` are used, and set to NULL, if the silo is new or leaves an owner. */
void store_state_put(struct store_state *state, struct silo_node **spare, struct gone_node **gone,
		     struct document *body);
void store_state_delete(struct store_state *state, const char *id, uint64_t revision, struct gone_node **gone);
void store_state_delete_user(struct store_state *state, const char *name);
void store_state_delete_token(struct store_state *state, const char *subject);

#endif
