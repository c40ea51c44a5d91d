#include "hostsync/replace.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/base/cleanup.h"
#include "hostsync/inplace.h"
#include "hostsync/tempfile.h"

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
		return errno == ENODATA ? 0 : diskfile_fail(ret_why, "cannot read the extended attribute", name);
	/* A label that the new file has anyway need not be set, which may take a privilege. */
	if (fgetxattr(to, name, present, XATTR_SIZE_MAX) == len && memcmp(value, present, (size_t)len) == 0)
		return 0;
	return fsetxattr(to, name, value, (size_t)len, 0) < 0
		       ? diskfile_fail(ret_why, "cannot keep the extended attribute", name)
		       : 0;
}

static int copy_attributes(int from, int to, struct why *ret_why)
{
	_cleanup_free_ char *names = malloc(XATTR_LIST_MAX);
	if (!names)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	ssize_t len = flistxattr(from, names, XATTR_LIST_MAX);
	if (len < 0)
		return errno == ENOTSUP ? 0 : diskfile_fail(ret_why, "cannot list", "the extended attributes");
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
	return diskfile_fail(ret_why, "cannot clear the access control list of", "a temporary file");
}

/* Owner before mode, which a change of owner may clear; mode before ACLs, whose mask it would set. */
static int copy_metadata(int from, int to, struct why *ret_why)
{
	struct stat was, is;
	if (fstat(from, &was) < 0 || fstat(to, &is) < 0)
		return diskfile_fail(ret_why, "cannot examine", "the hosts file");
	int err = drop_inherited_acl(to, ret_why);
	if (err < 0)
		return err;
	if ((was.st_uid != is.st_uid || was.st_gid != is.st_gid) && fchown(to, was.st_uid, was.st_gid) < 0)
		return diskfile_fail(ret_why, "cannot keep the owner of", "the hosts file");
	if (fchmod(to, was.st_mode & 07777) < 0)
		return diskfile_fail(ret_why, "cannot keep the mode of", "the hosts file");
	return copy_attributes(from, to, ret_why);
}

static int dress(const struct diskfile *target, bool exists, int temp, struct why *ret_why)
{
	if (!exists)
		return fchmod(temp, 0644) < 0 ? diskfile_fail(ret_why, "cannot set the mode of", target->path) : 0;
	_cleanup_close_ int fd = open(target->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ERR_PRECONDITION : diskfile_fail(ret_why, "cannot read", target->path);
	return copy_metadata(fd, temp, ret_why);
}

/* ERR_BUSY: it cannot be renamed over, as a mount point that statx() did not tell of. */
static int write_by_rename(const struct diskfile *target, const struct diskfile_stamp *expected,
			   const struct diskfile_texts *texts, struct why *ret_why)
{
	_cleanup_(tempfile_release) struct tempfile temp = TEMPFILE_INIT;
	struct diskfile_stamp now;
	if (tempfile_create(target->dir, target->base, &temp) < 0)
		return diskfile_fail(ret_why, "cannot make a temporary file in", target->dir);
	if (tempfile_fill(&temp, texts->new, texts->new_len) < 0)
		return diskfile_fail(ret_why, "cannot write a temporary file in", target->dir);
	int err = dress(target, expected->exists, temp.fd, ret_why);
	if (err < 0)
		return err;
	if (tempfile_sync(&temp) < 0)
		return diskfile_fail(ret_why, "cannot sync a temporary file in", target->dir);
	diskfile_stat(target, &now); /* as late as possible: the sync above is what takes time */
	if (!diskfile_same(expected, &now))
		return ERR_PRECONDITION;
	if (tempfile_commit(&temp, target->dir, target->path) == 0)
		return 0;
	return errno == EBUSY || errno == EXDEV ? ERR_BUSY : diskfile_fail(ret_why, "cannot replace", target->path);
}

static bool is_mount_point(const char *path)
{
	struct statx st;
	return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &st) == 0 &&
	       (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int replace_write(const struct diskfile *target, const struct diskfile_stamp *expected,
		  const struct diskfile_texts *texts, enum replace_way *ret_way, struct why *ret_why)
{
	int err = is_mount_point(target->path) ? ERR_BUSY : write_by_rename(target, expected, texts, ret_why);
	enum replace_way way = err == ERR_BUSY ? REPLACE_IN_PLACE : REPLACE_BY_RENAME;
	if (err == ERR_BUSY)
		err = inplace_write(target, expected, texts, ret_why);
	if (err == 0)
		*ret_way = way;
	return err;
}
