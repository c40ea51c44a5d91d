#include "api/store/store_state.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

static int compare_id(const struct silo_node *a, const struct silo_node *b)
{
	return strcmp(a->entry.id, b->entry.id);
}

static int compare_owner(const struct silo_node *a, const struct silo_node *b)
{
	return a->owner != b->owner ? (a->owner < b->owner ? -1 : 1) : compare_id(a, b);
}

static int compare_gone(const struct gone_node *a, const struct gone_node *b)
{
	int order = strcmp(a->entry.id, b->entry.id);

	return order || a->owner == b->owner ? order : (a->owner < b->owner ? -1 : 1);
}

static int compare_place(const struct store_place *a, const struct store_place *b)
{
	if (a->owner != b->owner)
		return a->owner < b->owner ? -1 : 1;
	if (a->revision != b->revision)
		return a->revision < b->revision ? -1 : 1;
	return a->gone - b->gone;
}

/* (RB_GENERATE_STATIC needs a macro that glibc does not have.) */
#define GENERATE(tree, node, link, compare)                                                                            \
	RB_GENERATE_INTERNAL(tree, node, link, compare, static __attribute__((unused)))
GENERATE(id_tree, silo_node, by_id, compare_id)
GENERATE(owner_tree, silo_node, by_owner, compare_owner)
GENERATE(gone_tree, gone_node, by_id, compare_gone)
GENERATE(order, store_place, link, compare_place)

/* The trees' functions do not change what they search in, but say so nowhere. */
#define TREE(state, field) (&((struct store_state *)(uintptr_t)(state))->field)

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct silo_node *store_state_silo(const struct store_state *state, const char *id)
{
	return RB_FIND(id_tree, TREE(state, by_id), &(struct silo_node){.entry.id = id});
}

struct silo_node *store_state_next(struct silo_node *node, uint32_t owner)
{
	struct silo_node *next = owner ? RB_NEXT(owner_tree, NULL, node) : RB_NEXT(id_tree, NULL, node);

	return next && (!owner || next->owner == owner) ? next : NULL;
}

struct silo_node *store_state_first(const struct store_state *state, uint32_t owner, const char *after)
{
	struct silo_node key = {.entry.id = after ? after : "", .owner = owner};
	struct silo_node *node =
		owner ? RB_NFIND(owner_tree, TREE(state, by_owner), &key) : RB_NFIND(id_tree, TREE(state, by_id), &key);

	if (!node || (owner && node->owner != owner))
		return NULL;
	return after && strcmp(node->entry.id, after) == 0 ? store_state_next(node, owner) : node;
}

static struct store_entry *entry_of(struct store_place *place, uint32_t owner)
{
	return place && place->owner == owner ? place->entry : NULL;
}

struct store_entry *store_state_since(const struct store_state *state, uint32_t owner, uint64_t after)
{
	struct store_place key = {.owner = owner, .revision = after + 1};

	return entry_of(RB_NFIND(order, TREE(state, order), &key), owner);
}

struct store_entry *store_state_later(struct store_entry *entry, uint32_t owner)
{
	return entry_of(RB_NEXT(order, NULL, owner ? &entry->own : &entry->all), owner);
}

bool store_entry_deleted(const struct store_entry *entry)
{
	return !entry->body && ((const struct gone_node *)entry)->deleted;
}

static struct gone_node *first_gone(const struct store_state *state, const char *id)
{
	struct gone_node *node = RB_NFIND(gone_tree, TREE(state, gone), &(struct gone_node){.entry.id = id});

	return node && strcmp(node->entry.id, id) == 0 ? node : NULL;
}

static struct gone_node *next_gone(struct gone_node *node)
{
	struct gone_node *next = RB_NEXT(gone_tree, NULL, node);

	return next && strcmp(next->entry.id, node->entry.id) == 0 ? next : NULL;
}

uint64_t store_state_deleted(const struct store_state *state, const char *id)
{
	uint64_t revision = 0;

	for (struct gone_node *node = first_gone(state, id); node; node = next_gone(node))
		if (node->deleted && node->entry.all.revision > revision)
			revision = node->entry.all.revision;
	return revision;
}

