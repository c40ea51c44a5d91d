#include "api/cli/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/settings/exitcode.h"
#include "common/base/clock.h"
#include "common/base/lifecycle.h"

#define DATABASE_WAIT_MS 10000

int cmd_fail(int code, const char *format, ...)
{
	va_list args;

	fputs("silodns-api: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

int cmd_submit_take(struct cmd *cmd, struct change *change, const char *what, const char *done)
{
	static const struct principal command_line = {.role = ROLE_ADMIN};
	const char *user = cmd->args[0], *slash = cmd->arg_count > 1 ? "/" : "", *token = *slash ? cmd->args[1] : "";
	struct outcome outcome;

	snprintf(change->subject, sizeof change->subject, "%s%s%s", user, slash, token);
	change_set_actor(change, &command_line);
	int err = queue_change_take(cmd->queue, change, &outcome);
	bool away = err == ERR_UNAVAILABLE || err == ERR_BUSY || err == ERR_UNKNOWN_OUTCOME;
	if (err)
		return cmd_fail(away ? EXIT_DATABASE : EXIT_FAILED, "%s", outcome.why.text);
	if (what)
		printf("%s %s%s%s %s\n", what, user, slash, token, outcome.changed ? done : "was so already");
	return 0;
}

static int wait_for_database(struct cmd *cmd)
{
	int64_t until = clock_mono_ms() + DATABASE_WAIT_MS;
	struct queue_status status;

	for (;;) {
		queue_status(cmd->queue, &status);
		if (status.database_up)
			return 0;
		if (clock_mono_ms() >= until || lifecycle_wait(20, -1) == LIFECYCLE_STOP)
			break;
	}
	return cmd_fail(EXIT_DATABASE, "cannot reach the database: %s", status.reason);
}

/* Those that stand in `args` after the word. */
static int check_names(char *const args[], int count, struct why *ret_why)
{
	int err = ERR_OK;

	for (int i = 0; i < count && !err; i++)
		err = user_name_check(args[i], strlen(args[i]), ret_why);
	return err;
}

int cmd_run(const struct settings *settings, const struct cmd_word *words, const char *usage, char **args,
	    int arg_count)
{
	struct cmd cmd = {.settings = settings, .args = args + 1, .arg_count = arg_count - 1};
	const struct writer_settings writer_settings = {.db = settings->db, .poll_ms = 1000, .migrate = true};
	const struct cmd_word *word = words;
	struct writer *writer = NULL;
	struct why why;

	while (word->word && (arg_count < 1 || strcmp(args[0], word->word) != 0))
		word++;
	if (!word->word || cmd.arg_count < word->min || cmd.arg_count > word->max)
		return cmd_fail(EXIT_USAGE, "%s", usage);
	if (check_names(cmd.args, cmd.arg_count, &why))
		return cmd_fail(EXIT_USAGE, "%s", why.text);
	cmd.store = store_new();
	int code = cmd.store && !queue_new(&cmd.queue) && !writer_start(cmd.store, cmd.queue, &writer_settings, &writer)
			   ? wait_for_database(&cmd)
			   : cmd_fail(EXIT_FAILED, "out of memory");
	if (!code)
		code = word->run(&cmd);
	writer_stop(writer);
	queue_free(cmd.queue);
	store_free(cmd.store);
	return code;
}
