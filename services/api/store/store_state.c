#include "api/store/store_state.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

/* The orders: by one thing, and where it is equal by the next. Of one revision are only a silo that changes hands and
 * the mark for it, or what a person wrote into the tables. */
#define BY(field, next) (a->field != b->field ? (a->field < b->field ? -1 : 1) : (next))
#define BY_ID document_compare_id(a, b)
#define SILOS_FIRST(next) ((!a->kind == !b->kind) ? (next) : !b->kind - !a->kind)
#define BY_REVISION BY(revision, SILOS_FIRST(BY(owner, BY_ID)))

/* A tree in one of these orders. TREE_append() is RB_INSERT() for what mostly comes last, as what is loaded and each
 * new change do: that takes one comparison, not twenty. (RB_GENERATE_STATIC needs a macro that glibc does not have.) */
#define GENERATE(tree, node, link, order)                                                                              \
	static int compare_##tree(const struct node *a, const struct node *b)                                          \
	{                                                                                                              \
		return order;                                                                                          \
	}                                                                                                              \
	RB_GENERATE_INTERNAL(tree, node, link, compare_##tree, static __attribute__((unused)))                         \
	static __attribute__((unused)) struct node *tree##_append(struct tree *head, struct node *added)               \
	{                                                                                                              \
		struct node *last = RB_MAX(tree, head);                                                                \
		if (!last || compare_##tree(added, last) <= 0)                                                         \
			return RB_INSERT(tree, head, added);                                                           \
		RB_SET(added, last, link);                                                                             \
		RB_RIGHT(last, link) = added;                                                                          \
		tree##_RB_INSERT_COLOR(head, added);                                                                   \
		return NULL;                                                                                           \
	}
GENERATE(silos_by_id, document, places.by_id, BY_ID)
GENERATE(silos_by_owner, document, places.by_owner, BY(owner, BY_ID))
GENERATE(changes, document, places.by_revision, BY_REVISION)
GENERATE(changes_by_owner, document, places.by_owner_revision, BY(owner, BY_REVISION))
GENERATE(marks_by_id, document, places.by_id, BY_ID ? BY_ID : BY(owner, 0))
GENERATE(marks_by_age, document, places.by_owner, BY_REVISION)
GENERATE(users_by_name, user_node, by_name, strcmp(a->user.name, b->user.name))
GENERATE(users_by_id, user_node, by_id, BY(user.id, 0))
GENERATE(tokens_by_hash, token, by_hash, memcmp(a->hash, b->hash, sizeof a->hash))
GENERATE(tokens_by_subject, token, by_subject, strcmp(a->subject, b->subject))

/* The trees' functions do not change what they search in, but say so nowhere. */
#define TREE(state, field) (&((struct store_state *)(uintptr_t)(state))->field)

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct document *store_state_silo(const struct store_state *state, const char *id)
{
	union document_key key;

	return RB_FIND(silos_by_id, TREE(state, silos_by_id), document_key(&key, id, 0));
}

static struct document *if_owned(struct document *found, uint32_t owner)
{
	return found && (!owner || found->owner == owner) ? found : NULL;
}

struct document *store_state_next(struct document *silo, uint32_t owner)
{
	return if_owned(owner ? RB_NEXT(silos_by_owner, NULL, silo) : RB_NEXT(silos_by_id, NULL, silo), owner);
}

struct document *store_state_first(const struct store_state *state, uint32_t owner, const char *after)
{
	union document_key room;
	struct document *key = document_key(&room, after ? after : "", owner);
	struct document *silo = owner ? RB_NFIND(silos_by_owner, TREE(state, silos_by_owner), key)
				      : RB_NFIND(silos_by_id, TREE(state, silos_by_id), key);

	silo = if_owned(silo, owner);
	return silo && after && document_compare_id(silo, key) == 0 ? store_state_next(silo, owner) : silo;
}

struct document *store_state_since(const struct store_state *state, uint32_t owner, uint64_t after)
{
	union document_key room;
	struct document *key = document_key(&room, "", owner);

	key->revision = after + 1;
	key->kind = DOCUMENT_SILO;
	return if_owned(owner ? RB_NFIND(changes_by_owner, TREE(state, changes_by_owner), key)
			      : RB_NFIND(changes, TREE(state, changes), key),
			owner);
}

struct document *store_state_later(struct document *change, uint32_t owner)
{
	return if_owned(owner ? RB_NEXT(changes_by_owner, NULL, change) : RB_NEXT(changes, NULL, change), owner);
}

/* All marks of a silo follow each other. */
static struct document *first_mark(const struct store_state *state, const char *id)
{
	union document_key room;
	struct document *key = document_key(&room, id, 0);
	struct document *mark = RB_NFIND(marks_by_id, TREE(state, marks_by_id), key);

	return mark && document_compare_id(mark, key) == 0 ? mark : NULL;
}

static struct document *next_mark(struct document *mark)
{
	struct document *next = RB_NEXT(marks_by_id, NULL, mark);

	return next && document_compare_id(next, mark) == 0 ? next : NULL;
}

struct document *store_state_deleted(const struct store_state *state, const char *id)
{
	struct document *newest = NULL;

	for (struct document *mark = first_mark(state, id); mark; mark = next_mark(mark))
		if (mark->kind == DOCUMENT_DELETED && (!newest || mark->revision > newest->revision))
			newest = mark;
	return newest;
}

struct user_node *store_state_user(const struct store_state *state, const char *name)
{
	struct user_node key;

	if (!memccpy(key.user.name, name, '\0', sizeof key.user.name))
		return NULL;
	return RB_FIND(users_by_name, TREE(state, users_by_name), &key);
}

struct user_node *store_state_user_by_id(const struct store_state *state, uint32_t id)
{
	struct user_node key;

	key.user.id = id;
	return RB_FIND(users_by_id, TREE(state, users_by_id), &key);
}

struct user_node *store_state_next_user(const struct store_state *state, struct user_node *user)
{
	return user ? RB_NEXT(users_by_name, NULL, user) : RB_MIN(users_by_name, TREE(state, users_by_name));
}

struct token *store_state_token(const struct store_state *state, const unsigned char hash[static TOKEN_HASH_BYTES])
{
	struct token key;

	memcpy(key.hash, hash, sizeof key.hash);
	return RB_FIND(tokens_by_hash, TREE(state, tokens_by_hash), &key);
}

struct token *store_state_token_by_subject(const struct store_state *state, const char *subject)
{
	struct token key;

	if (!memccpy(key.subject, subject, '\0', sizeof key.subject))
		return NULL;
	return RB_FIND(tokens_by_subject, TREE(state, tokens_by_subject), &key);
}

struct token *store_state_next_token(const struct store_state *state, struct token *token)
{
	return token ? RB_NEXT(tokens_by_subject, NULL, token)
		     : RB_MIN(tokens_by_subject, TREE(state, tokens_by_subject));
}

/* --- silos -------------------------------------------------------------------------------------------------------- */

static size_t document_bytes(const struct document *document)
{
	return sizeof *document + document->len + 1;
}

/* What silos and marks have in common. */
static void change_link(struct store_state *state, struct document *change)
{
	changes_append(&state->changes, change);
	changes_by_owner_append(&state->changes_by_owner, change);
	state->size.bytes += document_bytes(change);
}

static void change_unlink(struct store_state *state, struct document *change)
{
	RB_REMOVE(changes, &state->changes, change);
	RB_REMOVE(changes_by_owner, &state->changes_by_owner, change);
	state->size.bytes -= document_bytes(change);
}

static void mark_remove(struct store_state *state, struct document *mark)
{
	change_unlink(state, mark);
	RB_REMOVE(marks_by_id, &state->marks_by_id, mark);
	RB_REMOVE(marks_by_age, &state->marks_by_age, mark);
	state->size.gone--;
	document_unref(mark);
}

static void mark_add(struct store_state *state, struct document *mark, uint32_t owner, uint64_t revision,
		     enum document_kind kind)
{
	mark->owner = owner;
	mark->revision = revision;
	mark->kind = kind;
	struct document *before = RB_FIND(marks_by_id, &state->marks_by_id, mark);
	if (before)
		mark_remove(state, before);
	RB_INSERT(marks_by_id, &state->marks_by_id, mark);
	RB_INSERT(marks_by_age, &state->marks_by_age, mark);
	change_link(state, mark);
	if (++state->size.gone > STORE_GONE_MAX) {
		struct document *oldest = RB_MIN(marks_by_age, &state->marks_by_age);
		if (state->point.forgotten < oldest->revision)
			state->point.forgotten = oldest->revision;
		mark_remove(state, oldest);
	}
}

void store_state_put_mark_take(struct store_state *state, struct document *mark, uint32_t owner, uint64_t revision,
			       enum document_kind kind)
{
	struct document *silo = RB_FIND(silos_by_id, &state->silos_by_id, mark);

	if (!owner || (silo && silo->owner == owner)) /* (nobody's: a hub writes no such entry, a person might) */
		document_unref(mark);
	else
		mark_add(state, mark, owner, revision, silo ? DOCUMENT_GIVEN_AWAY : kind);
}

/* The silo is there (again), and `owner`'s. */
static void marks_settle(struct store_state *state, const struct document *silo)
{
	char id[SILO_ID_MAX + 1];
	struct document *next;

	if (RB_EMPTY(&state->marks_by_id))
		return;
	document_id(silo, id);
	for (struct document *mark = first_mark(state, id); mark; mark = next) {
		next = next_mark(mark);
		mark->kind = DOCUMENT_GIVEN_AWAY;
		if (mark->owner == silo->owner)
			mark_remove(state, mark);
	}
}

static void count_owned(struct store_state *state, uint32_t owner, int delta)
{
	struct user_node *user = store_state_user_by_id(state, owner);

	if (user)
		user->user.silos += (uint32_t)delta;
}

static void silo_unlink(struct store_state *state, struct document *silo)
{
	RB_REMOVE(silos_by_id, &state->silos_by_id, silo);
	RB_REMOVE(silos_by_owner, &state->silos_by_owner, silo);
	change_unlink(state, silo);
	count_owned(state, silo->owner, -1);
	state->size.silos--;
}

void store_state_put_silo_take(struct store_state *state, struct document *silo, struct document **mark)
{
	struct document *former = silos_by_id_append(&state->silos_by_id, silo);

	if (former) {
		silo_unlink(state, former);
		RB_INSERT(silos_by_id, &state->silos_by_id, silo);
	}
	silos_by_owner_append(&state->silos_by_owner, silo);
	change_link(state, silo);
	count_owned(state, silo->owner, 1);
	state->size.silos++;
	if (!former || former->owner != silo->owner)
		marks_settle(state, silo);
	if (former && former->owner != silo->owner)
		mark_add(state, TAKE_PTR(*mark), former->owner, silo->revision, DOCUMENT_GIVEN_AWAY);
	document_unref(former);
}

void store_state_delete_silo(struct store_state *state, const char *id, uint64_t revision, struct document **mark)
{
	struct document *silo = store_state_silo(state, id);

	if (!silo)
		return;
	silo_unlink(state, silo);
	mark_add(state, TAKE_PTR(*mark), silo->owner, revision, DOCUMENT_DELETED);
	document_unref(silo);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static size_t token_bytes(const struct token *token)
{
	return sizeof *token + 2 * strlen(token->document);
}

void store_state_remove_token(struct store_state *state, struct token *token)
{
	if (!token)
		return;
	RB_REMOVE(tokens_by_hash, &state->tokens_by_hash, token);
	RB_REMOVE(tokens_by_subject, &state->tokens_by_subject, token);
	state->size.tokens--;
	state->size.bytes -= token_bytes(token);
	token_unref(token);
}

void store_state_put_token_take(struct store_state *state, struct token *token)
{
	store_state_remove_token(state, RB_FIND(tokens_by_subject, &state->tokens_by_subject, token));
	store_state_remove_token(state, RB_FIND(tokens_by_hash, &state->tokens_by_hash, token));
	RB_INSERT(tokens_by_hash, &state->tokens_by_hash, token);
	RB_INSERT(tokens_by_subject, &state->tokens_by_subject, token);
	state->size.tokens++;
	state->size.bytes += token_bytes(token);
}

/* --- users -------------------------------------------------------------------------------------------------------- */

struct user_node *user_node_new(const struct user *user)
{
	struct user_node *node = malloc(sizeof *node);

	if (node)
		node->user = *user;
	return node;
}

void store_state_remove_user(struct store_state *state, struct user_node *node)
{
	struct token *token, *next;

	if (!node)
		return;
	RB_FOREACH_SAFE (token, tokens_by_subject, &state->tokens_by_subject, next)
		if (token->owner == node->user.id)
			store_state_remove_token(state, token);
	RB_REMOVE(users_by_name, &state->users_by_name, node);
	RB_REMOVE(users_by_id, &state->users_by_id, node);
	state->size.users--;
	state->size.bytes -= sizeof *node;
	free(node);
}

void store_state_put_user_take(struct store_state *state, struct user_node *node)
{
	struct user_node *known = store_state_user(state, node->user.name);

	if (known && known->user.id == node->user.id) {
		node->user.silos = known->user.silos;
		known->user = node->user;
		free(node);
		return;
	}
	store_state_remove_user(state, known);
	store_state_remove_user(state, store_state_user_by_id(state, node->user.id));
	node->user.silos = 0;
	RB_INSERT(users_by_name, &state->users_by_name, node);
	RB_INSERT(users_by_id, &state->users_by_id, node);
	state->size.users++;
	state->size.bytes += sizeof *node;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

struct store_state *store_state_new(void)
{
	return calloc(1, sizeof(struct store_state));
}

/* Nobody looks into the trees any more. */
void store_state_free(struct store_state *state)
{
	if (!state)
		return;
	while (!RB_EMPTY(&state->changes))
		document_unref(RB_REMOVE(changes, &state->changes, RB_ROOT(&state->changes)));
	while (!RB_EMPTY(&state->tokens_by_hash))
		token_unref(RB_REMOVE(tokens_by_hash, &state->tokens_by_hash, RB_ROOT(&state->tokens_by_hash)));
	while (!RB_EMPTY(&state->users_by_id))
		free(RB_REMOVE(users_by_id, &state->users_by_id, RB_ROOT(&state->users_by_id)));
	free(state);
}
