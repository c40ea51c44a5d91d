/*
 * What the subcommands that change the hub have in common: straight on the database, by way of a journal like any other
 * hub's on it; so a running hub knows within one poll.
 */
#ifndef SILODNS_API_CLI_CMD_H
#define SILODNS_API_CLI_CMD_H

#include <stddef.h>

#include "api/journal/writer.h"
#include "api/settings/settings.h"

struct cmd {
	const struct settings *settings;
	struct store *store;
	struct queue *queue;
	char **args; /* behind the word, checked */
	int arg_count;
};

struct cmd_word {
	const char *word;
	int min, max; /* arguments */
	int (*run)(struct cmd *cmd);
};

/* Finds the word, has its arguments checked, and runs it with the database there. `args` begins with the word. Prints
 * what is wrong; returns the exit code. */
int cmd_run(const struct settings *settings, const struct cmd_word *words, size_t word_count, const char *usage,
	    int (*check)(char *const args[], int count, struct why *ret_why), char **args, int arg_count);

/* Prints the reason, as a line to standard error; returns `code`. */
int cmd_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As whoever may use the database: everything is allowed. Takes the change. Reports failure; 0 or an exit code. */
int cmd_submit_take(struct cmd *cmd, const char *subject, struct change *change, struct outcome *ret_outcome);

#endif
