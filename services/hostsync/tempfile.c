#include "hostsync/tempfile.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"

#define RANDOM "XXXXXX"

static int temp_prefix(const char *base, char *ret_prefix, size_t size)
{
	int n = snprintf(ret_prefix, size, ".%s.silodns-tmp-", base);
	if (n > 0 && (size_t)n < size)
		return 0;
	errno = ENAMETOOLONG;
	return ERR_SYSTEM;
}

int tempfile_create(const char *dir, const char *base, struct tempfile *ret_temp)
{
	char prefix[NAME_MAX + 1];
	struct tempfile temp = TEMPFILE_INIT;
	if (temp_prefix(base, prefix, sizeof(prefix)) < 0)
		return ERR_SYSTEM;
	int n = snprintf(temp.path, sizeof(temp.path), "%s/%s" RANDOM, dir, prefix);
	if (n < 0 || (size_t)n >= sizeof(temp.path)) {
		errno = ENAMETOOLONG;
		return ERR_SYSTEM;
	}
	temp.fd = mkostemp(temp.path, O_CLOEXEC);
	if (temp.fd < 0)
		return ERR_SYSTEM;
	(void)flock(temp.fd, LOCK_EX | LOCK_NB); /* where locks do not work, tempfile_clean() cleans less */
	*ret_temp = temp;
	return 0;
}

int tempfile_fill(struct tempfile *temp, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(temp->fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_SYSTEM;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int tempfile_sync(const struct tempfile *temp)
{
	return fsync(temp->fd) < 0 ? ERR_SYSTEM : 0;
}

int sync_directory(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? ERR_SYSTEM : 0;
}

int tempfile_commit(struct tempfile *temp, const char *dir, const char *to)
{
	if (rename(temp->path, to) < 0)
		return ERR_SYSTEM;
	temp->path[0] = '\0';
	return sync_directory(dir);
}

void tempfile_release(struct tempfile *temp)
{
	int saved = errno; /* released on the way out of a failure whose errno the caller reports */
	if (temp->path[0] != '\0')
		unlink(temp->path);
	if (temp->fd >= 0)
		close(temp->fd);
	*temp = TEMPFILE_INIT;
	errno = saved;
}

static void remove_if_unowned(int dirfd, const char *name)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(dirfd, name, 0);
}

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

void tempfile_clean(const char *dir, const char *base)
{
	char prefix[NAME_MAX + 1];
	_cleanup_(cleanup_closedir) DIR *stream = opendir(dir);
	if (!stream || temp_prefix(base, prefix, sizeof(prefix)) < 0)
		return;
	for (const struct dirent *entry; (entry = readdir(stream));) {
		const char *name = entry->d_name;
		if (strncmp(name, prefix, strlen(prefix)) == 0 && strlen(name) == strlen(prefix) + strlen(RANDOM))
			remove_if_unowned(dirfd(stream), name);
	}
}
