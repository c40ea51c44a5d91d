#include "api/journal/decide.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

void transaction_init(struct transaction *transaction, struct store *store)
{
	memset(transaction, 0, sizeof *transaction);
	transaction->store = store;
	transaction->base = transaction->revision = store_revision(store);
	transaction->at = clock_wall_us();
	randombytes_buf(&transaction->id, sizeof transaction->id);
}

void transaction_release(struct transaction *transaction)
{
	struct touched_silo *silo, *next;

	HASH_ITER (hh, transaction->silos, silo, next) {
		HASH_DEL(transaction->silos, silo);
		document_unref(silo->before);
		document_unref(silo->now);
		free(silo);
	}
}

/* The change is made: gives it the next revision. `former_owner` may be the same, or 0. */
static void add_change(struct transaction *transaction, struct change *change, uint32_t owner, uint32_t former_owner,
		       struct outcome *outcome)
{
	transaction->changes[transaction->count++] = change;
	change->revision = outcome->revision = ++transaction->revision;
	change->owner = owner;
	change->former_owner = former_owner == owner ? 0 : former_owner;
	outcome->changed = true;
}

/* --- silos -------------------------------------------------------------------------------------------------------- */

static int touch_silo(struct transaction *transaction, const char *id, struct touched_silo **ret_silo)
{
	struct touched_silo *silo;

	HASH_FIND_STR(transaction->silos, id, silo);
	if (!silo) {
		silo = calloc(1, sizeof *silo);
		if (!silo)
			return ERR_NOMEM;
		silo->id = id;
		HASH_ADD_KEYPTR(hh, transaction->silos, silo->id, strlen(silo->id), silo);
		if (!silo->hh.tbl) {
			free(silo);
			return ERR_NOMEM;
		}
		struct document *before = store_state_silo(transaction->state, id);
		if (before) {
			silo->before = document_ref(before);
			silo->now = document_ref(before);
		}
	}
	*ret_silo = silo;
	return ERR_OK;
}

static bool precondition_holds(const struct precondition *precondition, const struct document *current)
{
	bool named = precondition->any;

	for (size_t i = 0; i < precondition->count; i++)
		named |= current && precondition->revisions[i] == current->revision;
	switch (precondition->kind) {
	case PRECONDITION_MATCH:
		return current && named;
	case PRECONDITION_NONE_MATCH:
		return !(current && named);
	case PRECONDITION_NONE:
		break;
	}
	return true;
}

/* Silos that `owner` would own after this transaction as decided so far. */
static uint32_t silos_owned(struct transaction *transaction, const struct user *owner)
{
	uint32_t owned = owner->silos;

	for (struct touched_silo *silo = transaction->silos; silo; silo = silo->hh.next) {
		owned += silo->now && silo->now->owner == owner->id;
		owned -= silo->before && silo->before->owner == owner->id;
	}
	return owned;
}

/* Who will own the silo. */
static int decide_owner(struct transaction *transaction, const struct change *change, const struct user *actor,
			const struct document *current, uint32_t *ret_owner, struct why *why)
{
	*ret_owner = current ? current->owner : actor->id;
	if (!change->new_owner[0])
		return ERR_OK;
	if (actor->role != ROLE_ADMIN)
		return why_set(why, ERR_FORBIDDEN, "owner", "only an admin may choose the owner of a silo");
	const struct user_node *owner = store_state_user(transaction->state, change->new_owner);
	if (!owner)
		return why_set(why, ERR_INVALID, "owner", "there is no user \"%s\"", change->new_owner);
	*ret_owner = owner->user.id;
	return ERR_OK;
}

/* What the token that asks allows at all, whatever is in the silo. */
static int check_token(const struct change *change, const struct document *current, struct why *why)
{
	const struct token *token = change->actor.token;
	bool deletes = change->kind == CHANGE_SILO_DELETE;

	if (!token_has_verb(token, TOKEN_UPDATE))
		return why_set(why, ERR_FORBIDDEN, "", "this token may not change silos: it has no verb \"update\"");
	if (!token_covers_silo(token, change->subject))
		return why_set(why, ERR_FORBIDDEN, "", "this token is not for silo \"%s\"", change->subject);
	if (change->new_owner[0] && !token_has_verb(token, TOKEN_ADMIN))
		return why_set(why, ERR_FORBIDDEN, "owner",
			       "this token may not choose the owner of a silo: it has no verb \"admin\"");
	if (token_is_partial(token) && (deletes || (change->kind == CHANGE_SILO_PUT && !current)))
		return why_set(why, ERR_FORBIDDEN, "",
			       "this token may not %s silo \"%s\": it is for some of its records only",
			       deletes ? "delete" : "make", change->subject);
	return ERR_OK;
}

