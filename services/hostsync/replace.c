#include "hostsync/replace.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/base/cleanup.h"
#include "hostsync/inplace.h"
#include "hostsync/tempfile.h"

#define READ_TRIES 5

static int fail(struct why *why, const char *what, const char *path)
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

int replace_resolve(const char *path, const char *state_dir, struct replace_target *ret_target, struct why *ret_why)
{
	char real[PATH_MAX];
	if (!realpath(path, real)) {
		if (errno != ENOENT || resolve_missing(path, real) < 0)
			return fail(ret_why, "cannot find", path);
	}
	memcpy(ret_target->path, real, sizeof(real));
	char *slash = strrchr(ret_target->path, '/');
	ret_target->base = slash + 1;
	memcpy(ret_target->dir, real, sizeof(real));
	ret_target->dir[slash == ret_target->path ? 1 : slash - ret_target->path] = '\0';
	ret_target->state_dir = state_dir ? state_dir : ret_target->dir;
	return 0;
}

/* ---- reading ---- */

static struct replace_stamp stamp_of(const struct stat *st)
{
	return (struct replace_stamp){.exists = true,
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

bool replace_same(const struct replace_stamp *a, const struct replace_stamp *b)
{
	if (!a->exists || !b->exists)
		return a->exists == b->exists;
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(&a->mtime, &b->mtime) &&
	       same_time(&a->ctime, &b->ctime);
}

void replace_stat(const struct replace_target *target, struct replace_stamp *ret_stamp)
{
	struct stat st;
	*ret_stamp = stat(target->path, &st) == 0 ? stamp_of(&st) : (struct replace_stamp){0};
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

static int read_once(const struct replace_target *target, size_t max, struct buf *out, struct replace_stamp *ret_stamp,
		     struct why *ret_why)
{
	struct stat before, after;
	_cleanup_close_ int fd = open(target->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		*ret_stamp = (struct replace_stamp){0};
		return buf_append_str(out, "");
	}
	if (fd < 0 || fstat(fd, &before) < 0)
		return fail(ret_why, "cannot read", target->path);
	if (!S_ISREG(before.st_mode))
		return why_set(ret_why, ERR_INVALID, "", "%s is not a regular file", target->path);
	int err = read_all(fd, max, out);
	if (err == ERR_TOO_LARGE)
		return why_set(ret_why, err, "", "%s is longer than %zu bytes", target->path, max);
	if (err == ERR_SYSTEM || fstat(fd, &after) < 0)
		return fail(ret_why, "cannot read", target->path);
	if (err < 0)
		return why_set(ret_why, err, "", "%s: out of memory", target->path);
	*ret_stamp = stamp_of(&after);
	const struct replace_stamp first = stamp_of(&before);
	return replace_same(&first, ret_stamp) ? 0 : ERR_PRECONDITION; /* written while it was read */
}

int replace_read(const struct replace_target *target, size_t max, struct buf *out, struct replace_stamp *ret_stamp,
		 struct why *ret_why)
{
	int err = ERR_PRECONDITION;
	for (int i = 0; i < READ_TRIES && err == ERR_PRECONDITION; i++) {
		buf_clear(out);
		err = read_once(target, max, out, ret_stamp, ret_why);
	}
	if (err == ERR_PRECONDITION)
		return why_set(ret_why, err, "", "%s changes faster than it can be read", target->path);
	return err;
}

/* ---- writing ---- */

/* The kernel keeps these for the very bytes of a file: on other bytes they would be wrong. */
static bool is_about_content(const char *attribute)
{
	return strcmp(attribute, "security.ima") == 0 || strcmp(attribute, "security.evm") == 0;
}

static int copy_attribute(int from, int to, const char *name, struct why *ret_why)
{
	_cleanup_free_ char *value = malloc((size_t)2 * XATTR_SIZE_MAX);
	if (!value)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	char *present = value + XATTR_SIZE_MAX;
	ssize_t len = fgetxattr(from, name, value, XATTR_SIZE_MAX);
	if (len < 0)
		return errno == ENODATA ? 0 : fail(ret_why, "cannot read the extended attribute", name);
	/* A label that the new file has anyway need not be set, which may take a privilege. */
	if (fgetxattr(to, name, present, XATTR_SIZE_MAX) == len && memcmp(value, present, (size_t)len) == 0)
		return 0;
	return fsetxattr(to, name, value, (size_t)len, 0) < 0
		       ? fail(ret_why, "cannot keep the extended attribute", name)
		       : 0;
}

static int copy_attributes(int from, int to, struct why *ret_why)
{
	_cleanup_free_ char *names = malloc(XATTR_LIST_MAX);
	if (!names)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	ssize_t len = flistxattr(from, names, XATTR_LIST_MAX);
	if (len < 0)
		return errno == ENOTSUP ? 0 : fail(ret_why, "cannot list", "the extended attributes");
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		int err = is_about_content(name) ? 0 : copy_attribute(from, to, name, ret_why);
		if (err < 0)
			return err;
	}
	return 0;
}

/* What a default ACL of the directory gave to the new file: the old one may have none. */
static int drop_inherited_acl(int fd, struct why *ret_why)
{
	if (fremovexattr(fd, "system.posix_acl_access") == 0 || errno == ENODATA || errno == ENOTSUP)
		return 0;
	return fail(ret_why, "cannot clear the access control list of", "a temporary file");
}

/* Owner before mode, which a change of owner may clear; mode before ACLs, whose mask it would set. */
static int copy_metadata(int from, int to, struct why *ret_why)
{
	struct stat was, is;
	if (fstat(from, &was) < 0 || fstat(to, &is) < 0)
		return fail(ret_why, "cannot examine", "the hosts file");
	int err = drop_inherited_acl(to, ret_why);
	if (err < 0)
		return err;
	if ((was.st_uid != is.st_uid || was.st_gid != is.st_gid) && fchown(to, was.st_uid, was.st_gid) < 0)
		return fail(ret_why, "cannot keep the owner of", "the hosts file");
	if (fchmod(to, was.st_mode & 07777) < 0)
		return fail(ret_why, "cannot keep the mode of", "the hosts file");
	return copy_attributes(from, to, ret_why);
}

static int dress(const struct replace_target *target, bool exists, int temp, struct why *ret_why)
{
	if (!exists)
		return fchmod(temp, 0644) < 0 ? fail(ret_why, "cannot set the mode of", target->path) : 0;
	_cleanup_close_ int fd = open(target->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ERR_PRECONDITION : fail(ret_why, "cannot read", target->path);
	return copy_metadata(fd, temp, ret_why);
}

/* ERR_BUSY: it cannot be renamed over, as a mount point that statx() did not tell of. */
static int write_by_rename(const struct replace_target *target, const struct replace_stamp *expected,
			   const struct replace_texts *texts, struct why *ret_why)
{
	_cleanup_(tempfile_release) struct tempfile temp = TEMPFILE_INIT;
	struct replace_stamp now;
	if (tempfile_create(target->dir, target->base, &temp) < 0)
		return fail(ret_why, "cannot make a temporary file in", target->dir);
	if (tempfile_fill(&temp, texts->new, texts->new_len) < 0)
		return fail(ret_why, "cannot write a temporary file in", target->dir);
	int err = dress(target, expected->exists, temp.fd, ret_why);
	if (err < 0)
		return err;
	if (tempfile_sync(&temp) < 0)
		return fail(ret_why, "cannot sync a temporary file in", target->dir);
	replace_stat(target, &now); /* as late as possible: the sync above is what takes time */
	if (!replace_same(expected, &now))
		return ERR_PRECONDITION;
	if (tempfile_commit(&temp, target->dir, target->path) == 0)
		return 0;
	return errno == EBUSY || errno == EXDEV ? ERR_BUSY : fail(ret_why, "cannot replace", target->path);
}

static bool is_mount_point(const char *path)
{
	struct statx st;
	return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &st) == 0 &&
	       (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int replace_write(const struct replace_target *target, const struct replace_stamp *expected,
		  const struct replace_texts *texts, enum replace_way *ret_way, struct why *ret_why)
{
	int err = is_mount_point(target->path) ? ERR_BUSY : write_by_rename(target, expected, texts, ret_why);
	enum replace_way way = err == ERR_BUSY ? REPLACE_IN_PLACE : REPLACE_BY_RENAME;
	if (err == ERR_BUSY)
		err = inplace_write(target, expected, texts, ret_why);
	if (err == 0)
		*ret_way = way;
	return err;
}
