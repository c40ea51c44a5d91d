/* The hosts file as a file: whole at every instant, with its owner, mode and attributes, and never in anybody's way. */
#include "../unit.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

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
