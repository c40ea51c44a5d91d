/*
 * silodns-api secrets DIR [NAME…]: the random secrets that a first start needs (db-password and admin-password, or
 * those that are named), each in a file of its own. What is there already stays as it is, so it may run at every start.
 */
#ifndef SILODNS_API_CLI_SECRETS_H
#define SILODNS_API_CLI_SECRETS_H

#include "api/settings/settings.h"

/* Prints which files it made, never their contents; returns the exit code. */
int cli_secrets_run(const struct settings *settings, const char *dir, char *const *names, int count);

#endif
