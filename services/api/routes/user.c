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

static int reply_user(struct call *call, int status)
{
	struct user user;

	if (store_user(call->hub->store, call->subject, &user))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", call->subject);
	return reply_json_take(call->reply, status, user_json(&user));
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

/* --- PUT ---------------------------------------------------------------------------------------------------------- */

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
	struct password_hashing *hashing = call->kept;
	const char *hash;
	int err;

	if (hashing) {
		err = password_hash_result(hashing, &hash);
		if (!err)
			snprintf(ret_hash, PASSWORD_HASH_MAX, "%s", hash);
	} else {
		err = password_hash_begin(authenticator_verifier(call->hub->authenticator), json_string_value(password),
					  json_string_length(password), call->request->waiter, &hashing);
		if (err == ERR_PENDING) {
			call_keep_take(call, hashing, password_hashing_free);
			call->finish = handle_user_put;
			return err;
		}
	}
	return err ? why_set(call->why, err, "", "too many passwords are being set; try again in a moment") : ERR_OK;
}

static int finish_put(struct call *call)
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
	return err ? err : call_submit_take(call, &change, finish_put);
}

int handle_user_delete(struct call *call)
{
	struct change change = {.kind = CHANGE_USER_DELETE};

	return call_submit_take(call, &change, call_finish_delete);
}
