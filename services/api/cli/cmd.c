#include "api/cli/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/settings/exitcode.h"
#include "common/base/clock.h"
#include "common/base/lifecycle.h"

#define DATABASE_WAIT_MS 10000

static const struct principal command_line = {.role = ROLE_ADMIN};

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

int cmd_submit_take(struct cmd *cmd, const char *subject, struct change *change, struct outcome *ret_outcome)
{
	snprintf(change->subject, sizeof change->subject, "%s", subject);
	change_set_actor(change, &command_line);
	int err = queue_change_take(cmd->queue, change, ret_outcome);
	bool away = err == ERR_UNAVAILABLE || err == ERR_BUSY || err == ERR_UNKNOWN_OUTCOME;
	return err ? cmd_fail(away ? EXIT_DATABASE : EXIT_FAILED, "%s", ret_outcome->why.text) : 0;
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

int cmd_run(const struct settings *settings, const struct cmd_word *words, size_t word_count, const char *usage,
	    int (*check)(char *const args[], int count, struct why *ret_why), char **args, int arg_count)
{
	struct cmd cmd = {.settings = settings, .args = args + 1, .arg_count = arg_count - 1};
	const struct writer_settings writer_settings = {.db = settings->db, .poll_ms = 1000, .migrate = true};
	struct writer *writer = NULL;
	struct why why;
	size_t i = 0;

	while (i < word_count && (arg_count < 1 || strcmp(args[0], words[i].word) != 0 ||
				  cmd.arg_count < words[i].min || cmd.arg_count > words[i].max))
		i++;
	if (i == word_count)
		return cmd_fail(EXIT_USAGE, "%s", usage);
	if (check(cmd.args, cmd.arg_count, &why))
		return cmd_fail(EXIT_USAGE, "%s", why.text);
	cmd.store = store_new();
	int code = cmd.store && !queue_new(&cmd.queue) && !writer_start(cmd.store, cmd.queue, &writer_settings, &writer)
			   ? wait_for_database(&cmd)
			   : cmd_fail(EXIT_FAILED, "out of memory");
	if (!code)
		code = words[i].run(&cmd);
	writer_stop(writer);
	queue_free(cmd.queue);
	store_free(cmd.store);
	return code;
}
