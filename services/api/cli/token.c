#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "api/cli/cmd.h"
#include "api/settings/exitcode.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

static int set_list(json_t *json, const char *name, const struct conf_list *list)
{
	return jsontext_set(json, name, list->count, jsontext_list(list->items, list->count));
}

static char *scope_text(const struct settings *settings)
{
	json_auto_t *json = json_object();
	json_int_t family = settings->for_family ? settings->for_family[0] - '0' : 0;
	char expires[CLOCK_TEXT_MAX];

	clock_format(clock_wall_us() + settings->expires_ms * 1000, expires);
	int err = set_list(json, "verbs", &settings->verbs);
	err |= set_list(json, "silos", &settings->for_silos);
	err |= set_list(json, "hostnames", &settings->for_hostnames);
	err |= jsontext_set(json, "family", settings->for_family, json_integer(family));
	err |= set_list(json, "networks", &settings->from_networks);
	err |= jsontext_set(json, "expires", settings->expires_ms, json_string(expires));
	err |= jsontext_set(json, "unused", settings->unused_ms, json_integer(settings->unused_ms / 1000));
	return err ? NULL : json_dumps(json, JSON_COMPACT);
}

static int run_add(struct cmd *cmd)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	_cleanup_free_ char *scope = scope_text(cmd->settings);
	struct change change = {.kind = CHANGE_TOKEN_PUT};
	char secret[TOKEN_SECRET_LEN + 1];
	struct why why = {0};

	if (!scope)
		return cmd_fail(EXIT_FAILED, "out of memory");
	if (token_parse(scope, strlen(scope), &token, &why))
		return cmd_fail(EXIT_USAGE, "%s %s", why.field, why.text);
	token_make_secret(secret, token->hash);
	token_set_subject(token, cmd->args[0], cmd->args[1]);
	change.token = TAKE_PTR(token);
	int code = cmd_submit_take(cmd, &change, NULL, NULL);
	/* The secret alone on standard output, so that it can go straight into a file. */
	if (!code) {
		printf("%s\n", secret);
		fprintf(stderr, "token %s/%s made; its secret is not shown again\n", cmd->args[0], cmd->args[1]);
	}
	sodium_memzero(secret, sizeof secret);
	return code;
}

static int run_list(struct cmd *cmd)
{
	struct user user = {0};
	struct token **tokens;
	char used[CLOCK_TEXT_MAX];
	size_t count;

	if (cmd->arg_count && store_user(cmd->store, cmd->args[0], &user))
		return cmd_fail(EXIT_FAILED, "there is no user \"%s\"", cmd->args[0]);
	if (store_tokens(cmd->store, user.id, &tokens, &count))
		return cmd_fail(EXIT_FAILED, "out of memory");
	printf("%-32s %-20s %s\n", "TOKEN", "USED", "SCOPE");
	for (size_t i = 0; i < count; i++) {
		int64_t used_us = atomic_load(&tokens[i]->used_us);
		clock_format(used_us / 1000000 * 1000000, used);
		printf("%-32s %.19s%-*s %s\n", tokens[i]->subject, used_us ? used : "never", used_us ? 1 : 15,
		       used_us ? "Z" : "", tokens[i]->document);
	}
	store_tokens_release(tokens, count);
	return 0;
}

static int run_remove(struct cmd *cmd)
{
	struct change change = {.kind = CHANGE_TOKEN_DELETE};

	return cmd_submit_take(cmd, &change, "token", "revoked");
}

const struct cmd_word cmd_token[] = {
	{"list", 0, 1, run_list}, {"add", 2, 2, run_add}, {"remove", 2, 2, run_remove}, {0}};
