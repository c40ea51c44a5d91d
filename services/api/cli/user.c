#include "api/cli/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#include <sodium.h>

#include "api/auth/password.h"
#include "api/cli/cmd.h"
#include "api/settings/exitcode.h"
#include "common/base/cleanup.h"
#include "common/base/lifecycle.h"

/* One line from standard input, without echo where that is a terminal. */
static int read_line(const char *prompt, char *line, size_t size)
{
	struct termios before, silent;
	bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;

	if (terminal) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
		fprintf(stderr, "%s", prompt);
	}
	/* Signals are blocked: Ctrl-C arrives here. */
	bool typed = lifecycle_wait(-1, STDIN_FILENO) == LIFECYCLE_READABLE;
	char *got = typed ? fgets(line, (int)size, stdin) : NULL;
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
		fputc('\n', stderr);
	}
	if (!got)
		return ERR_INVALID;
	line[strcspn(line, "\n")] = '\0';
	return ERR_OK;
}

static int ask_password(const struct settings *settings, char password[static PASSWORD_LEN_MAX + 2])
{
	char again[PASSWORD_LEN_MAX + 2] = "";
	struct why why;

	if (settings->new_password) {
		snprintf(password, PASSWORD_LEN_MAX + 2, "%s", settings->new_password);
	} else if (read_line("New password: ", password, PASSWORD_LEN_MAX + 2)) {
		return cmd_fail(EXIT_FAILED, "no password given: write it to standard input, or name a file by "
					     "--new-password-file");
	} else if (isatty(STDIN_FILENO)) {
		bool same = !read_line("Once more: ", again, sizeof again) && !strcmp(password, again);
		sodium_memzero(again, sizeof again);
		if (!same)
			return cmd_fail(EXIT_FAILED, "the two are not the same");
	}
	return password_check(password, strlen(password), &why) ? cmd_fail(EXIT_FAILED, "%s", why.text) : 0;
}

static int put_with_password_take(struct cmd *cmd, struct change *change, struct outcome *ret_outcome)
{
	char password[PASSWORD_LEN_MAX + 2] = "";
	int code = ask_password(cmd->settings, password);

	if (!code && password_hash(password, strlen(password), change->password_hash))
		code = cmd_fail(EXIT_FAILED, "out of memory");
	sodium_memzero(password, sizeof password);
	if (code)
		return code;
	change->kind = CHANGE_USER_PUT;
	return cmd_submit_take(cmd, cmd->args[0], change, ret_outcome);
}

static int run_list(struct cmd *cmd)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;

	if (store_users(cmd->store, &users, &count))
		return cmd_fail(EXIT_FAILED, "out of memory");
	printf("%-32s %-7s %7s %7s\n", "NAME", "ROLE", "SILOS", "QUOTA");
	for (size_t i = 0; i < count; i++) {
		char quota[16] = "-";
		if (users[i].role != ROLE_ADMIN)
			snprintf(quota, sizeof quota, "%u", users[i].quota);
		printf("%-32s %-7s %7u %7s\n", users[i].name, users[i].role == ROLE_ADMIN ? "admin" : "common",
		       users[i].silos, quota);
	}
	return 0;
}

static struct change role_and_quota(const struct settings *settings)
{
	return (struct change){.kind = CHANGE_USER_PUT,
			       .set_role = settings->role != NULL,
			       .role = settings->role && !strcmp(settings->role, "admin") ? ROLE_ADMIN : ROLE_COMMON,
			       .set_quota = settings->quota >= 0,
			       .quota = settings->quota >= 0 ? (uint32_t)settings->quota : 0};
}

static bool exists(struct cmd *cmd)
{
	struct user user;

	return store_user(cmd->store, cmd->args[0], &user) == ERR_OK;
}

static int run_add(struct cmd *cmd)
{
	struct change change = role_and_quota(cmd->settings);
	struct outcome outcome;

	change.precondition = (struct precondition){.kind = PRECONDITION_NONE_MATCH, .any = true};
	if (exists(cmd))
		return cmd_fail(EXIT_FAILED, "user \"%s\" exists already: see user set and user passwd", cmd->args[0]);
	int code = put_with_password_take(cmd, &change, &outcome);
	if (!code)
		printf("user %s added\n", cmd->args[0]);
	return code;
}

static int run_set(struct cmd *cmd)
{
	struct change change = role_and_quota(cmd->settings);
	struct outcome outcome;

	if (!exists(cmd))
		return cmd_fail(EXIT_FAILED, "there is no user \"%s\"", cmd->args[0]);
	if (!change.set_role && !change.set_quota)
		return cmd_fail(EXIT_USAGE, "user set needs --role or --quota");
	int code = cmd_submit_take(cmd, cmd->args[0], &change, &outcome);
	if (!code)
		printf("user %s %s\n", cmd->args[0], outcome.changed ? "changed" : "was so already");
	return code;
}

static int run_passwd(struct cmd *cmd)
{
	struct change change = {0};
	struct outcome outcome;

	if (!exists(cmd))
		return cmd_fail(EXIT_FAILED, "there is no user \"%s\"", cmd->args[0]);
	int code = put_with_password_take(cmd, &change, &outcome);
	if (!code)
		printf("password of %s changed\n", cmd->args[0]);
	return code;
}

static int run_remove(struct cmd *cmd)
{
	struct change change = {.kind = CHANGE_USER_DELETE};
	struct outcome outcome;
	int code = cmd_submit_take(cmd, cmd->args[0], &change, &outcome);

	if (!code)
		printf("user %s removed\n", cmd->args[0]);
	return code;
}

static const struct cmd_word words[] = {
	{"list", 0, 0, run_list},     {"add", 1, 1, run_add},       {"set", 1, 1, run_set},
	{"passwd", 1, 1, run_passwd}, {"remove", 1, 1, run_remove},
};

static int check_name(char *const args[], int count, struct why *ret_why)
{
	return count ? user_name_check(args[0], strlen(args[0]), ret_why) : ERR_OK;
}

int cli_user_run(const struct settings *settings, char **args, int arg_count)
{
	return cmd_run(settings, words, sizeof words / sizeof words[0],
		       "user list, or user add, set, passwd or remove NAME", check_name, args, arg_count);
}
