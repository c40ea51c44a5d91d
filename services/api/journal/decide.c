#include "api/journal/decide_internal.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

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
		if (!store_get(transaction->store, id, &silo->before))
			silo->now = document_ref(silo->before);
		HASH_ADD_KEYPTR(hh, transaction->silos, silo->id, strlen(silo->id), silo);
		if (!silo->hh.tbl) {
			document_unref(silo->before);
			document_unref(silo->now);
			free(silo);
			return ERR_NOMEM;
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
	struct user owner;

	*ret_owner = current ? current->owner : actor->id;
	if (!change->new_owner[0])
		return ERR_OK;
	if (actor->role != ROLE_ADMIN)
		return why_set(why, ERR_FORBIDDEN, "owner", "only an admin may choose the owner of a silo");
	if (store_user(transaction->store, change->new_owner, &owner))
		return why_set(why, ERR_INVALID, "owner", "there is no user \"%s\"", change->new_owner);
	*ret_owner = owner.id;
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

void transaction_add(struct transaction *transaction, struct change *change, uint32_t owner, uint32_t former_owner)
{
	transaction->changes[transaction->count++] = change;
	change->revision = ++transaction->revision;
	change->owner = owner;
	change->former_owner = former_owner == owner ? 0 : former_owner;
}

static int decide_silo_delete(struct transaction *transaction, struct change *change, struct touched_silo *silo,
			      struct outcome *outcome)
{
	transaction_add(transaction, change, silo->now->owner, 0);
	document_unref(TAKE_PTR(silo->now));
	silo->records = NULL;
	outcome->changed = true;
	outcome->revision = change->revision;
	return ERR_OK;
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
	if (err || change->kind == CHANGE_SILO_DELETE)
		return err ? err : decide_silo_delete(transaction, change, silo, outcome);
	err = decide_records(change, silo->now, &records, &outcome->why);
	if (!err)
		err = decide_owner(transaction, change, actor, silo->now, &owner, &outcome->why);
	if (err)
		return err;
	const struct document *current = silo->now;
	struct document *wanted = change->document;
	outcome->created = !current;
	outcome->changed = !current || current->owner != owner || current->len != wanted->len ||
			   memcmp(current->json, wanted->json, current->len) != 0;
	if (outcome->changed) {
		transaction_add(transaction, change, owner, current ? current->owner : 0);
		wanted->owner = owner;
		wanted->revision = change->revision;
		document_unref(silo->now);
		silo->now = document_ref(wanted);
		silo->records = records;
	}
	outcome->revision = silo->now->revision;
	outcome->records = records->count;
	outcome->body = document_ref(silo->now);
	return ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* The rights that count are those of now, not those of when the request came in. A user of the same name or a token of
 * the same secret that is there now may want something else of who asks: the next attempt finds out, by these. */
static int find_actor(struct store *store, const struct principal *principal, struct user *ret_actor, struct why *why)
{
	struct token *token = NULL;
	struct user user;

	*ret_actor = (struct user){.role = ROLE_ADMIN};
	if (principal->user_id && store_user_by_id(store, principal->user_id, ret_actor))
		return store_user(store, principal->name, &user)
			       ? why_set(why, ERR_UNAUTHORIZED, "", "the user was removed meanwhile")
			       : why_set(why, ERR_UNAVAILABLE, "",
					 "the user was removed and made again meanwhile; nothing was changed, try "
					 "again");
	if (!principal->token || store_has_token(store, principal->token))
		return ERR_OK;
	if (store_token(store, principal->token->hash, &token))
		return why_set(why, ERR_UNAUTHORIZED, "", "the token was revoked meanwhile");
	token_unref(token);
	return why_set(why, ERR_UNAVAILABLE, "", "the token was replaced meanwhile; nothing was changed, try again");
}

int transaction_decide(struct transaction *transaction, struct change *change, struct outcome *ret_outcome)
{
	struct user actor;

	memset(ret_outcome, 0, sizeof *ret_outcome);
	change->revision = 0;
	int err = find_actor(transaction->store, &change->actor, &actor, &ret_outcome->why);
	if (err)
		return err;
	if (change_is_of_silo(change))
		return decide_silo(transaction, change, &actor, ret_outcome);
	/* Users and tokens by a token: its verb, and the role of its owner as it is now. */
	if (change->actor.token && (!token_has_verb(change->actor.token, TOKEN_ADMIN) || actor.role != ROLE_ADMIN))
		return why_set(&ret_outcome->why, ERR_FORBIDDEN, "",
			       "this token may not do this: it needs the verb \"admin\", of an admin");
	return change->kind == CHANGE_TOKEN_PUT || change->kind == CHANGE_TOKEN_DELETE
		       ? decide_token(transaction, change, &actor, ret_outcome)
		       : decide_user(transaction, change, &actor, ret_outcome);
}
