#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

/* --- which ----------------------------------------------------------------------------------------------------------
 */

/* The user that the path names. */
static int check_user(struct call *call, struct user *ret_user)
{
	int err = user_name_check(call->subject, strlen(call->subject), call->why);

	if (!err)
		err = request_query_only(call->request, NULL);
	if (err)
		return err;
	if (store_user(call->hub->store, call->subject, ret_user))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no user \"%s\"", call->subject);
	return ERR_OK;
}

static int check_token(struct call *call)
{
	struct user user;
	int err = check_user(call, &user);

	return err ? err : user_name_check(call->second, strlen(call->second), call->why);
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

int handle_tokens_list(struct call *call, struct reply *reply)
{
	struct user user;
	struct token **tokens;
	size_t count;
	int err = check_user(call, &user);

	if (!err)
		err = store_tokens(call->hub->store, user.id, &tokens, &count);
	if (err)
		return err;
	json_auto_t *list = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, token_json(tokens[i]));
	store_tokens_release(tokens, count);
	return reply_json_take(reply, 200, failed ? NULL : TAKE_PTR(list));
}

int handle_token_get(struct call *call, struct reply *reply)
{
	char name[CALL_NAME_MAX + 1];
	struct token *token;
	int err = check_token(call);

	if (err)
		return err;
	call_name(call, name);
	if (store_token_by_subject(call->hub->store, name, &token))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no token \"%s\"", name);
	json_t *json = token_json(token);
	token_unref(token);
	return reply_json_take(reply, 200, json);
}

/* --- changes --------------------------------------------------------------------------------------------------------
 */

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
static int finish_put(struct call *call, struct reply *reply)
{
	const struct made *made = call->kept;
	struct outcome outcome;
	int err = call_collect(call, reply, &outcome);

	if (err)
		return err;
	json_auto_t *json = token_json(made->token);
	int failed = json_object_set_new(json, "token", json_string(made->secret));
	return reply_json_take(reply, 201, failed ? NULL : TAKE_PTR(json));
}

static int make_token(struct call *call, struct made *made)
{
	int err = token_parse(call->request->body, call->request->body_len, &made->token, call->why);

	if (err)
		return err;
	if (made->token->expires_us && made->token->expires_us <= clock_wall_us())
		return why_set(call->why, ERR_INVALID, "expires", "is over already: give a later time, or none");
	token_make_secret(made->secret, made->token->hash);
	token_set_subject(made->token, call->subject, call->second);
	return ERR_OK;
}

int handle_token_put(struct call *call, struct reply *reply)
{
	int err = check_token(call);

	(void)reply;
	if (err)
		return err;
	struct made *made = calloc(1, sizeof *made);
	if (!made)
		return ERR_NOMEM;
	call_keep_take(call, made, made_free);
	err = make_token(call, made);
	if (err)
		return err;
	struct change change = {.kind = CHANGE_TOKEN_PUT, .token = token_ref(made->token)};
	return call_submit_take(call, &change, finish_put);
}

int handle_token_delete(struct call *call, struct reply *reply)
{
	struct change change = {.kind = CHANGE_TOKEN_DELETE};
	int err = check_token(call);

	(void)reply;
	return err ? err : call_submit_take(call, &change, call_finish_delete);
}
