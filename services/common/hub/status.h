/*
 * What a client program last knew about itself, in a small file, so that its health check (the same binary, `--check`)
 * and a person can ask without a port. Written atomically (temporary file in the same directory, rename). One writer.
 */
#ifndef SILODNS_HUB_STATUS_H
#define SILODNS_HUB_STATUS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

/* <state_dir>/<program>.json. ERR_TOO_LARGE. */
int status_path(const char *state_dir, const char *program, char ret_path[static PATH_MAX]);

/* Writes {"ok":…,"time":"<RFC 3339, UTC>","revision":…,"detail":"…"}. ERR_SYSTEM (errno). */
int status_write(const char *path, bool ok, uint64_t revision, const char *detail);

/* ERR_OK when the file says ok and is not older than `max_age_ms`; otherwise ERR_UNAVAILABLE and a sentence that says
 * which of the two (or that there is no such file, or that it is not readable as one). */
int status_check(const char *path, int64_t max_age_ms, struct why *ret_why);

#endif
