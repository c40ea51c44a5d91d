/*
 * A file that comes into being whole: written under a temporary name in its own directory, made durable, then renamed.
 * A temporary name carries the name of the file it is for, and its writer holds a lock on it, so that what a killed
 * process left behind can be told from what another one is writing. Failures are ERR_SYSTEM with errno.
 */
#ifndef SILODNS_TEMPFILE_H
#define SILODNS_TEMPFILE_H

#include <limits.h>
#include <stddef.h>

#include "common/base/err.h"

struct tempfile {
	char path[PATH_MAX]; /* "" once renamed */
	int fd;
};

#define TEMPFILE_INIT ((struct tempfile){.fd = -1})

int tempfile_create(const char *dir, const char *base, struct tempfile *ret_temp); /* mode 0600 */
int tempfile_fill(struct tempfile *temp, const char *data, size_t len);
int tempfile_sync(const struct tempfile *temp);
/* Renames it to `to` (in the same directory) and syncs the directory. What it holds must be synced: else a power
 * failure may leave an empty file of that name. */
int tempfile_commit(struct tempfile *temp, const char *dir, const char *to);
void tempfile_release(struct tempfile *temp); /* removes what was not committed */

/* Removes temporary files for `base` that no living process holds. Best effort. */
void tempfile_clean(const char *dir, const char *base);

int sync_directory(const char *dir);

#endif