static int check_silo_rights(struct transaction *transaction, const struct change *change, const struct user *actor,
			     const struct document *current, struct outcome *outcome)
{
	int err = check_token(change, current, &outcome->why);

	if (err)
		return err;
	if (current && actor->role != ROLE_ADMIN && current->owner != actor->id)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "silo \"%s\" belongs to somebody else",
			       change->subject);
	if (!precondition_holds(&change->precondition, current)) {
		outcome->revision = current ? current->revision : 0;
		return why_set(&outcome->why, ERR_PRECONDITION, "",
			       current ? "silo \"%s\" is at revision %llu: read it again"
				       : "silo \"%s\" does not exist",
			       change->subject, current ? (unsigned long long)current->revision : 0);
	}
	if (change->kind != CHANGE_SILO_PUT && !current)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no silo \"%s\"%s", change->subject,
			       change->kind == CHANGE_SILO_PATCH ? ": PUT makes one" : "");
	if (!current && actor->role != ROLE_ADMIN && silos_owned(transaction, actor) >= actor->quota)
		return why_set(&outcome->why, ERR_QUOTA, "",
			       "user \"%s\" may own %u silos and has no quota left for \"%s\": an admin can raise it",
			       actor->name, actor->quota, change->subject);
	return ERR_OK;
}

/* What the silo comes to, and whether what differs is the token's to change. The documents are read only for that. */
static int decide_records(struct change *change, const struct document *current, const struct silo **ret_records,
			  struct why *why)
{
	_cleanup_(silo_release) struct silo before = {0};
	bool patches = change->kind == CHANGE_SILO_PATCH, checks = current && token_is_partial(change->actor.token);
	int err = patches || checks ? document_read(current, &before) : ERR_OK;

	if (!err && patches)
		err = change_apply_patch(change, &before, why);
	*ret_records = patches ? &change->patched : &change->records;
	return err || !checks ? err : token_check_records(change->actor.token, &before, *ret_records, why);
}

static int decide_silo(struct transaction *transaction, struct change *change, const struct user *actor,
		       struct outcome *outcome)
{
	struct touched_silo *silo;
	const struct silo *records;
	uint32_t owner = 0;
	int err = touch_silo(transaction, change->subject, &silo);

	if (!err)
		err = check_silo_rights(transaction, change, actor, silo->now, outcome);
	if (err)
		return err;
	struct document *current = silo->now;
	if (change->kind == CHANGE_SILO_DELETE) {
		add_change(transaction, change, current->owner, 0, outcome);
		document_unref(current);
		silo->now = NULL;
		return ERR_OK;
	}
	err = decide_records(change, current, &records, &outcome->why);
	if (!err)
		err = decide_owner(transaction, change, actor, current, &owner, &outcome->why);
	if (err)
		return err;
	struct document *wanted = change->document;
	outcome->created = !current;
	if (current && current->owner == owner && current->len == wanted->len &&
	    memcmp(current->json, wanted->json, current->len) == 0) {
		outcome->revision = current->revision;
	} else {
		add_change(transaction, change, owner, current ? current->owner : 0, outcome);
		wanted->owner = owner;
		wanted->revision = change->revision;
		document_unref(current);
		silo->now = document_ref(wanted);
	}
	outcome->records = records->count;
	outcome->body = document_ref(silo->now);
	return ERR_OK;
}

/* --- users -------------------------------------------------------------------------------------------------------- */

static bool is_last_admin(const struct store_state *state, const struct user *user)
{
	struct user_node *node = NULL;
	size_t admins = 0;

	while ((node = store_state_next_user(state, node)))
		admins += node->user.role == ROLE_ADMIN;
	return user->role == ROLE_ADMIN && admins == 1;
}

