#include "api/journal/decide_internal.h"

#include <string.h>

#include "common/base/cleanup.h"

static int count_admins(struct transaction *transaction, size_t *ret_count)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count, admins = 0;
	int err = store_users(transaction->store, &users, &count);

	for (size_t i = 0; i < count && !err; i++)
		admins += users[i].role == ROLE_ADMIN;
	*ret_count = admins;
	return err;
}

static int count_tokens(struct transaction *transaction, uint32_t owner, size_t *ret_count)
{
	struct token **tokens;
	int err = store_tokens(transaction->store, owner, &tokens, ret_count);

	if (!err)
		store_tokens_release(tokens, *ret_count);
	return err;
}

/* --- users -------------------------------------------------------------------------------------------------------- */

static int check_user_put(struct transaction *transaction, const struct change *change, const struct user *current,
			  struct why *why)
{
	size_t admins = 2;
	int err = ERR_OK;

	if (change->former_hash[0] && (!current || strcmp(current->password_hash, change->former_hash) != 0))
		return why_set(why, ERR_PRECONDITION, "", "the password of \"%s\" is another one now", change->subject);
	if (current && change->precondition.kind == PRECONDITION_NONE_MATCH)
		return why_set(why, ERR_PRECONDITION, "", "user \"%s\" exists already", change->subject);
	if (!current && !change->password_hash[0])
		return why_set(why, ERR_INVALID, "password", "user \"%s\" is new and needs a password",
			       change->subject);
	if (current && current->role == ROLE_ADMIN && change->set_role && change->role != ROLE_ADMIN)
		err = count_admins(transaction, &admins);
	if (!err && admins <= 1)
		return why_set(why, ERR_CONFLICT, "role", "\"%s\" is the last admin: make somebody else admin first",
			       change->subject);
	return err;
}

static int decide_user_put(struct transaction *transaction, struct change *change, const struct user *current,
			   struct outcome *outcome)
{
	struct user *user = &change->user;
	int err = check_user_put(transaction, change, current, &outcome->why);

	if (err)
		return err;
	*user = current ? *current : (struct user){.id = 0};
	snprintf(user->name, sizeof user->name, "%.*s", USER_NAME_MAX, change->subject);
	if (change->set_role)
		user->role = change->role;
	if (change->set_quota)
		user->quota = change->quota;
	if (change->password_hash[0])
		memcpy(user->password_hash, change->password_hash, sizeof user->password_hash);
	outcome->created = !current;
	outcome->changed = !current || memcmp(user, current, sizeof *user) != 0;
	snprintf(change->note, sizeof change->note, "{\"role\":\"%s\",\"quota\":%u%s}",
		 user->role == ROLE_ADMIN ? "admin" : "common", user->quota,
		 !change->password_hash[0] ? ""
		 : change->former_hash[0]  ? ",\"password\":\"rehashed\""
					   : ",\"password\":\"set\"");
	return ERR_OK;
}

static int decide_user_delete(struct transaction *transaction, struct change *change, const struct user *current,
			      struct outcome *outcome)
{
	size_t admins = 2;
	int err = ERR_OK;

	if (!current)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", change->subject);
	if (current->silos)
		return why_set(&outcome->why, ERR_CONFLICT, "",
			       "user \"%s\" still owns %u silos: delete them or give them to somebody else "
			       "(PUT /silos/{id}?owner=…)",
			       change->subject, current->silos);
	if (current->role == ROLE_ADMIN)
		err = count_admins(transaction, &admins);
	if (!err && admins <= 1)
		return why_set(&outcome->why, ERR_CONFLICT, "", "\"%s\" is the last admin", change->subject);
	if (!err)
		err = count_tokens(transaction, current->id, &change->tokens_gone);
	change->user = *current;
	outcome->changed = true;
	return err;
}

