#include "api/cli/token.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "api/auth/password.h"
#include "api/cli/cmd.h"
#include "api/settings/exitcode.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

static void subject_of(const struct cmd *cmd, char ret_subject[static TOKEN_SUBJECT_MAX + 1])
{
	snprintf(ret_subject, TOKEN_SUBJECT_MAX + 1, "%s/%s", cmd->args[0], cmd->args[1]);
}

/* --- add ---------------------------------------------------------------------------------------------------------- */

/* NULL for an empty list, as it is no member then. */
static json_t *list_json(const struct conf_list *list)
{
	return jsontext_list(list->items, list->count);
}

static char *scope_text(const struct settings *settings)
{
	json_auto_t *json = json_object();
	json_int_t family = settings->for_family ? settings->for_family[0] - '0' : 0;
	char expires[CLOCK_TEXT_MAX];

	clock_format(clock_wall_us() + settings->expires_ms * 1000, expires);
	int err = jsontext_set(json, "verbs", settings->verbs.count, list_json(&settings->verbs));
	err |= jsontext_set(json, "silos", settings->for_silos.count, list_json(&settings->for_silos));
	err |= jsontext_set(json, "hostnames", settings->for_hostnames.count, list_json(&settings->for_hostnames));
	err |= jsontext_set(json, "family", settings->for_family, json_integer(family));
	err |= jsontext_set(json, "networks", settings->from_networks.count, list_json(&settings->from_networks));
	err |= jsontext_set(json, "expires", settings->expires_ms, json_string(expires));
	err |= jsontext_set(json, "unused", settings->unused_ms, json_integer(settings->unused_ms / 1000));
	return err ? NULL : json_dumps(json, JSON_COMPACT);
}

static int run_add(struct cmd *cmd)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	_cleanup_free_ char *scope = scope_text(cmd->settings);
	char subject[TOKEN_SUBJECT_MAX + 1], secret[TOKEN_SECRET_LEN + 1];
	struct change change = {.kind = CHANGE_TOKEN_PUT};
	struct outcome outcome;
	struct why why = {0};

	if (!scope)
		return cmd_fail(EXIT_FAILED, "out of memory");
	if (token_parse(scope, strlen(scope), &token, &why))
		return cmd_fail(EXIT_USAGE, "%s %s", why.field, why.text);
	token_make_secret(secret, token->hash);
	token_set_subject(token, cmd->args[0], cmd->args[1]);
	subject_of(cmd, subject);
	change.token = TAKE_PTR(token);
	int code = cmd_submit_take(cmd, subject, &change, &outcome);
	/* The secret alone on standard output, so that it can go straight into a file. */
	if (!code) {
		printf("%s\n", secret);
		fprintf(stderr, "token %s made; its secret is not shown again\n", subject);
	}
	sodium_memzero(secret, sizeof secret);
	return code;
}

/* --- list and remove ---------------------------------------------------------------------------------------------- */

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
	char subject[TOKEN_SUBJECT_MAX + 1];
	struct change change = {.kind = CHANGE_TOKEN_DELETE};
	struct outcome outcome;

	subject_of(cmd, subject);
	int code = cmd_submit_take(cmd, subject, &change, &outcome);
	if (!code)
		printf("token %s revoked\n", subject);
	return code;
}

static const struct cmd_word words[] = {{"list", 0, 1, run_list}, {"add", 2, 2, run_add}, {"remove", 2, 2, run_remove}};

static int check_names(char *const args[], int count, struct why *ret_why)
{
	int err = count > 0 ? user_name_check(args[0], strlen(args[0]), ret_why) : ERR_OK;

	return err || count < 2 ? err : token_name_check(args[1], strlen(args[1]), ret_why);
}

int cli_token_run(const struct settings *settings, char **args, int arg_count)
{
	return cmd_run(settings, words, sizeof words / sizeof words[0],
		       "token list [USER], or token add or remove USER NAME", check_names, args, arg_count);
}