static size_t count_tokens(const struct store_state *state, uint32_t owner)
{
	struct token *token = NULL;
	size_t count = 0;

	while ((token = store_state_next_token(state, token)))
		count += token->owner == owner;
	return count;
}

static int check_user_put(const struct store_state *state, const struct change *change, const struct user *current,
			  struct why *why)
{
	if (change->former_hash[0] && (!current || strcmp(current->password_hash, change->former_hash) != 0))
		return why_set(why, ERR_PRECONDITION, "", "the password of \"%s\" is another one now", change->subject);
	if (current && change->precondition.kind == PRECONDITION_NONE_MATCH)
		return why_set(why, ERR_PRECONDITION, "", "user \"%s\" exists already", change->subject);
	if (!current && !change->password_hash[0])
		return why_set(why, ERR_INVALID, "password", "user \"%s\" is new and needs a password",
			       change->subject);
	if (current && change->set_role && change->role != ROLE_ADMIN && is_last_admin(state, current))
		return why_set(why, ERR_CONFLICT, "role", "\"%s\" is the last admin: make somebody else admin first",
			       change->subject);
	return ERR_OK;
}

static int check_user_delete(const struct store_state *state, const struct change *change, const struct user *current,
			     struct why *why)
{
	if (!current)
		return why_set(why, ERR_NOT_FOUND, "", "there is no user \"%s\"", change->subject);
	if (current->silos)
		return why_set(why, ERR_CONFLICT, "",
			       "user \"%s\" still owns %u silos: delete them or give them to somebody else "
			       "(PUT /silos/{id}?owner=…)",
			       change->subject, current->silos);
	if (is_last_admin(state, current))
		return why_set(why, ERR_CONFLICT, "", "\"%s\" is the last admin", change->subject);
	return ERR_OK;
}

/* The user as it is to be, and what the log says of it. */
static void make_user(struct change *change)
{
	struct user *user = &change->user;

	snprintf(user->name, sizeof user->name, "%.*s", USER_NAME_MAX, change->subject);
	if (change->set_role)
		user->role = change->role;
	if (change->set_quota)
		user->quota = change->quota;
	if (change->password_hash[0])
		memcpy(user->password_hash, change->password_hash, sizeof user->password_hash);
	snprintf(change->note, sizeof change->note, "{\"role\":\"%s\",\"quota\":%u%s}",
		 user->role == ROLE_ADMIN ? "admin" : "common", user->quota,
		 !change->password_hash[0] ? ""
		 : change->former_hash[0]  ? ",\"password\":\"rehashed\""
					   : ",\"password\":\"set\"");
}

static int decide_user(struct transaction *transaction, struct change *change, const struct user *actor,
		       struct outcome *outcome)
{
	const struct store_state *state = transaction->state;
	const struct user_node *node = store_state_user(state, change->subject);
	const struct user *current = node ? &node->user : NULL;
	bool deletes = change->kind == CHANGE_USER_DELETE;
	bool own_password = !deletes && current && current->id == actor->id && !change->set_role && !change->set_quota;

	if (actor->role != ROLE_ADMIN && !own_password)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this");
	int err = deletes ? check_user_delete(state, change, current, &outcome->why)
			  : check_user_put(state, change, current, &outcome->why);
	if (err)
		return err;
	change->user = current ? *current : (struct user){.id = 0};
	if (deletes)
		change->tokens_gone = count_tokens(state, current->id);
	else
		make_user(change);
	outcome->created = !current;
	if (deletes || !current || memcmp(&change->user, current, sizeof *current) != 0) {
		add_change(transaction, change, change->user.id, 0, outcome);
		change->user.revision = change->revision;
	}
	outcome->revision = transaction->revision;
	return ERR_OK;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static int check_new_token(const struct store_state *state, const struct change *change, const struct user *owner,
			   struct why *why)
{
	if (change->token->verbs & TOKEN_ADMIN && owner->role != ROLE_ADMIN)
		return why_set(why, ERR_INVALID, "verbs", "\"admin\" is for tokens of an admin: \"%s\" is none",
			       owner->name);
	if (!change->tokens_gone && count_tokens(state, owner->id) >= TOKENS_PER_USER_MAX)
		return why_set(why, ERR_QUOTA, "", "user \"%s\" has %d tokens already: revoke some", owner->name,
			       TOKENS_PER_USER_MAX);
	return ERR_OK;
}

static int decide_token(struct transaction *transaction, struct change *change, const struct user *actor,
			struct outcome *outcome)
{
	const struct store_state *state = transaction->state;
	const struct token *named = store_state_token_by_subject(state, change->subject), *same_secret = NULL;
	struct token *token = change->token; /* NULL: it goes */
	char name[USER_NAME_MAX + 1];

