/* Users, and their tokens. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/auth/password.h"
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define QUOTA_MAX 1000000

/* Never the password's hash. NULL: no memory. */
static json_t *user_json(const struct user *user)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "name", user->name, "role",
			 user->role == ROLE_ADMIN ? "admin" : "common", "quota", (json_int_t)user->quota, "silos",
			 (json_int_t)user->silos);
}

/* The user that the path names. */
static int find_user(struct call *call, struct user *ret_user)
{
	if (store_user(call->hub->store, call->subject, ret_user))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", call->subject);
	return ERR_OK;
}

static int reply_user(struct call *call, int status)
{
	struct user user;
	int err = find_user(call, &user);

	return err ? err : reply_json_take(call->reply, status, user_json(&user));
}

int handle_user_get(struct call *call)
{
	return reply_user(call, 200);
}

int handle_users_list(struct call *call)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;
	int err = store_users(call->hub->store, &users, &count);

	if (err)
		return err;
	json_auto_t *list = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, user_json(&users[i]));
	return reply_json_take(call->reply, 200, failed ? NULL : TAKE_PTR(list));
}

static int read_role(const json_t *value, struct change *change, struct why *why)
{
	const char *role = json_is_string(value) ? json_string_value(value) : "";

	change->set_role = true;
	change->role = strcmp(role, "admin") == 0 ? ROLE_ADMIN : ROLE_COMMON;
	return change->role == ROLE_ADMIN || strcmp(role, "common") == 0
		       ? ERR_OK
		       : why_set(why, ERR_INVALID, "role", "is \"admin\" or \"common\"");
}

static int read_quota(const json_t *value, struct change *change, struct why *why)
{
	json_int_t quota = json_is_integer(value) ? json_integer_value(value) : -1;

	if (quota < 0 || quota > QUOTA_MAX)
		return why_set(why, ERR_INVALID, "quota", "is a whole number from 0 to %d", QUOTA_MAX);
	change->quota = (uint32_t)quota;
	change->set_quota = true;
	return ERR_OK;
}

/* All but the password, which is only checked: its hash comes later. */
static int read_user(json_t *document, struct change *change, struct why *why)
{
	const char *name;
	json_t *value;
	int err = ERR_OK;

	json_object_foreach(document, name, value)
	{
		if (strcmp(name, "role") == 0)
			err = read_role(value, change, why);
		else if (strcmp(name, "quota") == 0)
			err = read_quota(value, change, why);
		else if (strcmp(name, "password") != 0)
			err = why_set(why, ERR_INVALID, name,
				      "is not a member of a user: password, role and quota are");
		else if (!json_is_string(value))
			err = why_set(why, ERR_INVALID, name, "is a string");
		else
			err = password_check(json_string_value(value), json_string_length(value), why);
		if (err)
			return err;
	}
	return ERR_OK;
}

/* ERR_PENDING: the handler is called again when there is a hash. */
static int hash_password(struct call *call, const json_t *password, char ret_hash[static PASSWORD_HASH_MAX])
{
	char *hash = call->kept;
	int err = call->login.err;

	if (!hash) {
		call_keep_take(call, hash = malloc(PASSWORD_HASH_MAX), free);
		call->finish = handle_user_put;
		err = hash ? verifier_hash(authenticator_verifier(call->hub->authenticator),
					   json_string_value(password), json_string_length(password), &call->login,
					   hash)
			   : ERR_NOMEM;
	}
	if (err)
		return why_set(call->why, err, "", "too many passwords are being set; try again in a moment");
	memcpy(ret_hash, hash, PASSWORD_HASH_MAX);
	return ERR_OK;
}

static int finish_user_put(struct call *call)
{
	struct outcome outcome;
	int err = call_collect(call, &outcome);

	return err ? err : reply_user(call, outcome.created ? 201 : 200);
}

