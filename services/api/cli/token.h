/*
 * silodns-api token …: tokens managed on the hub's own machine, see cmd.h.
 */
#ifndef SILODNS_API_CLI_TOKEN_H
#define SILODNS_API_CLI_TOKEN_H

#include "api/settings/settings.h"

/* `args` are the words after "token". Prints what it did, or why not; returns the exit code. */
int cli_token_run(const struct settings *settings, char **args, int arg_count);

#endif