	snprintf(name, sizeof name, "%.*s", (int)strcspn(change->subject, "/"), change->subject);
	if (actor->role != ROLE_ADMIN && strcmp(actor->name, name) != 0)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this for others");
	const struct user_node *owner = store_state_user(state, name);
	if (!owner)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", name);
	if (change->replace)
		same_secret = store_state_token(state, token->hash);
	change->tokens_gone = (named != NULL) + (same_secret && same_secret != named);
	if (!token && !named)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", change->subject);
	if (token && named && !change->replace)
		return why_set(&outcome->why, ERR_CONFLICT, "",
			       "there is a token \"%s\" already, and tokens do not change: revoke it first, or take "
			       "another name",
			       change->subject);
	if (named && named == same_secret && strcmp(named->document, token->document) == 0) { /* it is there already */
		outcome->revision = named->revision;
		return ERR_OK;
	}
	int err = token ? check_new_token(state, change, &owner->user, &outcome->why) : ERR_OK;
	if (err)
		return err;
	add_change(transaction, change, owner->user.id, 0, outcome);
	if (token) { /* nobody else sees it yet */
		token->owner = owner->user.id;
		token->revision = change->revision;
		token->created_us = transaction->at;
	}
	outcome->created = token != NULL;
	return ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* The rights that count are those of now, not those of when the request came in. A user of the same name or a token of
 * the same secret that is there now may want something else of who asks: the next attempt finds out, by these. */
static int find_actor(const struct store_state *state, const struct principal *principal, const struct user **ret_actor,
		      struct why *why)
{
	static const struct user command_line = {.role = ROLE_ADMIN};
	const struct user_node *user = store_state_user_by_id(state, principal->user_id);
	const struct token *token = principal->token ? store_state_token(state, principal->token->hash) : NULL;

	*ret_actor = user ? &user->user : &command_line;
	if (principal->user_id && !user)
		return store_state_user(state, principal->name)
			       ? why_set(why, ERR_UNAVAILABLE, "",
					 "the user was removed and made again meanwhile; nothing was changed, try "
					 "again")
			       : why_set(why, ERR_UNAUTHORIZED, "", "the user was removed meanwhile");
	if (principal->token && !token)
		return why_set(why, ERR_UNAUTHORIZED, "", "the token was revoked meanwhile");
	if (token && token->revision != principal->token->revision) /* after a loading it is another object */
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the token was replaced meanwhile; nothing was changed, try again");
	return ERR_OK;
}

static int decide_change(struct transaction *transaction, struct change *change, struct outcome *outcome)
{
	const struct token *token = change->actor.token;
	const struct user *actor;
	int err = find_actor(transaction->state, &change->actor, &actor, &outcome->why);

	if (err)
		return err;
	if (change_is_of_silo(change))
		return decide_silo(transaction, change, actor, outcome);
	/* Users and tokens by a token: its verb, and the role of its owner as it is now. */
	if (token && (!token_has_verb(token, TOKEN_ADMIN) || actor->role != ROLE_ADMIN))
		return why_set(&outcome->why, ERR_FORBIDDEN, "",
			       "this token may not do this: it needs the verb \"admin\", of an admin");
	return change->kind == CHANGE_TOKEN_PUT || change->kind == CHANGE_TOKEN_DELETE
		       ? decide_token(transaction, change, actor, outcome)
		       : decide_user(transaction, change, actor, outcome);
}

int transaction_decide(struct transaction *transaction, struct change *change, struct outcome *ret_outcome)
{
	memset(ret_outcome, 0, sizeof *ret_outcome);
	change->revision = 0;
	transaction->state = store_view(transaction->store);
	int err = decide_change(transaction, change, ret_outcome);
	store_view_end(transaction->store);
	return err;
}