struct user_node *store_state_user(const struct store_state *state, const char *name)
{
	struct user_node *found;

	HASH_FIND(by_name, state->users_by_name, name, strlen(name), found);
	return found;
}

struct user_node *store_state_user_by_id(const struct store_state *state, uint32_t id)
{
	struct user_node *found;

	HASH_FIND(by_id, state->users_by_id, &id, sizeof id, found);
	return found;
}

struct token_node *store_state_token(const struct store_state *state, const unsigned char hash[static TOKEN_HASH_BYTES])
{
	struct token_node *found;

	HASH_FIND(by_hash, state->tokens_by_hash, hash, TOKEN_HASH_BYTES, found);
	return found;
}

struct token_node *store_state_token_by_subject(const struct store_state *state, const char *subject)
{
	struct token_node *found;

	HASH_FIND(by_subject, state->tokens_by_subject, subject, strlen(subject), found);
	return found;
}

void store_state_set_forgotten(struct store_state *state, uint64_t revision)
{
	state->forgotten = revision;
}

struct store_size store_state_size(const struct store_state *state)
{
	return state->size;
}

/* --- the order of changes ----------------------------------------------------------------------------------------- */

static void place_link(struct store_state *state, struct store_place *place, struct store_entry *entry, uint32_t owner,
		       uint64_t revision)
{
	*place = (struct store_place){.entry = entry, .revision = revision, .owner = owner, .gone = !entry->body};
	RB_INSERT(order, &state->order, place);
}

static void entry_link(struct store_state *state, struct store_entry *entry, uint32_t owner, uint64_t revision)
{
	place_link(state, &entry->all, entry, 0, revision);
	place_link(state, &entry->own, entry, owner, revision);
}

static void entry_unlink(struct store_state *state, struct store_entry *entry)
{
	RB_REMOVE(order, &state->order, &entry->all);
	RB_REMOVE(order, &state->order, &entry->own);
}

/* --- what is gone ------------------------------------------------------------------------------------------------- */

struct gone_node *gone_node_new(const char *id)
{
	size_t len = strlen(id);
	struct gone_node *node = calloc(1, sizeof *node + len + 1);

	if (!node)
		return NULL;
	memcpy(node->id, id, len + 1);
	node->entry.id = node->id;
	return node;
}

static void gone_remove(struct store_state *state, struct gone_node *node)
{
	entry_unlink(state, &node->entry);
	RB_REMOVE(gone_tree, &state->gone, node);
	*(node->older ? &node->older->newer : &state->gone_oldest) = node->newer;
	*(node->newer ? &node->newer->older : &state->gone_newest) = node->older;
	state->size.gone--;
	state->size.bytes -= sizeof *node + strlen(node->id) + 1;
	free(node);
}

static void gone_add(struct store_state *state, struct gone_node *node, uint32_t owner, uint64_t revision, bool deleted)
{
	struct gone_node *before;

	node->owner = owner;
	node->deleted = deleted;
	before = RB_FIND(gone_tree, &state->gone, node);
	if (before)
		gone_remove(state, before);
	RB_INSERT(gone_tree, &state->gone, node);
	entry_link(state, &node->entry, owner, revision);
	node->older = state->gone_newest;
	*(node->older ? &node->older->newer : &state->gone_oldest) = node;
	state->gone_newest = node;
	state->size.gone++;
	state->size.bytes += sizeof *node + strlen(node->id) + 1;
	if (state->size.gone > STORE_GONE_MAX) {
		uint64_t oldest = state->gone_oldest->entry.own.revision;
		if (state->forgotten < oldest)
			state->forgotten = oldest;
		gone_remove(state, state->gone_oldest);
	}
}

