/*
 * The commands for the hub's own machine. Those that change the hub go straight to the database, by way of a journal
 * like any other hub's; so a running hub knows within one poll. Each prints what it did, or why not.
 */
#ifndef SILODNS_API_CLI_CMD_H
#define SILODNS_API_CLI_CMD_H

#include "api/journal/writer.h"
#include "api/settings/settings.h"

struct cmd {
	const struct settings *settings;
	struct store *store;
	struct queue *queue;
	char **args; /* behind the command's two words: a user's name, a token's name, checked */
	int arg_count;
};

/* A row for each command, such as "user add"; ends with an empty one. */
struct cmd_word {
	const char *word;
	int min, max; /* arguments */
	int (*run)(struct cmd *cmd);
};
extern const struct cmd_word cmd_user[], cmd_token[];

/* Finds the word, and runs it with the database there. `args` begins with the word, and `usage` says what it may be.
 * Returns the exit code. */
int cmd_run(const struct settings *settings, const struct cmd_word *words, const char *usage, char **args,
	    int arg_count);

/* The random secrets that a first start needs (db-password and admin-password, or those that are named), each in a file
 * of its own in `dir`. What is there already stays as it is, so it may run at every start. Prints which files it made,
 * never their contents; returns the exit code. */
int cmd_secrets(const struct settings *settings, const char *dir, char *const *names, int count);

/* Prints the reason, as a line to standard error; returns `code`. */
int cmd_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As whoever may use the database: everything is allowed. Sets the subject to the user, or the user's token, that the
 * arguments name, and takes the change. Prints "`what` SUBJECT `done`" (`what` NULL: nothing), or the failure; 0 or an
 * exit code. */
int cmd_submit_take(struct cmd *cmd, struct change *change, const char *what, const char *done);

#endif
