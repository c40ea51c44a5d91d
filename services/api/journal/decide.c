#include "api/journal/decide.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

void batch_init(struct batch *batch, struct store *store)
{
	memset(batch, 0, sizeof *batch);
	batch->store = store;
	batch->revision = store_revision(store);
	batch->at = clock_wall_us();
	randombytes_buf(&batch->id, sizeof batch->id);
}

void batch_release(struct batch *batch)
{
	struct batch_silo *silo, *next;

	HASH_ITER (hh, batch->silos, silo, next) {
		HASH_DEL(batch->silos, silo);
		document_unref(silo->before);
		document_unref(silo->now);
		free(silo);
	}
}

/* --- silos -------------------------------------------------------------------------------------------------------- */

static int batch_silo(struct batch *batch, const char *id, struct batch_silo **ret_silo)
{
	struct batch_silo *silo;

	HASH_FIND_STR(batch->silos, id, silo);
	if (!silo) {
		silo = calloc(1, sizeof *silo);
		if (!silo)
			return ERR_NOMEM;
		silo->id = id;
		if (!store_get(batch->store, id, &silo->before))
			silo->now = document_ref(silo->before);
		HASH_ADD_KEYPTR(hh, batch->silos, silo->id, strlen(silo->id), silo);
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

static void batch_silo_set_take(struct batch_silo *silo, struct document *now, const struct silo *records,
				uint64_t revision)
{
	document_unref(silo->now);
	silo->now = now;
	silo->records = records;
	silo->revision = revision;
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

/* Silos that `owner` would own after this batch as decided so far. */
static uint32_t batch_owned(struct batch *batch, const struct user *owner)
{
	uint32_t owned = owner->silos;

	for (struct batch_silo *silo = batch->silos; silo; silo = silo->hh.next) {
		owned += silo->now && silo->now->owner == owner->id;
		owned -= silo->before && silo->before->owner == owner->id;
	}
	return owned;
}

/* Who will own the silo. */
static int decide_owner(struct batch *batch, const struct order *order, const struct user *actor,
			const struct document *current, uint32_t *ret_owner, struct why *why)
{
	struct user owner;

	*ret_owner = current ? current->owner : actor->id;
	if (!order->owner[0])
		return ERR_OK;
	if (actor->role != ROLE_ADMIN)
		return why_set(why, ERR_FORBIDDEN, "owner", "only an admin may choose the owner of a silo");
	if (store_user(batch->store, order->owner, &owner))
		return why_set(why, ERR_INVALID, "owner", "there is no user \"%s\"", order->owner);
	*ret_owner = owner.id;
	return ERR_OK;
}

/* What the token that asks allows at all, whatever is in the silo. */
static int check_token(const struct order *order, const struct document *current, struct why *why)
{
	const struct token *token = order->actor.token;
	bool creates = order->kind == CHANGE_SILO_PUT && !current;

	if (!token_has_verb(token, TOKEN_UPDATE))
		return why_set(why, ERR_FORBIDDEN, "", "this token may not change silos: it has no verb \"update\"");
	if (!token_covers_silo(token, order->subject))
		return why_set(why, ERR_FORBIDDEN, "", "this token is not for silo \"%s\"", order->subject);
	if (order->owner[0] && !token_has_verb(token, TOKEN_ADMIN))
		return why_set(why, ERR_FORBIDDEN, "owner",
			       "this token may not choose the owner of a silo: it has no verb \"admin\"");
	if (token_is_partial(token) && (creates || order->kind == CHANGE_SILO_DELETE))
		return why_set(why, ERR_FORBIDDEN, "",
			       "this token may not %s silo \"%s\": it is for some of its records only",
			       creates ? "make" : "delete", order->subject);
	return ERR_OK;
}

/* Whether what differs is the token's to change. (Only for such a token are the documents read.) */
static int check_difference(const struct order *order, const struct document *current, struct why *why)
{
	_cleanup_(silo_release) struct silo before = {0};
	int err = ERR_OK;

	if (order->kind != CHANGE_SILO_PUT || !current || !token_is_partial(order->actor.token))
		return ERR_OK;
	err = silo_read_canonical(current->json, &before);
	if (err == ERR_MALFORMED) /* not written by a hub */
		err = silo_parse(current->json, current->len, NULL, NULL, &before, why);
	return err ? err : token_check_records(order->actor.token, &before, &order->silo, why);
}

static int check_silo_rights(struct batch *batch, const struct order *order, const struct user *actor,
			     const struct document *current, struct outcome *outcome)
{
	int err = check_token(order, current, &outcome->why);

	if (err)
		return err;
	if (current && actor->role != ROLE_ADMIN && current->owner != actor->id)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "silo \"%s\" belongs to somebody else",
			       order->subject);
	if (!precondition_holds(&order->precondition, current)) {
		outcome->revision = current ? current->revision : 0;
		return why_set(&outcome->why, ERR_PRECONDITION, "",
			       current ? "silo \"%s\" is at revision %llu: read it again"
				       : "silo \"%s\" does not exist",
			       order->subject, current ? (unsigned long long)current->revision : 0);
	}
	if (order->kind == CHANGE_SILO_DELETE && !current)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no silo \"%s\"", order->subject);
	if (order->kind == CHANGE_SILO_PUT && !current && actor->role != ROLE_ADMIN &&
	    batch_owned(batch, actor) >= actor->quota)
		return why_set(&outcome->why, ERR_QUOTA, "",
			       "user \"%s\" may own %u silos and has no quota left for \"%s\": an admin can raise it",
			       actor->name, actor->quota, order->subject);
	return check_difference(order, current, &outcome->why);
}

static void batch_log(struct batch *batch, const struct order *order, uint32_t owner, uint32_t former_owner)
{
	batch->entries[batch->count++] = (struct batch_entry){.revision = ++batch->revision,
							      .order = order,
							      .owner = owner,
							      .former_owner = former_owner == owner ? 0 : former_owner};
}

static int decide_silo(struct batch *batch, struct order *order, const struct user *actor, struct outcome *outcome)
{
	struct batch_silo *silo;
	uint32_t owner = 0;
	int err = batch_silo(batch, order->subject, &silo);

	if (!err)
		err = check_silo_rights(batch, order, actor, silo->now, outcome);
	if (!err && order->kind == CHANGE_SILO_PUT)
		err = decide_owner(batch, order, actor, silo->now, &owner, &outcome->why);
	if (err)
		return err;

	if (order->kind == CHANGE_SILO_DELETE) {
		batch_log(batch, order, silo->now->owner, 0);
		batch_silo_set_take(silo, NULL, NULL, batch->revision);
		outcome->changed = true;
		outcome->revision = batch->revision;
		return ERR_OK;
	}

	const struct document *current = silo->now;
	outcome->created = !current;
	outcome->changed = !current || current->owner != owner || current->len != order->body->len ||
			   memcmp(current->json, order->body->json, current->len) != 0;
	if (outcome->changed) {
		batch_log(batch, order, owner, current ? current->owner : 0);
		order->body->owner = owner;
		order->body->revision = batch->revision;
		batch_silo_set_take(silo, document_ref(order->body), &order->silo, batch->revision);
	}
	outcome->revision = silo->now->revision;
	outcome->records = order->silo.count;
	outcome->body = document_ref(silo->now);
	return ERR_OK;
}

/* --- users -------------------------------------------------------------------------------------------------------- */

/* ERR_CONFLICT: it is the last one. */
static int check_other_admin(struct batch *batch, const struct user *user)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count, admins = 0;

	if (user->role != ROLE_ADMIN)
		return ERR_OK;
	int err = store_users(batch->store, &users, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		admins += users[i].role == ROLE_ADMIN;
	return admins <= 1 ? ERR_CONFLICT : ERR_OK;
}

static int count_tokens(struct batch *batch, uint32_t owner, size_t *ret_count)
{
	struct token **tokens;
	int err = store_tokens(batch->store, owner, &tokens, ret_count);

	if (!err)
		store_tokens_release(tokens, *ret_count);
	return err;
}

/* May its role become this? */
static int check_role(struct batch *batch, const struct order *order, const struct user *current, struct why *why)
{
	bool demotes = current && order->set_role && order->role != ROLE_ADMIN;
	int err = demotes ? check_other_admin(batch, current) : ERR_OK;

	return err != ERR_CONFLICT
		       ? err
		       : why_set(why, err, "role", "\"%s\" is the last admin: make somebody else admin first",
				 order->subject);
}

static int decide_user_put(struct batch *batch, struct order *order, const struct user *current,
			   struct outcome *outcome)
{
	struct user *user = &batch->user;

	if (order->former_hash[0] && (!current || strcmp(current->password_hash, order->former_hash) != 0))
		return why_set(&outcome->why, ERR_PRECONDITION, "", "the password of \"%s\" is another one now",
			       order->subject);
	if (current && order->precondition.kind == PRECONDITION_NONE_MATCH)
		return why_set(&outcome->why, ERR_PRECONDITION, "", "user \"%s\" exists already", order->subject);
	if (!current && !order->password_hash[0])
		return why_set(&outcome->why, ERR_INVALID, "password", "user \"%s\" is new and needs a password",
			       order->subject);
	int err = check_role(batch, order, current, &outcome->why);
	if (err)
		return err;
	if (current)
		*user = *current;
	snprintf(user->name, sizeof user->name, "%.*s", USER_NAME_MAX, order->subject);
	if (order->set_role)
		user->role = order->role;
	if (order->set_quota)
		user->quota = order->quota;
	if (order->password_hash[0])
		memcpy(user->password_hash, order->password_hash, sizeof user->password_hash);
	outcome->created = !current;
	outcome->changed = !current || memcmp(user, current, sizeof *user) != 0;
	snprintf(order->note, sizeof order->note, "{\"role\":\"%s\",\"quota\":%u%s}",
		 user->role == ROLE_ADMIN ? "admin" : "common", user->quota,
		 !order->password_hash[0] ? ""
		 : order->former_hash[0]  ? ",\"password\":\"rehashed\""
					  : ",\"password\":\"set\"");
	return ERR_OK;
}

static int decide_user(struct batch *batch, struct order *order, const struct user *actor, struct outcome *outcome)
{
	struct user target;
	const struct user *current = store_user(batch->store, order->subject, &target) ? NULL : &target;
	bool own_password = order->kind == CHANGE_USER_PUT && current && current->id == actor->id && !order->set_role &&
			    !order->set_quota;

	if (actor->role != ROLE_ADMIN && !own_password)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this");
	if (order->kind == CHANGE_USER_PUT) {
		int err = decide_user_put(batch, order, current, outcome);
		if (err)
			return err;
	} else {
		if (!current)
			return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", order->subject);
		if (current->silos)
			return why_set(&outcome->why, ERR_CONFLICT, "",
				       "user \"%s\" still owns %u silos: delete them or give them to somebody else "
				       "(PUT /silos/{id}?owner=…)",
				       order->subject, current->silos);
		int err = check_other_admin(batch, current);
		if (err == ERR_CONFLICT)
			return why_set(&outcome->why, err, "", "\"%s\" is the last admin", order->subject);
		if (!err)
			err = count_tokens(batch, current->id, &batch->tokens_gone);
		if (err)
			return err;
		batch->user = *current;
		outcome->changed = true;
	}
	if (outcome->changed) {
		batch_log(batch, order, batch->user.id, 0);
		batch->user.revision = batch->revision;
	}
	outcome->revision = batch->revision;
	return ERR_OK;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* Users and tokens by a token: its verb, and the role of its owner as it is now. */
static int check_verb_admin(const struct order *order, const struct user *actor, struct why *why)
{
	if (!order->actor.token || (token_has_verb(order->actor.token, TOKEN_ADMIN) && actor->role == ROLE_ADMIN))
		return ERR_OK;
	return why_set(why, ERR_FORBIDDEN, "", "this token may not do this: it needs the verb \"admin\", of an admin");
}

static int check_new_token(struct batch *batch, const struct order *order, const struct user *owner, bool exists,
			   struct why *why)
{
	if (exists)
		return why_set(why, ERR_CONFLICT, "",
			       "there is a token \"%s\" already, and tokens do not change: revoke it first, or take "
			       "another name",
			       order->subject);
	if (order->token->verbs & TOKEN_ADMIN && owner->role != ROLE_ADMIN)
		return why_set(why, ERR_INVALID, "verbs", "\"admin\" is for tokens of an admin: \"%s\" is none",
			       owner->name);
	size_t count;
	int err = count_tokens(batch, owner->id, &count);
	if (err)
		return err;
	if (count >= TOKENS_PER_USER_MAX)
		return why_set(why, ERR_QUOTA, "", "user \"%s\" has %d tokens already: revoke some", owner->name,
			       TOKENS_PER_USER_MAX);
	return ERR_OK;
}

static int decide_token(struct batch *batch, const struct order *order, const struct user *actor,
			struct outcome *outcome)
{
	struct user owner;
	struct token *current = NULL;
	char name[USER_NAME_MAX + 1];

	snprintf(name, sizeof name, "%.*s", (int)strcspn(order->subject, "/"), order->subject);
	if (actor->role != ROLE_ADMIN && strcmp(actor->name, name) != 0)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this for others");
	if (store_user(batch->store, name, &owner))
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", name);
	bool exists = store_token_by_subject(batch->store, order->subject, &current) == ERR_OK;
	token_unref(current);
	if (order->kind == CHANGE_TOKEN_PUT) {
		int err = check_new_token(batch, order, &owner, exists, &outcome->why);
		if (err)
			return err;
		outcome->created = true;
	} else if (!exists) {
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", order->subject);
	}
	batch_log(batch, order, owner.id, 0);
	batch->user = owner;
	batch->tokens_gone = order->kind == CHANGE_TOKEN_DELETE;
	if (order->token) { /* nobody else sees it yet */
		order->token->owner = owner.id;
		order->token->revision = batch->revision;
		order->token->created_us = batch->at;
	}
	outcome->changed = true;
	outcome->revision = batch->revision;
	return ERR_OK;
}

int batch_decide(struct batch *batch, struct order *order, struct outcome *ret_outcome)
{
	struct user actor = {.role = ROLE_ADMIN};

	memset(ret_outcome, 0, sizeof *ret_outcome);
	/* The rights that count are those of now, not those of when the request came in. */
	if (order->actor.user_id && store_user_by_id(batch->store, order->actor.user_id, &actor))
		return why_set(&ret_outcome->why, ERR_UNAUTHORIZED, "", "the user was removed meanwhile");
	if (order->actor.token && !store_has_token(batch->store, order->actor.token))
		return why_set(&ret_outcome->why, ERR_UNAUTHORIZED, "", "the token was revoked meanwhile");
	if (order->kind == CHANGE_SILO_PUT || order->kind == CHANGE_SILO_DELETE)
		return decide_silo(batch, order, &actor, ret_outcome);
	int err = check_verb_admin(order, &actor, &ret_outcome->why);
	if (err)
		return err;
	if (order->kind == CHANGE_TOKEN_PUT || order->kind == CHANGE_TOKEN_DELETE)
		return decide_token(batch, order, &actor, ret_outcome);
	return decide_user(batch, order, &actor, ret_outcome);
}

static const enum store_op account_ops[] = {
	[CHANGE_USER_PUT] = STORE_PUT_USER,
	[CHANGE_USER_DELETE] = STORE_DELETE_USER,
	[CHANGE_TOKEN_PUT] = STORE_PUT_TOKEN,
	[CHANGE_TOKEN_DELETE] = STORE_DELETE_TOKEN,
};

int batch_apply(struct batch *batch)
{
	/* What has changed has an entry in the log. */
	_cleanup_free_ struct store_change *changes = calloc(batch->count + 1, sizeof *changes);
	size_t count = 0;

	if (!changes)
		return ERR_NOMEM;
	for (struct batch_silo *silo = batch->silos; silo; silo = silo->hh.next) {
		if (silo->now == silo->before)
			continue;
		changes[count++] = (struct store_change){.op = silo->now ? STORE_PUT_SILO : STORE_DELETE_SILO,
							 .subject = silo->id,
							 .body = silo->now,
							 .revision = silo->revision};
	}
	for (size_t i = 0; i < batch->count; i++) {
		const struct order *order = batch->entries[i].order;
		if (order->kind != CHANGE_SILO_PUT && order->kind != CHANGE_SILO_DELETE)
			changes[count++] = (struct store_change){.op = account_ops[order->kind],
								 .subject = order->subject,
								 .user = batch->user,
								 .token = order->token};
	}
	return store_apply(batch->store, changes, count, batch->revision);
}
