#include "usercmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#include <sodium.h>

#include "cleanup.h"
#include "exitcode.h"
#include "journal.h"
#include "lifecycle.h"
#include "password.h"

#define DATABASE_WAIT_MS 10000

struct context {
	const struct settings *settings;
	struct store *store;
	struct journal *journal;
	const char *name; /* of the user */
};

static const struct principal command_line = {.role = ROLE_ADMIN};

static int report(int err, const char *text)
{
	fprintf(stderr, "silodns-api: %s\n", text);
	return err == ERR_UNAVAILABLE || err == ERR_BUSY || err == ERR_UNKNOWN_OUTCOME ? EXIT_DATABASE : EXIT_FAILED;
}

static int submit(struct context *ctx, struct change *change, struct outcome *ret_outcome)
{
	change->subject = ctx->name;
	change->actor = &command_line;
	int err = journal_submit(ctx->journal, change, ret_outcome);
	return err ? report(err, ret_outcome->why.text) : 0;
}

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
		return report(ERR_INVALID, "no password given: write it to standard input, or name a file by "
					   "--new-password-file");
	} else if (isatty(STDIN_FILENO)) {
		bool same = !read_line("Once more: ", again, sizeof again) && !strcmp(password, again);
		sodium_memzero(again, sizeof again);
		if (!same)
			return report(ERR_INVALID, "the two are not the same");
	}
	return password_check(password, strlen(password), &why) ? report(ERR_INVALID, why.text) : 0;
}

static int put_with_password(struct context *ctx, struct change *change, struct outcome *ret_outcome)
{
	char password[PASSWORD_LEN_MAX + 2] = "", hash[PASSWORD_HASH_MAX];
	int code = ask_password(ctx->settings, password);

	if (!code && password_hash(password, strlen(password), hash))
		code = report(ERR_NOMEM, "out of memory");
	sodium_memzero(password, sizeof password);
	if (code)
		return code;
	change->kind = CHANGE_USER_PUT;
	change->password_hash = hash;
	return submit(ctx, change, ret_outcome);
}

static int run_list(struct context *ctx)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;

	if (store_users(ctx->store, &users, &count))
		return report(ERR_NOMEM, "out of memory");
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

static bool exists(struct context *ctx)
{
	struct user user;

	return store_user(ctx->store, ctx->name, &user) == ERR_OK;
}

static int no_such_user(struct context *ctx)
{
	fprintf(stderr, "silodns-api: there is no user \"%s\"\n", ctx->name);
	return EXIT_FAILED;
}

static int run_add(struct context *ctx)
{
	struct change change = role_and_quota(ctx->settings);
	struct outcome outcome;

	change.precondition = (struct precondition){.kind = PRECONDITION_NONE_MATCH, .any = true};
	if (exists(ctx)) {
		fprintf(stderr, "silodns-api: user \"%s\" exists already: see user set and user passwd\n", ctx->name);
		return EXIT_FAILED;
	}
	int code = put_with_password(ctx, &change, &outcome);
	if (!code)
		printf("user %s added\n", ctx->name);
	return code;
}

static int run_set(struct context *ctx)
{
	struct change change = role_and_quota(ctx->settings);
	struct outcome outcome;

	if (!exists(ctx))
		return no_such_user(ctx);
	if (!change.set_role && !change.set_quota) {
		fprintf(stderr, "silodns-api: user set needs --role or --quota\n");
		return EXIT_USAGE;
	}
	int code = submit(ctx, &change, &outcome);
	if (!code)
		printf("user %s %s\n", ctx->name, outcome.changed ? "changed" : "was so already");
	return code;
}

static int run_passwd(struct context *ctx)
{
	struct change change = {0};
	struct outcome outcome;

	if (!exists(ctx))
		return no_such_user(ctx);
	int code = put_with_password(ctx, &change, &outcome);
	if (!code)
		printf("password of %s changed\n", ctx->name);
	return code;
}

static int run_remove(struct context *ctx)
{
	struct change change = {.kind = CHANGE_USER_DELETE};
	struct outcome outcome;
	int code = submit(ctx, &change, &outcome);

	if (!code)
		printf("user %s removed\n", ctx->name);
	return code;
}

static const struct {
	const char *word;
	int args;
	int (*run)(struct context *ctx);
} commands[] = {
	{"list", 0, run_list},     {"add", 1, run_add},       {"set", 1, run_set},
	{"passwd", 1, run_passwd}, {"remove", 1, run_remove},
};

static int wait_for_database(struct context *ctx)
{
	int64_t until = clock_mono_ms() + DATABASE_WAIT_MS;
	struct journal_status status;

	for (;;) {
		journal_status(ctx->journal, &status);
		if (status.database_up)
			return 0;
		if (clock_mono_ms() >= until || lifecycle_wait(20, -1) == LIFECYCLE_STOP)
			break;
	}
	fprintf(stderr, "silodns-api: cannot reach the database: %s\n", status.reason);
	return EXIT_DATABASE;
}

int usercmd_run(const struct settings *settings, char **args, int arg_count)
{
	struct context ctx = {.settings = settings};
	const struct journal_settings journal_settings = {
		.db = settings_db(settings), .poll_ms = 1000, .migrate = true};
	struct why why;
	size_t i = 0, known = sizeof commands / sizeof commands[0];

	while (i < known &&
	       (arg_count < 1 || strcmp(args[0], commands[i].word) != 0 || arg_count != commands[i].args + 1))
		i++;
	if (i == known) {
		fprintf(stderr, "silodns-api: user list, or user add, set, passwd or remove NAME\n");
		return EXIT_USAGE;
	}
	if (commands[i].args) {
		ctx.name = args[1];
		if (user_name_check(ctx.name, strlen(ctx.name), &why)) {
			fprintf(stderr, "silodns-api: %s\n", why.text);
			return EXIT_USAGE;
		}
	}
	ctx.store = store_new();
	if (!ctx.store || journal_start(ctx.store, &journal_settings, &ctx.journal)) {
		store_free(ctx.store);
		return report(ERR_NOMEM, "out of memory");
	}
	int code = wait_for_database(&ctx);
	if (!code)
		code = commands[i].run(&ctx);
	journal_stop(ctx.journal);
	store_free(ctx.store);
	return code;
}
