/*
 * silodns-api secrets DIR [NAME…]: the random secrets that a first start needs (db-password and admin-password, or
 * those that are named), each in a file of its own. What is there already stays as it is, so it may run at every start.
 */
#ifndef SILODNS_SECRETS_H
#define SILODNS_SECRETS_H

#include "settings.h"

/* Prints which files it made, never their contents; returns the exit code. */
int secrets_run(const struct settings *settings, const char *dir, char *const *names, int count);

#endif
