/*
 * silodns-api user …: users managed on the hub's own machine, straight on the database, by way of a journal like any
 * other hub on it; so a running hub knows within one poll.
 */
#ifndef SILODNS_API_CLI_USER_H
#define SILODNS_API_CLI_USER_H

#include "api/settings/settings.h"

/* `args` are the words after "user". Prints what it did, or why not; returns the exit code. */
int cli_user_run(const struct settings *settings, char **args, int arg_count);

#endif
