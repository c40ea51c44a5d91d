#include "hostsync/diskfile.h"

#include <errno.h>
#include <string.h>

#include "common/base/cleanup.h"

#define READ_TRIES 5

int diskfile_fail(struct why *why, const char *what, const char *path)
{
	return why_set(why, ERR_SYSTEM, "", "%s %s: %s", what, path, strerror(errno));
}

/* ---- where it is ---- */

/* realpath() of a file that does not exist yet: the directory must. */
static int resolve_missing(const char *path, char *ret_path)
{
	struct stat st;
	char dir[PATH_MAX], real[PATH_MAX];
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	if (lstat(path, &st) == 0 || base[0] == '\0') /* a link to nowhere: do not guess what was meant */
		return ERR_SYSTEM;
	int n = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (n < 0 || (size_t)n >= sizeof(dir) || !realpath(dir, real))
		return ERR_SYSTEM;
	n = snprintf(ret_path, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base);
	return n > 0 && n < PATH_MAX ? 0 : ERR_SYSTEM;
}

int diskfile_resolve(const char *path, const char *state_dir, struct diskfile *ret_file, struct why *ret_why)
{
	char real[PATH_MAX];
	if (!realpath(path, real)) {
		if (errno != ENOENT || resolve_missing(path, real) < 0)
			return diskfile_fail(ret_why, "cannot find", path);
	}
	memcpy(ret_file->path, real, sizeof(real));
	char *slash = strrchr(ret_file->path, '/');
	ret_file->base = slash + 1;
	memcpy(ret_file->dir, real, sizeof(real));
	ret_file->dir[slash == ret_file->path ? 1 : slash - ret_file->path] = '\0';
	ret_file->state_dir = state_dir ? state_dir : ret_file->dir;
	return 0;
}

/* ---- reading ---- */

static struct diskfile_stamp stamp_of(const struct stat *st)
{
	return (struct diskfile_stamp){.exists = true,
				       .dev = st->st_dev,
				       .ino = st->st_ino,
				       .size = st->st_size,
				       .mtime = st->st_mtim,
				       .ctime = st->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool diskfile_same(const struct diskfile_stamp *a, const struct diskfile_stamp *b)
{
	if (!a->exists || !b->exists)
		return a->exists == b->exists;
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(&a->mtime, &b->mtime) &&
	       same_time(&a->ctime, &b->ctime);
}

void diskfile_stat(const struct diskfile *file, struct diskfile_stamp *ret_stamp)
{
	struct stat st;
	*ret_stamp = stat(file->path, &st) == 0 ? stamp_of(&st) : (struct diskfile_stamp){0};
}

static int read_all(int fd, size_t max, struct buf *out)
{
	char chunk[65536];
	for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) != 0;) {
		if (n < 0 && errno != EINTR)
			return ERR_SYSTEM;
		if (n > 0 && (size_t)n > max - out->len)
			return ERR_TOO_LARGE;
		if (n > 0 && buf_append(out, chunk, (size_t)n) < 0)
			return out->err;
	}
	return buf_append_str(out, ""); /* an empty file is a text as well */
}

static int read_once(const struct diskfile *file, size_t max, struct buf *out, struct diskfile_stamp *ret_stamp,
		     struct why *ret_why)
{
	struct stat before, after;
	_cleanup_close_ int fd = open(file->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		*ret_stamp = (struct diskfile_stamp){0};
		return buf_append_str(out, "");
	}
	if (fd < 0 || fstat(fd, &before) < 0)
		return diskfile_fail(ret_why, "cannot read", file->path);
	if (!S_ISREG(before.st_mode))
		return why_set(ret_why, ERR_INVALID, "", "%s is not a regular file", file->path);
	int err = read_all(fd, max, out);
	if (err == ERR_TOO_LARGE)
		return why_set(ret_why, err, "", "%s is longer than %zu bytes", file->path, max);
	if (err == ERR_SYSTEM || fstat(fd, &after) < 0)
		return diskfile_fail(ret_why, "cannot read", file->path);
	if (err < 0)
		return why_set(ret_why, err, "", "%s: out of memory", file->path);
	*ret_stamp = stamp_of(&after);
	const struct diskfile_stamp first = stamp_of(&before);
	return diskfile_same(&first, ret_stamp) ? 0 : ERR_PRECONDITION; /* written while it was read */
}

int diskfile_read(const struct diskfile *file, size_t max, struct buf *out, struct diskfile_stamp *ret_stamp,
		  struct why *ret_why)
{
	int err = ERR_PRECONDITION;
	for (int i = 0; i < READ_TRIES && err == ERR_PRECONDITION; i++) {
		buf_clear(out);
		err = read_once(file, max, out, ret_stamp, ret_why);
	}
	if (err == ERR_PRECONDITION)
		return why_set(ret_why, err, "", "%s changes faster than it can be read", file->path);
	return err;
}
