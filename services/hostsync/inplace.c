#include "hostsync/inplace.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/base/cleanup.h"
#include "hostsync/tempfile.h"

#define SAVED_MAX ((size_t)256 << 20)

/* The journal of one write: two plain files, so that a person can use them as well. */
struct journal {
	char old[PATH_MAX], new[PATH_MAX], rescued[PATH_MAX];
};

static bool journal_path(const struct diskfile *target, const char *suffix, char ret_path[PATH_MAX])
{
	int n = snprintf(ret_path, PATH_MAX, "%s/.%s.silodns-%s", target->state_dir, target->base, suffix);
	return n > 0 && n < PATH_MAX;
}

static int journal_name(const struct diskfile *target, struct journal *ret_journal)
{
	if (journal_path(target, "old", ret_journal->old) && journal_path(target, "new", ret_journal->new) &&
	    journal_path(target, "rescued", ret_journal->rescued))
		return 0;
	errno = ENAMETOOLONG;
	return ERR_SYSTEM;
}

static int save(const struct diskfile *target, const char *path, const char *text, size_t len)
{
	_cleanup_(tempfile_release) struct tempfile temp = TEMPFILE_INIT;
	if (tempfile_create(target->state_dir, target->base, &temp) < 0 || tempfile_fill(&temp, text, len) < 0 ||
	    tempfile_sync(&temp) < 0)
		return ERR_SYSTEM;
	return tempfile_commit(&temp, target->state_dir, path);
}

/* The new text goes first: without it the old one means nothing. */
static void journal_drop(const struct diskfile *target, const struct journal *journal)
{
	int saved = errno;
	unlink(journal->new);
	(void)sync_directory(target->state_dir);
	unlink(journal->old);
	errno = saved;
}

static int pwrite_all(int fd, const char *data, size_t len, size_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_SYSTEM;
		data += n;
		len -= (size_t)n;
		at += (size_t)n;
	}
	return 0;
}

