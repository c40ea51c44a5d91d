/*
 * The hub itself: builds the rooms, serves until it is told to stop, and takes the rooms apart again.
 */
#ifndef SILODNS_API_SERVE_H
#define SILODNS_API_SERVE_H

#include "api/settings/settings.h"

/* After lifecycle_init(). Returns the process's exit code (exitcode.h); what went wrong is in the log. */
int serve(const struct settings *settings);

#endif
