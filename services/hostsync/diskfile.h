/*
 * The hosts file as a file: where it is, which state of it a text is, and reading it. Failures come with a sentence in
 * `ret_why`. One thread.
 */
#ifndef SILODNS_DISKFILE_H
#define SILODNS_DISKFILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* Where the file really is. */
struct diskfile {
	char path[PATH_MAX]; /* links followed */
	char dir[PATH_MAX];
	const char *base;      /* inside `path`: do not copy the struct */
	const char *state_dir; /* for what an in-place write needs; borrowed, or `dir` when none was given */
};

/* Which state of the file a text is. */
struct diskfile_stamp {
	bool exists;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct diskfile_texts {
	const char *old, *new;
	size_t old_len, new_len;
};

/* `state_dir` may be NULL. ERR_SYSTEM: the directory does not exist, a link points nowhere. */
int diskfile_resolve(const char *path, const char *state_dir, struct diskfile *ret_file, struct why *ret_why);

/* Appends the text to `out` (never leaves out->data NULL). A file that does not exist is an empty text and `exists` is
 * false. ERR_SYSTEM, ERR_INVALID (not a regular file), ERR_TOO_LARGE, ERR_NOMEM. */
int diskfile_read(const struct diskfile *file, size_t max, struct buf *out, struct diskfile_stamp *ret_stamp,
		  struct why *ret_why);

void diskfile_stat(const struct diskfile *file, struct diskfile_stamp *ret_stamp);
bool diskfile_same(const struct diskfile_stamp *a, const struct diskfile_stamp *b);

/* ERR_SYSTEM, with `what`, the path and errno as the sentence. */
int diskfile_fail(struct why *ret_why, const char *what, const char *path);

#endif
