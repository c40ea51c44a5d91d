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

/* The new one's hash. */
static int ask_password(const struct settings *settings, char ret_hash[static PASSWORD_HASH_MAX])
{
	char password[PASSWORD_LEN_MAX + 2] = "", again[PASSWORD_LEN_MAX + 2] = "";
	struct why why;
	int code = 0;

	if (settings->new_password)
		snprintf(password, sizeof password, "%s", settings->new_password);
	else if (read_line("New password: ", password, sizeof password))
		code = cmd_fail(EXIT_FAILED, "no password given: write it to standard input, or name a file by "
					     "--new-password-file");
	else if (isatty(STDIN_FILENO) &&
		 (read_line("Once more: ", again, sizeof again) || strcmp(password, again) != 0))
		code = cmd_fail(EXIT_FAILED, "the two are not the same");
	if (!code && password_check(password, strlen(password), &why))
		code = cmd_fail(EXIT_FAILED, "%s", why.text);
	if (!code && password_hash(password, strlen(password), ret_hash))
		code = cmd_fail(EXIT_FAILED, "out of memory");
	sodium_memzero(password, sizeof password);
	sodium_memzero(again, sizeof again);
	return code;
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

/* Whether there is to be such a user or not. */
static int expect_user(struct cmd *cmd, bool there)
{
	struct user user;
	const char *name = cmd->args[0];

	if (!store_user(cmd->store, name, &user) == there)
		return 0;
	return there ? cmd_fail(EXIT_FAILED, "there is no user \"%s\"", name)
		     : cmd_fail(EXIT_FAILED, "user \"%s\" exists already: see user set and user passwd", name);
}

static struct change role_and_quota(const struct settings *settings)
{
	return (struct change){.kind = CHANGE_USER_PUT,
			       .set_role = settings->role != NULL,
			       .role = settings->role && !strcmp(settings->role, "admin") ? ROLE_ADMIN : ROLE_COMMON,
			       .set_quota = settings->quota >= 0,
			       .quota = settings->quota >= 0 ? (uint32_t)settings->quota : 0};
}

static int run_add(struct cmd *cmd)
{
	struct change change = role_and_quota(cmd->settings);

	change.precondition = (struct precondition){.kind = PRECONDITION_NONE_MATCH, .any = true};
	int code = expect_user(cmd, false);
	if (!code)
		code = ask_password(cmd->settings, change.password_hash);
	return code ? code : cmd_submit_take(cmd, &change, "user", "added");
}

static int run_set(struct cmd *cmd)
{
	struct change change = role_and_quota(cmd->settings);
	int code = expect_user(cmd, true);

	if (!code && !change.set_role && !change.set_quota)
		code = cmd_fail(EXIT_USAGE, "user set needs --role or --quota");
	return code ? code : cmd_submit_take(cmd, &change, "user", "changed");
}

static int run_passwd(struct cmd *cmd)
{
	struct change change = {.kind = CHANGE_USER_PUT};
	int code = expect_user(cmd, true);

	if (!code)
		code = ask_password(cmd->settings, change.password_hash);
	return code ? code : cmd_submit_take(cmd, &change, "password of", "changed");
}

static int run_remove(struct cmd *cmd)
{
	struct change change = {.kind = CHANGE_USER_DELETE};

	return cmd_submit_take(cmd, &change, "user", "removed");
}

const struct cmd_word cmd_user[] = {
	{"list", 0, 0, run_list},     {"add", 1, 1, run_add},       {"set", 1, 1, run_set},
	{"passwd", 1, 1, run_passwd}, {"remove", 1, 1, run_remove}, {0},
};
