/*
 * The hosts file as a file: reads it, and replaces its contents durably.
 *
 * - At every instant the file is the old one or the new one, whole: a temporary file in the same directory gets the
 *   owner, mode and extended attributes (ACLs, SELinux label) of the old one, is synced and renamed over it.
 * - A file that is itself a mount point (a container's /etc/hosts) cannot be renamed over and is written in place
 *   (inplace.h). Only that, EBUSY and EXDEV choose this way; every other failure leaves the file alone.
 * - A symbolic link is followed: its target is replaced, the link stays.
 * - What was written by somebody else since it was read is not overwritten (but for the instant of the rename itself).
 *
 * All failures come with a sentence in `ret_why`. One thread.
 */
#ifndef SILODNS_REPLACE_H
#define SILODNS_REPLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* Where the file really is. */
struct replace_target {
	char path[PATH_MAX]; /* links followed */
	char dir[PATH_MAX];
	const char *base;      /* inside `path`: do not copy the struct */
	const char *state_dir; /* for what an in-place write needs; borrowed, or `dir` when none was given */
};

/* Which state of the file a text is. */
struct replace_stamp {
	bool exists;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

enum replace_way { REPLACE_BY_RENAME, REPLACE_IN_PLACE };

struct replace_texts {
	const char *old, *new;
	size_t old_len, new_len;
};

/* `state_dir` may be NULL. ERR_SYSTEM: the directory does not exist, a link points nowhere. */
int replace_resolve(const char *path, const char *state_dir, struct replace_target *ret_target, struct why *ret_why);

/* Appends the text to `out` (never leaves out->data NULL). A file that does not exist is an empty text and `exists` is
 * false. ERR_SYSTEM, ERR_INVALID (not a regular file), ERR_TOO_LARGE, ERR_NOMEM. */
int replace_read(const struct replace_target *target, size_t max, struct buf *out, struct replace_stamp *ret_stamp,
		 struct why *ret_why);

/* ERR_PRECONDITION: the file is no longer the one that `expected` says; read again. ERR_SYSTEM, ERR_NOMEM: not written.
 * A file that does not exist yet is made with mode 0644. */
int replace_write(const struct replace_target *target, const struct replace_stamp *expected,
		  const struct replace_texts *texts, enum replace_way *ret_way, struct why *ret_why);

void replace_stat(const struct replace_target *target, struct replace_stamp *ret_stamp);
bool replace_same(const struct replace_stamp *a, const struct replace_stamp *b);

#endif