int decide_user(struct transaction *transaction, struct change *change, const struct user *actor,
		struct outcome *outcome)
{
	struct user target;
	const struct user *current = store_user(transaction->store, change->subject, &target) ? NULL : &target;
	bool own_password = change->kind == CHANGE_USER_PUT && current && current->id == actor->id &&
			    !change->set_role && !change->set_quota;

	if (actor->role != ROLE_ADMIN && !own_password)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this");
	int err = change->kind == CHANGE_USER_PUT ? decide_user_put(transaction, change, current, outcome)
						  : decide_user_delete(transaction, change, current, outcome);
	if (err)
		return err;
	if (outcome->changed) {
		transaction_add(transaction, change, change->user.id, 0);
		change->user.revision = change->revision;
	}
	outcome->revision = transaction->revision;
	return ERR_OK;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static int check_new_token(struct transaction *transaction, const struct change *change, const struct user *owner,
			   struct why *why)
{
	size_t count;

	if (change->token->verbs & TOKEN_ADMIN && owner->role != ROLE_ADMIN)
		return why_set(why, ERR_INVALID, "verbs", "\"admin\" is for tokens of an admin: \"%s\" is none",
			       owner->name);
	int err = count_tokens(transaction, owner->id, &count);
	if (err)
		return err;
	if (count >= TOKENS_PER_USER_MAX && !change->tokens_gone)
		return why_set(why, ERR_QUOTA, "", "user \"%s\" has %d tokens already: revoke some", owner->name,
			       TOKENS_PER_USER_MAX);
	return ERR_OK;
}

/* Those that go: of the same name and, when one is replaced, of the same secret. */
struct former_tokens {
	struct token *named, *same_secret; /* references, or NULL */
	size_t count;
};

static void former_tokens_release(struct former_tokens *former)
{
	token_unref(former->named);
	token_unref(former->same_secret);
}

static struct former_tokens former_tokens_find(struct transaction *transaction, const struct change *change)
{
	struct former_tokens former = {0};

	store_token_by_subject(transaction->store, change->subject, &former.named);
	if (change->replace)
		store_token(transaction->store, change->token->hash, &former.same_secret);
	former.count = (former.named != NULL) + (former.same_secret && former.same_secret != former.named);
	return former;
}

int decide_token(struct transaction *transaction, struct change *change, const struct user *actor,
		 struct outcome *outcome)
{
	struct user owner;
	char name[USER_NAME_MAX + 1];
	int err = ERR_OK;

	snprintf(name, sizeof name, "%.*s", (int)strcspn(change->subject, "/"), change->subject);
	if (actor->role != ROLE_ADMIN && strcmp(actor->name, name) != 0)
		return why_set(&outcome->why, ERR_FORBIDDEN, "", "only an admin may do this for others");
	if (store_user(transaction->store, name, &owner))
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", name);
	_cleanup_(former_tokens_release) struct former_tokens former = former_tokens_find(transaction, change);
	change->tokens_gone = former.count;
	if (change->kind == CHANGE_TOKEN_DELETE && !former.named)
		return why_set(&outcome->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", change->subject);
	if (change->kind == CHANGE_TOKEN_PUT && former.named && !change->replace)
		return why_set(&outcome->why, ERR_CONFLICT, "",
			       "there is a token \"%s\" already, and tokens do not change: revoke it first, or take "
			       "another name",
			       change->subject);
	if (former.named && former.named == former.same_secret &&
	    strcmp(former.named->document, change->token->document) == 0) { /* it is there already */
		outcome->revision = former.named->revision;
		return ERR_OK;
	}
	if (change->kind == CHANGE_TOKEN_PUT)
		err = check_new_token(transaction, change, &owner, &outcome->why);
	if (err)
		return err;
	transaction_add(transaction, change, owner.id, 0);
	if (change->token) { /* nobody else sees it yet */
		change->token->owner = owner.id;
		change->token->revision = change->revision;
		change->token->created_us = transaction->at;
	}
	outcome->created = change->kind == CHANGE_TOKEN_PUT;
	outcome->changed = true;
	outcome->revision = change->revision;
	return ERR_OK;
}
