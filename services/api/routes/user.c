#include <stdlib.h>
#include <string.h>

#include "api/auth/password.h"
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/jsontext.h"

#define QUOTA_MAX 1000000

/* Never the password's hash. NULL: no memory. */
static json_t *user_json(const struct user *user)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "name", user->name, "role",
			 user->role == ROLE_ADMIN ? "admin" : "common", "quota", (json_int_t)user->quota, "silos",
			 (json_int_t)user->silos);
}

static int check_name(struct call *call)
{
	int err = user_name_check(call->subject, strlen(call->subject), call->why);

	return err ? err : request_query_only(call->request, NULL);
}

static int reply_user(struct call *call, struct reply *reply, int status)
{
	struct user user;

	if (store_user(call->hub->store, call->subject, &user))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", call->subject);
	return reply_json_take(reply, status, user_json(&user));
}

int handle_user_get(struct call *call, struct reply *reply)
{
	int err = check_name(call);

	return err ? err : reply_user(call, reply, 200);
}

int handle_users_list(struct call *call, struct reply *reply)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;
	int err = request_query_only(call->request, NULL);

	if (!err)
		err = store_users(call->hub->store, &users, &count);
	if (err)
		return err;
	json_auto_t *list = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, user_json(&users[i]));
	return reply_json_take(reply, 200, failed ? NULL : TAKE_PTR(list));
}

/* --- PUT ---------------------------------------------------------------------------------------------------------- */

struct user_put {
	struct change change;
	const char *password; /* borrowed from the document; NULL: not given */
	size_t password_len;
};

static int take_password(const json_t *value, struct user_put *put, struct why *why)
{
	if (!json_is_string(value))
		return why_set(why, ERR_INVALID, "password", "is a string");
	put->password = json_string_value(value);
	put->password_len = json_string_length(value);
	return password_check(put->password, put->password_len, why);
}

static int take_role(const json_t *value, struct user_put *put, struct why *why)
{
	const char *role = json_is_string(value) ? json_string_value(value) : "";

	if (strcmp(role, "admin") != 0 && strcmp(role, "common") != 0)
		return why_set(why, ERR_INVALID, "role", "is \"admin\" or \"common\"");
	put->change.role = strcmp(role, "admin") == 0 ? ROLE_ADMIN : ROLE_COMMON;
	put->change.set_role = true;
	return ERR_OK;
}

static int take_quota(const json_t *value, struct user_put *put, struct why *why)
{
	json_int_t quota = json_is_integer(value) ? json_integer_value(value) : -1;

	if (quota < 0 || quota > QUOTA_MAX)
		return why_set(why, ERR_INVALID, "quota", "is a whole number from 0 to %d", QUOTA_MAX);
	put->change.quota = (uint32_t)quota;
	put->change.set_quota = true;
	return ERR_OK;
}

static const struct {
	const char *name;
	int (*take)(const json_t *value, struct user_put *put, struct why *why);
} members[] = {{"password", take_password}, {"role", take_role}, {"quota", take_quota}};

static int take_member(const char *name, const json_t *value, struct user_put *put, struct why *why)
{
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		if (strcmp(members[i].name, name) == 0)
			return members[i].take(value, put, why);
	return why_set(why, ERR_INVALID, name, "is not a member of a user: password, role and quota are");
}

/* `*ret_document` holds the password that `put` borrows. */
static int parse_user(struct call *call, struct user_put *put, json_t **ret_document)
{
	const char *name;
	json_t *value;
	int err =
		jsontext_parse_object(call->request->body, call->request->body_len,
				      "{\"password\":\"…\",\"role\":\"common\",\"quota\":5}", ret_document, call->why);

	if (err)
		return err;
	json_object_foreach(*ret_document, name, value)
	{
		err = take_member(name, value, put, call->why);
		if (err)
			return err;
	}
	return ERR_OK;
}

/* ERR_PENDING: the handler is called again when there is a hash. */
static int hash_password(struct call *call, struct user_put *put)
{
	char *hash = call->kept;
	int err = call->login.err;

	if (!put->password)
		return ERR_OK;
	if (!hash) {
		call_keep_take(call, hash = malloc(PASSWORD_HASH_MAX), free);
		call->finish = handle_user_put;
		err = hash ? verifier_hash(authenticator_verifier(call->hub->authenticator), put->password,
					   put->password_len, &call->login, hash)
			   : ERR_NOMEM;
	}
	if (err)
		return why_set(call->why, err, "", "too many passwords are being set; try again in a moment");
	memcpy(put->change.password_hash, hash, PASSWORD_HASH_MAX);
	return ERR_OK;
}

static int finish_put(struct call *call, struct reply *reply)
{
	struct outcome outcome;
	int err = call_collect(call, reply, &outcome);

	return err ? err : reply_user(call, reply, outcome.created ? 201 : 200);
}

int handle_user_put(struct call *call, struct reply *reply)
{
	json_auto_t *document = NULL;
	struct user_put put = {.change = {.kind = CHANGE_USER_PUT}};
	int err = check_name(call);

	(void)reply;
	if (!err)
		err = parse_user(call, &put, &document);
	if (err)
		return err;
	if (call->principal.role != ROLE_ADMIN && (put.change.set_role || put.change.set_quota))
		return why_set(call->why, ERR_FORBIDDEN, "",
			       "only an admin may change role and quota; the password is yours to change");
	err = hash_password(call, &put);
	return err ? err : call_submit_take(call, &put.change, finish_put);
}

int handle_user_delete(struct call *call, struct reply *reply)
{
	struct change change = {.kind = CHANGE_USER_DELETE};
	int err = check_name(call);

	(void)reply;
	return err ? err : call_submit_take(call, &change, call_finish_delete);
}