/* The silo is there (again), and `owner`'s. */
static void gone_no_more(struct store_state *state, const char *id, uint32_t owner)
{
	struct gone_node *next;

	for (struct gone_node *node = first_gone(state, id); node; node = next) {
		next = next_gone(node);
		node->deleted = false;
		if (node->owner == owner)
			gone_remove(state, node);
	}
}

int store_state_add_gone(struct store_state *state, const char *id, uint32_t owner, uint64_t revision, bool deleted)
{
	struct silo_node *silo = store_state_silo(state, id);
	struct gone_node *node;

	if (!owner || (silo && silo->owner == owner)) /* (nobody's: a hub writes no such entry, a person might) */
		return ERR_OK;
	node = gone_node_new(id);
	if (!node)
		return ERR_NOMEM;
	gone_add(state, node, owner, revision, deleted && !silo);
	return ERR_OK;
}

/* --- silos -------------------------------------------------------------------------------------------------------- */

struct silo_node *silo_node_new(const char *id)
{
	size_t len = strlen(id);
	struct silo_node *node = calloc(1, sizeof *node + len + 1);

	if (!node)
		return NULL;
	memcpy(node->id, id, len + 1);
	node->entry.id = node->id;
	return node;
}

static size_t node_bytes(const struct silo_node *node)
{
	const struct document *body = node->entry.body;

	return sizeof *node + strlen(node->id) + 1 + sizeof *body + body->len + 1;
}

static void count_owned(struct store_state *state, uint32_t owner, int delta)
{
	struct user_node *user = store_state_user_by_id(state, owner);

	if (user)
		user->user.silos += (uint32_t)delta;
}

static void silo_link(struct store_state *state, struct silo_node *node, struct document *body_take)
{
	node->entry.body = body_take;
	node->owner = body_take->owner;
	RB_INSERT(owner_tree, &state->by_owner, node);
	entry_link(state, &node->entry, node->owner, body_take->revision);
	count_owned(state, node->owner, 1);
	state->size.bytes += node_bytes(node);
}

static void silo_unlink(struct store_state *state, struct silo_node *node)
{
	state->size.bytes -= node_bytes(node);
	count_owned(state, node->owner, -1);
	RB_REMOVE(owner_tree, &state->by_owner, node);
	entry_unlink(state, &node->entry);
	document_unref(node->entry.body);
	node->entry.body = NULL;
}

void store_state_put(struct store_state *state, struct silo_node **spare, struct gone_node **gone,
		     struct document *body)
{
	struct silo_node *node = RB_INSERT(id_tree, &state->by_id, *spare);
	uint32_t former = node ? node->owner : body->owner;
	bool is_new = !node;

	if (is_new) {
		node = TAKE_PTR(*spare);
		state->size.silos++;
	} else {
		silo_unlink(state, node);
	}
	silo_link(state, node, body);
	if (is_new || former != body->owner)
		gone_no_more(state, node->id, body->owner);
	if (former != body->owner)
		gone_add(state, TAKE_PTR(*gone), former, body->revision, false);
}

void store_state_delete(struct store_state *state, const char *id, uint64_t revision, struct gone_node **gone)
{
	struct silo_node *node = store_state_silo(state, id);

	if (!node)
		return;
	gone_add(state, TAKE_PTR(*gone), node->owner, revision, true);
	silo_unlink(state, node);
	RB_REMOVE(id_tree, &state->by_id, node);
	state->size.silos--;
	free(node);
}

