#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/auth/password.h"
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/jsontext.h"
#include "common/base/clock.h"
#include "common/base/log.h"

/* --- which ----------------------------------------------------------------------------------------------------------
 */

/* The user that the path names; one that is not the caller is for an admin only. */
static int check_user(struct request *request, struct user *ret_user)
{
	int err = user_name_check(request->subject, request->subject_len, &request->why);

	if (!err)
		err = request_query_only(request, NULL);
	if (err)
		return err;
	if (request->principal.role != ROLE_ADMIN && strcmp(request->subject, request->principal.name) != 0)
		return why_set(&request->why, ERR_FORBIDDEN, "", "only an admin may see or change tokens of others");
	if (store_user(request->hub->store, request->subject, ret_user))
		return why_set(&request->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", request->subject);
	return ERR_OK;
}

static int check_token(struct request *request, char ret_subject[static TOKEN_SUBJECT_MAX + 1])
{
	struct user user;
	int err = check_user(request, &user);

	if (!err)
		err = token_name_check(request->second, request->second_len, &request->why);
	if (!err)
		snprintf(ret_subject, TOKEN_SUBJECT_MAX + 1, "%.*s/%.*s", USER_NAME_MAX, request->subject,
			 TOKEN_NAME_MAX, request->second);
	return err;
}

/* --- as JSON --------------------------------------------------------------------------------------------------------
 */

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

int handle_tokens_list(struct request *request, struct reply *reply)
{
	struct user user;
	struct token **tokens;
	size_t count;
	int err = check_user(request, &user);

	if (!err)
		err = store_tokens(request->hub->store, user.id, &tokens, &count);
	if (err)
		return err;
	json_t *list = json_array();
	for (size_t i = 0; list && i < count; i++)
		if (json_array_append_new(list, token_json(tokens[i]))) {
			json_decref(list);
			list = NULL;
		}
	store_tokens_release(tokens, count);
	return reply_json_take(reply, 200, list);
}

int handle_token_get(struct request *request, struct reply *reply)
{
	char subject[TOKEN_SUBJECT_MAX + 1];
	struct token *token;
	int err = check_token(request, subject);

	if (err)
		return err;
	if (store_token_by_subject(request->hub->store, subject, &token))
		return why_set(&request->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", subject);
	json_t *json = token_json(token);
	token_unref(token);
	return reply_json_take(reply, 200, json);
}

/* --- changes --------------------------------------------------------------------------------------------------------
 */

static int collect(struct request *request, const char *what)
{
	struct outcome outcome;
	int err = request_collect(request, &outcome);

	if (!err)
		log_info(what, LOG_STR("owner", request->subject), LOG_STR("name", request->second),
			 LOG_U64("revision", outcome.revision), LOG_STR("user", request->principal.name),
			 LOG_STR("token", request->claim.token), LOG_STR("peer", IPADDR_TEXT(&request->peer)),
			 LOG_MS("ms", request_ms(request)));
	return err;
}

/* What is kept while it is being made. */
struct made {
	struct token *token;
	char secret[TOKEN_SECRET_LEN + 1];
};

static void made_free(void *arg)
{
	struct made *made = arg;

	token_unref(made->token);
	sodium_memzero(made, sizeof *made);
	free(made);
}

/* The one answer that has a secret in it. */
static int finish_put(struct request *request, struct reply *reply)
{
	const struct made *made = request->kept;
	int err = collect(request, "token made");

	if (err)
		return err;
	json_t *json = token_json(made->token);
	if (json && json_object_set_new(json, "token", json_string(made->secret))) {
		json_decref(json);
		json = NULL;
	}
	return reply_json_take(reply, 201, json);
}

static int make_token(struct request *request, struct made *made)
{
	int err = token_parse(request->body ? request->body : "", request->body_len, &made->token, &request->why);

	if (err)
		return err;
	if (made->token->expires_us && made->token->expires_us <= clock_wall_us())
		return why_set(&request->why, ERR_INVALID, "expires", "is over already");
	token_make_secret(made->secret, made->token->hash);
	token_set_subject(made->token, request->subject, request->second);
	return ERR_OK;
}

int handle_token_put(struct request *request, struct reply *reply)
{
	char subject[TOKEN_SUBJECT_MAX + 1];
	struct made *made;
	int err = check_token(request, subject);

	(void)reply;
	if (err)
		return err;
	made = calloc(1, sizeof *made);
	if (!made)
		return ERR_NOMEM;
	request_keep_take(request, made, made_free);
	err = make_token(request, made);
	struct change change = {.kind = CHANGE_TOKEN_PUT, .subject = subject, .token = made->token};
	return err ? err : request_submit(request, &change, finish_put);
}

static int finish_delete(struct request *request, struct reply *reply)
{
	int err = collect(request, "token revoked");

	if (!err)
		reply_status(reply, 204);
	return err;
}

int handle_token_delete(struct request *request, struct reply *reply)
{
	char subject[TOKEN_SUBJECT_MAX + 1];
	struct change change = {.kind = CHANGE_TOKEN_DELETE, .subject = subject};
	int err = check_token(request, subject);

	(void)reply;
	return err ? err : request_submit(request, &change, finish_delete);
}