int handle_user_put(struct call *call)
{
	static const char example[] = "{\"password\":\"…\",\"role\":\"common\",\"quota\":5}";
	json_auto_t *document = NULL;
	struct change change = {.kind = CHANGE_USER_PUT};
	int err = jsontext_parse_object(call->request->body, call->request->body_len, example, &document, call->why);

	if (!err)
		err = read_user(document, &change, call->why);
	if (err)
		return err;
	if (call->principal.role != ROLE_ADMIN && (change.set_role || change.set_quota))
		return why_set(call->why, ERR_FORBIDDEN, "",
			       "only an admin may change role and quota; the password is yours to change");
	const json_t *password = json_object_get(document, "password");
	err = password ? hash_password(call, password, change.password_hash) : ERR_OK;
	return err ? err : call_submit_take(call, &change, finish_user_put);
}

int handle_user_delete(struct call *call)
{
	struct change change = {.kind = CHANGE_USER_DELETE};

	return call_submit_take(call, &change, call_finish_delete);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* A json_string() of a time; null for 0. */
static json_t *time_json(int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	if (!us)
		return json_null();
	clock_format(us, text);
	return json_string(text);
}

/* Never its hash. NULL: no memory. */
static json_t *token_json(const struct token *token)
{
	json_auto_t *scope = NULL;
	if (jsontext_parse(token->document, strlen(token->document), 0, &scope, NULL))
		return NULL;
	json_t *json = json_pack("{s:s, s:o, s:o}", "name", token_name(token), "created", time_json(token->created_us),
				 "used", time_json(atomic_load_explicit(&token->used_us, memory_order_relaxed)));

	if (json && json_object_update(json, scope)) {
		json_decref(json);
		return NULL;
	}
	return json;
}

int handle_tokens_list(struct call *call)
{
	struct user user;
	struct token **tokens;
	size_t count;
	int err = find_user(call, &user);

	if (!err)
		err = store_tokens(call->hub->store, user.id, &tokens, &count);
	if (err)
		return err;
	json_auto_t *list = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, token_json(tokens[i]));
	store_tokens_release(tokens, count);
	return reply_json_take(call->reply, 200, failed ? NULL : TAKE_PTR(list));
}

int handle_token_get(struct call *call)
{
	char name[CALL_NAME_MAX + 1];
	_cleanup_(token_cleanup) struct token *token = NULL;
	struct user user;
	int err = find_user(call, &user);

	if (err)
		return err;
	call_name(call, name);
	if (store_token_by_subject(call->hub->store, name, &token))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", name);
	return reply_json_take(call->reply, 200, token_json(token));
}

/* What is kept while it is being made. */
struct made_token {
	struct token *token;
	char secret[TOKEN_SECRET_LEN + 1];
};

static void made_token_free(void *arg)
{
	struct made_token *made = arg;

	token_unref(made->token);
	sodium_memzero(made, sizeof *made);
	free(made);
}

/* The one answer that has a secret in it. */
static int finish_token_put(struct call *call)
{
	const struct made_token *made = call->kept;
	struct outcome outcome;
	int err = call_collect(call, &outcome);

	if (err)
		return err;
	json_auto_t *json = token_json(made->token);
	int failed = json_object_set_new(json, "token", json_string(made->secret));
	return reply_json_take(call->reply, 201, failed ? NULL : TAKE_PTR(json));
}

int handle_token_put(struct call *call)
{
	struct user user;
	struct made_token *made = calloc(1, sizeof *made);
	int err = made ? find_user(call, &user) : ERR_NOMEM;

	call_keep_take(call, made, made_token_free);
	if (!err)
		err = token_parse(call->request->body, call->request->body_len, &made->token, call->why);
	if (!err && made->token->expires_us && made->token->expires_us <= clock_wall_us())
		err = why_set(call->why, ERR_INVALID, "expires", "is over already: give a later time, or none");
	if (err)
		return err;
	token_make_secret(made->secret, made->token->hash);
	token_set_subject(made->token, call->subject, call->second);
	struct change change = {.kind = CHANGE_TOKEN_PUT, .token = token_ref(made->token)};
	return call_submit_take(call, &change, finish_token_put);
}

int handle_token_delete(struct call *call)
{
	struct change change = {.kind = CHANGE_TOKEN_DELETE};
	struct user user;
	int err = find_user(call, &user);

	return err ? err : call_submit_take(call, &change, call_finish_delete);
}