static int reserve(int fd, size_t from, size_t to)
{
	struct statvfs fs;
	if (to <= from || fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return ERR_SYSTEM;
	if (fstatvfs(fd, &fs) < 0)
		return ERR_SYSTEM;
	if (fs.f_bavail > (to - from) / fs.f_frsize)
		return 0;
	errno = ENOSPC;
	return ERR_SYSTEM;
}

static size_t first_difference(const struct diskfile_texts *texts)
{
	size_t shorter = texts->old_len < texts->new_len ? texts->old_len : texts->new_len, i = 0;
	while (i < shorter && texts->old[i] == texts->new[i])
		i++;
	return i;
}

/* The new bytes from `from` on, then line breaks down to the old end: one write, so that a reader is least likely to
 * meet a part of it. */
static int write_padded(int fd, const struct diskfile_texts *texts, size_t from)
{
	size_t len = texts->new_len > texts->old_len ? texts->new_len : texts->old_len;
	_cleanup_free_ char *padded = malloc(len - from + 1);
	if (!padded) {
		errno = ENOMEM;
		return ERR_SYSTEM;
	}
	memcpy(padded, texts->new + from, texts->new_len - from);
	memset(padded + (texts->new_len - from), '\n', len - texts->new_len);
	return pwrite_all(fd, padded, len - from, from);
}

static int overwrite(int fd, const struct diskfile_texts *texts, size_t from)
{
	if (write_padded(fd, texts, from) == 0 && ftruncate(fd, (off_t)texts->new_len) == 0)
		return fsync(fd) < 0 ? ERR_SYSTEM : 0;
	return ERR_SYSTEM;
}

static int put_back(int fd, const struct diskfile_texts *texts)
{
	int saved = errno;
	int err = pwrite_all(fd, texts->old, texts->old_len, 0);
	if (err == 0 && (ftruncate(fd, (off_t)texts->old_len) < 0 || fsync(fd) < 0))
		err = ERR_SYSTEM;
	errno = saved;
	return err;
}

static bool is_still(int fd, const struct diskfile *target, const struct diskfile_stamp *expected)
{
	struct stat st;
	struct diskfile_stamp now;
	diskfile_stat(target, &now);
	return fstat(fd, &st) == 0 && now.dev == st.st_dev && now.ino == st.st_ino && diskfile_same(expected, &now);
}

static int write_journalled(int fd, const struct diskfile *target, const struct journal *journal,
			    const struct diskfile_texts *texts, struct why *ret_why)
{
	bool begun = reserve(fd, texts->old_len, texts->new_len) == 0;
	if (begun && overwrite(fd, texts, first_difference(texts)) == 0) {
		journal_drop(target, journal);
		return 0;
	}
	int err = diskfile_fail(ret_why, begun ? "cannot write" : "no room to write", target->path);
	/* ftruncate() gives back what was reserved beyond the end. */
	if (begun ? put_back(fd, texts) == 0 : ftruncate(fd, (off_t)texts->old_len) == 0)
		journal_drop(target, journal);
	return err;
}

int inplace_write(const struct diskfile *target, const struct diskfile_stamp *expected,
		  const struct diskfile_texts *texts, struct why *ret_why)
{
	struct journal journal;
	_cleanup_close_ int fd = open(target->path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ERR_PRECONDITION : diskfile_fail(ret_why, "cannot write", target->path);
	if (journal_name(target, &journal) < 0 || save(target, journal.old, texts->old, texts->old_len) < 0 ||
	    save(target, journal.new, texts->new, texts->new_len) < 0) {
		int err = why_set(ret_why, ERR_SYSTEM, "",
				  "set SILODNS_STATE_DIR: %s is a mount point, and the copy that writing in place "
				  "needs cannot be "
				  "made in %s: %s",
				  target->path, target->state_dir, strerror(errno));
		journal_drop(target, &journal);
		return err;
	}
	if (!is_still(fd, target, expected)) {
		journal_drop(target, &journal);
		return ERR_PRECONDITION;
	}
	return write_journalled(fd, target, &journal, texts, ret_why);
}

/* ---- the next start ---- */

/* Every byte is the old one, the new one, padding, or (after a power failure) a zero where the file had grown. */
static bool is_interrupted(const struct buf *now, const struct diskfile_texts *texts)
{
	size_t shorter = texts->old_len < texts->new_len ? texts->old_len : texts->new_len;
	size_t longer = texts->old_len < texts->new_len ? texts->new_len : texts->old_len;
	if (now->len < shorter || now->len > longer)
		return false;
	for (size_t i = 0; i < now->len; i++) {
		bool old = i < texts->old_len && now->data[i] == texts->old[i];
		bool new = i < texts->new_len && now->data[i] == texts->new[i];
		bool filler = i >= texts->new_len ? now->data[i] == '\n' : i >= texts->old_len && now->data[i] == '\0';
		if (!old && !new && !filler)
			return false;
	}
	return true;
}

static int read_saved(const char *path, struct buf *out, bool *ret_exists, struct why *ret_why)
{
	struct diskfile saved = {0};
	struct diskfile_stamp stamp;
	snprintf(saved.path, sizeof(saved.path), "%s", path);
	int err = diskfile_read(&saved, SAVED_MAX, out, &stamp, ret_why);
	if (err == 0)
		*ret_exists = stamp.exists;
	return err;
}

static int finish_interrupted(const struct diskfile *target, const struct journal *journal, const struct buf *now,
			      const struct buf *new, struct why *ret_why)
{
	const struct diskfile_texts texts = {
		.old = now->data, .old_len = now->len, .new = new->data, .new_len = new->len};
	_cleanup_close_ int fd = open(target->path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || reserve(fd, now->len, new->len) < 0)
		return diskfile_fail(ret_why, "cannot finish the interrupted write of", target->path);
	/* From the start, and once more: what the killed writer's bytes met on their way to the disk is told to the
	 * first fsync() after it, and they may not be there, though they can be read (fsync(2)). */
	int err = overwrite(fd, &texts, 0);
	if (err < 0)
		err = overwrite(fd, &texts, 0);
	if (err < 0)
		return diskfile_fail(ret_why, "cannot finish the interrupted write of", target->path);
	journal_drop(target, journal);
	return 0;
}

static int rescue(const struct diskfile *target, const struct journal *journal, struct why *ret_why)
{
	if (rename(journal->old, journal->rescued) < 0)
		return diskfile_fail(ret_why, "cannot keep", journal->old);
	journal_drop(target, journal);
	why_set(ret_why, 0, "", "the text from before the interrupted write is in %s", journal->rescued);
	return 0;
}

int inplace_recover(const struct diskfile *target, enum inplace_found *ret_found, struct why *ret_why)
{
	struct journal journal;
	_cleanup_(buf_release) struct buf now = BUF_INIT(SAVED_MAX), old = BUF_INIT(SAVED_MAX),
					  new = BUF_INIT(SAVED_MAX);
	bool has_old = false, has_new = false, has_file = false;
	if (journal_name(target, &journal) < 0)
		return diskfile_fail(ret_why, "cannot look for", target->base);
	int err = read_saved(journal.new, &new, &has_new, ret_why);
	if (err == 0)
		err = read_saved(journal.old, &old, &has_old, ret_why);
	if (err == 0 && has_new)
		err = read_saved(target->path, &now, &has_file, ret_why);
	if (err < 0)
		return err;
	*ret_found = INPLACE_NOTHING;
	if (!has_new || !has_old) { /* not one byte of the file had been written yet */
		if (has_new || has_old)
			journal_drop(target, &journal);
		return 0;
	}
	const struct diskfile_texts texts = {.old = old.data, .old_len = old.len, .new = new.data, .new_len = new.len};
	bool ours = has_file && is_interrupted(&now, &texts);
	err = ours ? finish_interrupted(target, &journal, &now, &new, ret_why) : rescue(target, &journal, ret_why);
	if (err == 0)
		*ret_found = ours ? INPLACE_FINISHED : INPLACE_FOREIGN;
	return err;
}
