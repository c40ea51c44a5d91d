/* The hosts file as a file: whole at every instant, with its owner, mode and attributes, and never in anybody's way. */
#include "../unit.h"

#include <dirent.h>
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "hostsync/inplace.h"
#include "hostsync/replace.h"
#include "hostsync/tempfile.h"

static char dir[PATH_MAX];

static const char *in_dir(const char *name)
{
	static char paths[8][2 * PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void put(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
}

static void assert_file(const char *path, const char *text)
{
	char got[65536];
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	assert_non_null(file);
	got[fread(got, 1, sizeof(got) - 1, file)] = '\0';
	assert_string_equal(got, text);
}

/* Names in the test directory but for "." and "..". */
static unsigned files_in_dir(void)
{
	unsigned count = 0;
	DIR *stream = opendir(dir);
	assert_non_null(stream);
	for (const struct dirent *entry; (entry = readdir(stream));)
		count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
	closedir(stream);
	return count;
}

static int remove_dir(void **state)
{
	char name[2 * PATH_MAX];
	DIR *stream = opendir(dir);
	for (const struct dirent *entry; stream && (entry = readdir(stream));) {
		snprintf(name, sizeof(name), "%s/%s", dir, entry->d_name);
		unlink(name);
	}
	if (stream)
		closedir(stream);
	return rmdir(dir);
}

static int make_dir(void **state)
{
	const char *base = getenv("TMPDIR");
	char made[PATH_MAX];
	snprintf(made, sizeof(made), "%s/silodns-replace-XXXXXX", base ? base : "/tmp");
	return mkdtemp(made) && realpath(made, dir) ? 0 : -1;
}

static int replace_as(const char *path, const char *old, const char *new, struct why *why)
{
	struct diskfile target;
	struct diskfile_stamp stamp;
	enum replace_way way;
	_cleanup_(buf_release) struct buf text = BUF_INIT(4000000);
	const struct diskfile_texts texts = {.old = old, .old_len = strlen(old), .new = new, .new_len = strlen(new)};
	int err = diskfile_resolve(path, NULL, &target, why);
	if (err == 0)
		err = diskfile_read(&target, text.max, &text, &stamp, why);
	if (err == 0)
		err = replace_write(&target, &stamp, &texts, &way, why);
	if (err == 0)
		assert_int_equal(way, REPLACE_BY_RENAME);
	return err;
}

static void owner_mode_and_attributes_are_kept(void **state)
{
	const char *path = in_dir("hosts");
	struct stat st;
	char value[16] = "";
	put(path, "old\n");
	if (geteuid() == 0)
		assert_int_equal(chown(path, 1234, 2345), 0);
	assert_int_equal(chmod(path, 02640), 0);
	bool attributes = setxattr(path, "user.silodns", "kept", 4, 0) == 0;
	assert_true(attributes || errno == ENOTSUP);
	assert_int_equal(replace_as(path, "old\n", "new\n", NULL), 0);
	assert_file(path, "new\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02640);
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 2345);
	}
	if (attributes) {
		assert_int_equal(getxattr(path, "user.silodns", value, sizeof(value)), 4);
		assert_string_equal(value, "kept");
	}
	assert_int_equal(files_in_dir(), 1);
}

static void a_missing_file_is_made(void **state)
{
	struct stat st;
	assert_int_equal(replace_as(in_dir("hosts"), "", "new\n", NULL), 0);
	assert_int_equal(stat(in_dir("hosts"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_file(in_dir("hosts"), "new\n");
}

static void a_link_stays_and_its_target_is_replaced(void **state)
{
	struct stat st;
	put(in_dir("real"), "old\n");
	assert_int_equal(symlink("real", in_dir("hosts")), 0);
	assert_int_equal(replace_as(in_dir("hosts"), "old\n", "new\n", NULL), 0);
	assert_int_equal(lstat(in_dir("hosts"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_file(in_dir("real"), "new\n");
}

static void what_is_no_hosts_file_is_refused(void **state)
{
	struct why why = {0};
	assert_int_equal(symlink("nowhere", in_dir("dangling")), 0);
	assert_int_equal(replace_as(in_dir("dangling"), "", "new\n", &why), ERR_SYSTEM);
	assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
	assert_int_equal(replace_as(in_dir("fifo"), "", "new\n", &why), ERR_INVALID);
	assert_non_null(strstr(why.text, "not a regular file"));
	assert_int_equal(replace_as(dir, "", "new\n", &why), ERR_INVALID);
	assert_int_equal(replace_as(in_dir("no/such/dir/hosts"), "", "new\n", &why), ERR_SYSTEM);
}

static void a_file_over_the_limit_is_refused(void **state)
{
	struct diskfile target;
	struct diskfile_stamp stamp;
	_cleanup_(buf_release) struct buf text = BUF_INIT(100);
	put(in_dir("hosts"), "12345678");
	assert_int_equal(diskfile_resolve(in_dir("hosts"), NULL, &target, NULL), 0);
	assert_int_equal(diskfile_read(&target, 7, &text, &stamp, NULL), ERR_TOO_LARGE);
	assert_int_equal(diskfile_read(&target, 8, &text, &stamp, NULL), 0);
	assert_int_equal(text.len, 8);
}

static void what_somebody_else_wrote_meanwhile_is_not_overwritten(void **state)
{
	struct diskfile target;
	struct diskfile_stamp stamp;
	enum replace_way way;
	_cleanup_(buf_release) struct buf text = BUF_INIT(100);
	const struct diskfile_texts texts = {.old = "old\n", .old_len = 4, .new = "new\n", .new_len = 4};
	put(in_dir("hosts"), "old\n");
	assert_int_equal(diskfile_resolve(in_dir("hosts"), NULL, &target, NULL), 0);
	assert_int_equal(diskfile_read(&target, text.max, &text, &stamp, NULL), 0);
	put(in_dir("hosts"), "theirs\n");
	assert_int_equal(replace_write(&target, &stamp, &texts, &way, NULL), ERR_PRECONDITION);
	assert_file(in_dir("hosts"), "theirs\n");
	unlink(in_dir("hosts"));
	assert_int_equal(replace_write(&target, &stamp, &texts, &way, NULL), ERR_PRECONDITION);
	assert_int_equal(files_in_dir(), 0);
}

static void stale_temporary_files_go_and_living_ones_stay(void **state)
{
	_cleanup_(tempfile_release) struct tempfile living = TEMPFILE_INIT;
	put(in_dir("hosts"), "x");
	put(in_dir(".hosts.silodns-tmp-abcdef"), "stale");
	put(in_dir(".hosts.silodns-tmp-notes.txt"), "somebody's");
	put(in_dir(".hosts2.silodns-tmp-abcdef"), "another file's");
	assert_int_equal(tempfile_create(dir, "hosts", &living), 0);
	tempfile_clean(dir, "hosts");
	assert_int_equal(access(in_dir(".hosts.silodns-tmp-abcdef"), F_OK), -1);
	assert_int_equal(access(living.path, F_OK), 0);
	assert_int_equal(files_in_dir(), 4);
}

static int64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static pid_t start_writer(const char *path, const char *old, const char *new)
{
	put(path, old);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(replace_as(path, old, new, NULL) ? 1 : 0);
	return child;
}

/* Promise 4 of the design: a writer killed at any moment leaves the old or the new file, whole. */
static void a_killed_writer_leaves_an_old_or_a_new_file(void **state)
{
	static char old[600001], new[700001], got[1000000];
	unsigned news = 0, temps = 0;
	const char *path = in_dir("hosts");
	memset(old, 'o', sizeof(old) - 1);
	memset(new, 'n', sizeof(new) - 1);
	int64_t begin = now_us();
	assert_int_equal(waitpid(start_writer(path, old, new), NULL, 0) > 0, 1);
	int64_t whole_us = now_us() - begin;
	for (unsigned i = 0; i < 200; i++) {
		pid_t child = start_writer(path, old, new);
		usleep((useconds_t)(whole_us * i / 190)); /* from before the first byte until after the last */
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		FILE *file = fopen(path, "re");
		assert_non_null(file);
		size_t len = fread(got, 1, sizeof(got), file);
		fclose(file);
		bool is_new = len == sizeof(new) - 1;
		assert_memory_equal(got, is_new ? new : old, is_new ? sizeof(new) - 1 : sizeof(old) - 1);
		assert_true(is_new || len == sizeof(old) - 1);
		news += is_new;
		temps += files_in_dir() > 1;
		tempfile_clean(dir, "hosts");
		assert_int_equal(files_in_dir(), 1);
	}
	print_message("%u new, %u old, %u killed while a temporary file lay there\n", news, 200 - news, temps);
}

/* ---- in place ---- */

static const struct {
	const char *old, *new;
} pairs[] = {
	{"127.0.0.1 localhost\n", "127.0.0.1 localhost\n192.0.2.7 db\n"},
	{"127.0.0.1 localhost\n192.0.2.7 db\n", "127.0.0.1 localhost\n"},
	{"192.0.2.7 db\n", "192.0.2.8 db\n"},
	{"", "192.0.2.8 db\n"},
	{"192.0.2.8 db\n", ""},
};

static void writing_in_place_keeps_the_inode_and_leaves_nothing_behind(void **state)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct diskfile target;
		struct diskfile_stamp before, after;
		const struct diskfile_texts texts = {.old = pairs[i].old,
						     .old_len = strlen(pairs[i].old),
						     .new = pairs[i].new,
						     .new_len = strlen(pairs[i].new)};
		put(in_dir("hosts"), pairs[i].old);
		assert_int_equal(diskfile_resolve(in_dir("hosts"), NULL, &target, NULL), 0);
		diskfile_stat(&target, &before);
		assert_int_equal(inplace_write(&target, &before, &texts, NULL), 0);
		diskfile_stat(&target, &after);
		assert_int_equal(before.ino, after.ino);
		assert_file(in_dir("hosts"), pairs[i].new);
		assert_int_equal(files_in_dir(), 1);
		assert_int_equal(inplace_write(&target, &before, &texts, NULL), ERR_PRECONDITION);
		assert_int_equal(files_in_dir(), 1);
	}
}

static void recover(enum inplace_found expected)
{
	struct diskfile target;
	enum inplace_found found;
	struct why why = {0};
	assert_int_equal(diskfile_resolve(in_dir("hosts"), NULL, &target, NULL), 0);
	assert_int_equal(inplace_recover(&target, &found, &why), 0);
	assert_int_equal(found, expected);
}

/* Every state that an interrupted write can leave: k bytes of the new text, then the rest of the old one. */
static void an_interrupted_write_is_finished_wherever_it_stopped(void **state)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const char *old = pairs[i].old, *new = pairs[i].new;
		size_t old_len = strlen(old), new_len = strlen(new), len = old_len > new_len ? old_len : new_len;
		for (size_t k = 0; k <= len; k++) {
			char mixed[256] = "";
			memcpy(mixed, old, old_len);
			for (size_t j = 0; j < k; j++)
				mixed[j] = j < new_len ? new[j] : '\n';
			put(in_dir("hosts"), mixed);
			put(in_dir(".hosts.silodns-old"), old);
			put(in_dir(".hosts.silodns-new"), new);
			recover(INPLACE_FINISHED);
			assert_file(in_dir("hosts"), new);
			assert_int_equal(files_in_dir(), 1);
		}
	}
}

static void a_write_that_had_not_begun_is_forgotten(void **state)
{
	put(in_dir("hosts"), "old\n");
	put(in_dir(".hosts.silodns-old"), "old\n");
	recover(INPLACE_NOTHING);
	assert_file(in_dir("hosts"), "old\n");
	assert_int_equal(files_in_dir(), 1);
	recover(INPLACE_NOTHING);
}

static void a_file_that_was_changed_since_is_not_finished_and_the_old_text_is_kept(void **state)
{
	put(in_dir("hosts"), "somebody wrote this\n");
	put(in_dir(".hosts.silodns-old"), "old\n");
	put(in_dir(".hosts.silodns-new"), "new and long enough for it\n");
	recover(INPLACE_FOREIGN);
	assert_file(in_dir("hosts"), "somebody wrote this\n");
	assert_file(in_dir(".hosts.silodns-rescued"), "old\n");
	assert_int_equal(files_in_dir(), 2);
	recover(INPLACE_NOTHING);
}

static void a_killed_writer_in_place_is_finished_at_the_next_start(void **state)
{
	static char old[3000001], new[3500001], got[4000000];
	unsigned finished = 0, mixed = 0;
	memset(old, 'o', sizeof(old) - 1);
	memset(new, 'n', sizeof(new) - 1);
	for (unsigned i = 0; i < 50; i++) {
		struct diskfile target;
		struct diskfile_stamp stamp;
		enum inplace_found found;
		const struct diskfile_texts texts = {
			.old = old, .old_len = sizeof(old) - 1, .new = new, .new_len = sizeof(new) - 1};
		put(in_dir("hosts"), old);
		assert_int_equal(diskfile_resolve(in_dir("hosts"), NULL, &target, NULL), 0);
		diskfile_stat(&target, &stamp);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0)
			_exit(inplace_write(&target, &stamp, &texts, NULL) ? 1 : 0);
		/* The moment that matters: both texts are saved, the file is being written. */
		for (unsigned t = 0; t < 20000 && access(in_dir(".hosts.silodns-new"), F_OK) < 0; t++)
			usleep(50);
		usleep(i * 40);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		diskfile_stat(&target, &stamp);
		mixed += stamp.size > (off_t)sizeof(old) - 1 && stamp.size < (off_t)sizeof(new) - 1;
		assert_int_equal(inplace_recover(&target, &found, NULL), 0);
		assert_int_not_equal(found, INPLACE_FOREIGN);
		finished += found == INPLACE_FINISHED;
		FILE *file = fopen(in_dir("hosts"), "re");
		assert_non_null(file);
		assert_int_equal(fread(got, 1, sizeof(got), file), sizeof(new) - 1);
		fclose(file);
		assert_memory_equal(got, new, sizeof(new) - 1);
		tempfile_clean(dir, "hosts");
		assert_int_equal(files_in_dir(), 1);
	}
	print_message("%u of 50 interrupted writes finished by recovery, %u of them half done\n", finished, mixed);
	assert_true(finished > 0);
}

static void nothing_changes_where_the_copy_cannot_be_made(void **state)
{
	struct diskfile target;
	struct diskfile_stamp stamp;
	struct why why = {0};
	const struct diskfile_texts texts = {.old = "old\n", .old_len = 4, .new = "new\n", .new_len = 4};
	put(in_dir("hosts"), "old\n");
	assert_int_equal(diskfile_resolve(in_dir("hosts"), "/no/such/directory", &target, NULL), 0);
	diskfile_stat(&target, &stamp);
	assert_int_equal(inplace_write(&target, &stamp, &texts, &why), ERR_SYSTEM);
	assert_non_null(strstr(why.text, "SILODNS_STATE_DIR"));
	assert_file(in_dir("hosts"), "old\n");
}

#define SET_UP make_dir
#define TEAR_DOWN remove_dir