int store_state_add_silo_take(struct store_state *state, const char *id, struct document *body)
{
	struct silo_node *node = silo_node_new(id);
	struct gone_node *gone = NULL; /* each id comes once */

	if (!node) {
		document_unref(body);
		return ERR_NOMEM;
	}
	store_state_put(state, &node, &gone, body);
	free(node);
	return ERR_OK;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static size_t token_bytes(const struct token_node *node)
{
	return sizeof *node + sizeof *node->token + 2 * strlen(node->token->document);
}

static void delete_token(struct store_state *state, struct token_node *node)
{
	HASH_DELETE(by_hash, state->tokens_by_hash, node);
	HASH_DELETE(by_subject, state->tokens_by_subject, node);
	state->size.tokens--;
	state->size.bytes -= token_bytes(node);
	token_unref(node->token);
	free(node);
}

void store_state_delete_token(struct store_state *state, const char *subject)
{
	struct token_node *node = store_state_token_by_subject(state, subject);

	if (node)
		delete_token(state, node);
}

static void delete_tokens_of(struct store_state *state, uint32_t owner)
{
	struct token_node *node, *next;

	HASH_ITER (by_hash, state->tokens_by_hash, node, next)
		if (node->token->owner == owner)
			delete_token(state, node);
}

int store_state_add_token(struct store_state *state, struct token *token)
{
	struct token_node *node = calloc(1, sizeof *node);

	if (!node)
		return ERR_NOMEM;
	store_state_delete_token(state, token->subject); /* one of the same name, revoked since */
	node->token = token_ref(token);
	HASH_ADD_KEYPTR(by_hash, state->tokens_by_hash, token->hash, sizeof token->hash, node);
	if (!node->by_hash.tbl) {
		token_unref(token);
		free(node);
		return ERR_NOMEM;
	}
	HASH_ADD_KEYPTR(by_subject, state->tokens_by_subject, token->subject, strlen(token->subject), node);
	if (!node->by_subject.tbl) {
		HASH_DELETE(by_hash, state->tokens_by_hash, node);
		token_unref(token);
		free(node);
		return ERR_NOMEM;
	}
	state->size.tokens++;
	state->size.bytes += token_bytes(node);
	return ERR_OK;
}

/* --- users -------------------------------------------------------------------------------------------------------- */

int store_state_add_user(struct store_state *state, const struct user *user)
{
	struct user_node *node = store_state_user(state, user->name);

	if (node) {
		uint32_t silos = node->user.silos;
		node->user = *user;
		node->user.silos = silos;
		return ERR_OK;
	}
	node = calloc(1, sizeof *node);
	if (!node)
		return ERR_NOMEM;
	node->user = *user;
	node->user.silos = 0;
	HASH_ADD(by_name, state->users_by_name, user.name, strlen(node->user.name), node);
	if (!node->by_name.tbl) {
		free(node);
		return ERR_NOMEM;
	}
	HASH_ADD(by_id, state->users_by_id, user.id, sizeof node->user.id, node);
	if (!node->by_id.tbl) {
		HASH_DELETE(by_name, state->users_by_name, node);
		free(node);
		return ERR_NOMEM;
	}
	state->size.users++;
	state->size.bytes += sizeof *node;
	return ERR_OK;
}

void store_state_delete_user(struct store_state *state, const char *name)
{
	struct user_node *node = store_state_user(state, name);

	if (!node)
		return;
	delete_tokens_of(state, node->user.id);
	HASH_DELETE(by_name, state->users_by_name, node);
	HASH_DELETE(by_id, state->users_by_id, node);
	state->size.users--;
	state->size.bytes -= sizeof *node;
	free(node);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

struct store_state *store_state_new(void)
{
	return calloc(1, sizeof(struct store_state));
}

void store_state_free(struct store_state *state)
{
	struct silo_node *node, *next;
	struct user_node *user, *next_user;
	struct token_node *token, *next_token;

	if (!state)
		return;
	for (node = RB_MIN(id_tree, &state->by_id); node; node = next) {
		next = RB_NEXT(id_tree, &state->by_id, node);
		RB_REMOVE(id_tree, &state->by_id, node);
		document_unref(node->entry.body);
		free(node);
	}
	while (state->gone_oldest) {
		struct gone_node *gone = state->gone_oldest;
		state->gone_oldest = gone->newer;
		free(gone);
	}
	HASH_ITER (by_hash, state->tokens_by_hash, token, next_token)
		delete_token(state, token);
	HASH_ITER (by_name, state->users_by_name, user, next_user) {
		HASH_DELETE(by_name, state->users_by_name, user);
		HASH_DELETE(by_id, state->users_by_id, user);
		free(user);
	}
	free(state);
}
