/*
 * silodns-api token …: tokens managed on the hub's own machine, see cmd.h.
 */
#ifndef SILODNS_TOKENCMD_H
#define SILODNS_TOKENCMD_H

#include "settings.h"

/* `args` are the words after "token". Prints what it did, or why not; returns the exit code. */
int tokencmd_run(const struct settings *settings, char **args, int arg_count);

#endif
