/* The text of a hosts file: every byte outside the block stays, the block is found again, broken markers are refused.
 */
#include "../unit.h"

#include "common/base/cleanup.h"
#include "hostsync/hostsfile.h"

#define BEGIN "# BEGIN silodns: kept by silodns-hostsync, changes between these two lines are lost\n"
#define END "# END silodns\n"
#define NOTE "# the line break before this block belongs to it\n"
#define BLOCK_A BEGIN "# silo a\n192.0.2.7\tdbserver\n2001:db8::7\tdbserver\n" END

#define LIT(s) (s), sizeof(s) - 1

static struct hostsfile_parts make_part(const char *id, const char *hostname, const char *ip4, const char *ip6)
{
	struct hostsfile_parts parts = {.items = calloc(1, sizeof(struct silo)), .count = 1};
	struct ipaddr ip;
	snprintf(parts.items[0].id, sizeof(parts.items[0].id), "%s", id);
	for (size_t i = 0; i < 2; i++) {
		const char *text = i ? ip6 : ip4;
		if (!text)
			continue;
		assert_int_equal(ipaddr_parse(text, strlen(text), &ip, NULL), 0);
		assert_int_equal(silo_add(&parts.items[0], hostname, &ip), 0);
	}
	silo_sort(&parts.items[0]);
	return parts;
}

static void rewrite(const char *text, size_t len, const struct hostsfile_parts *parts, struct buf *out)
{
	struct hostsfile_block block;
	struct why why = {0};
	int err = hostsfile_find(text, len, &block, &why);
	if (err < 0)
		fail_msg("%s", why.text);
	buf_clear(out);
	assert_int_equal(hostsfile_rewrite(text, len, &block, parts, NULL, NULL, out), 0);
}

static void assert_text(const struct buf *out, const char *text, size_t len)
{
	assert_int_equal(out->len, len);
	if (len > 0)
		assert_memory_equal(out->data, text, len);
}

static void the_block_looks_as_documented(void **state)
{
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts a =
		make_part("a", "dbserver", "192.0.2.7", "2001:db8::7");
	_cleanup_(buf_release) struct buf out = BUF_INIT(4096);
	rewrite(LIT("127.0.0.1 localhost\n"), &a, &out);
	assert_text(&out, LIT("127.0.0.1 localhost\n" BLOCK_A));
	rewrite(LIT("127.0.0.1 localhost"), &a, &out);
	assert_text(&out, LIT("127.0.0.1 localhost\n" BEGIN NOTE
			      "# silo a\n192.0.2.7\tdbserver\n2001:db8::7\tdbserver\n" END));
}

/* Had the break gone with the block, the owner's two lines would have become one. */
static void a_line_break_stays_once_text_stands_behind_the_block(void **state)
{
	_cleanup_(buf_release) struct buf out = BUF_INIT(4096);
	rewrite(LIT("10.0.0.1 x\n" BEGIN NOTE END "10.0.0.2 y\n"), NULL, &out);
	assert_text(&out, LIT("10.0.0.1 x\n10.0.0.2 y\n"));
}

static void a_block_that_an_editor_gave_crlf_is_still_found(void **state)
{
	_cleanup_(buf_release) struct buf out = BUF_INIT(4096);
	rewrite(LIT("x\r\n# BEGIN silodns: kept\r\n# silo a\r\n192.0.2.7\tdb\r\n# END silodns\r\ny\r\n"), NULL, &out);
	assert_text(&out, LIT("x\r\ny\r\n"));
	rewrite(LIT("x\n# BEGIN silodns\n# END silodns"), NULL, &out);
	assert_text(&out, LIT("x\n"));
}

static void broken_markers_are_refused_and_their_lines_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"a\n# BEGIN silodns\n192.0.2.1 x\n", "in line 2 without"},
		{"a\nb\n# END silodns\n", "in line 3 without"},
		{"# END silodns\nx\n# BEGIN silodns\n", "in line 1 without"},
		{"# BEGIN silodns\n# BEGIN silodns\n# END silodns\n", "in line 1 and again in line 2"},
		{"# BEGIN silodns\n# END silodns\nx\n# BEGIN silodns\n# END silodns\n",
		 "from line 1 to line 2, the second from line 4"},
		{"# BEGIN silodns\n# END silodns\n# END silodns\n", "in line 2 and again in line 3"},
		{"# BEGIN silodns\r\n", "in line 1 without"},
		{"# END silodns", "in line 1 without"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hostsfile_block block = {.start = 77};
		struct why why = {0};
		assert_int_equal(hostsfile_find(rows[i].text, strlen(rows[i].text), &block, &why), ERR_CONFLICT);
		if (!strstr(why.text, rows[i].says))
			fail_msg("row %zu: %s", i, why.text);
		assert_int_equal(block.start, 77);
	}
}

static void parts_are_read_back_as_they_were_written(void **state)
{
	static const char text[] = "192.0.2.99 outside\n" BEGIN "192.0.2.98 before-any-part\n"
				   "# silo b\n192.0.2.8\tother\n2001:db8::1\tother\n"
				   "# silo empty\n"
				   "# silo a\nnonsense\n192.0.2.300 x\n192.0.2.7\tdbserver UPPER bad*name\n"
				   "# silo not/an/id\n192.0.2.9\tlost\n" END "192.0.2.97 behind\n";
	struct hostsfile_block block;
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts parts = {0};
	assert_int_equal(hostsfile_find(LIT(text), &block, NULL), 0);
	assert_int_equal(hostsfile_read_parts(text, &block, &parts), 0);
	assert_int_equal(parts.count, 3);
	assert_string_equal(parts.items[0].id, "b");
	assert_int_equal(parts.items[0].count, 2);
	assert_int_equal(hostsfile_find_part(&parts, "empty")->count, 0);
	const struct silo *a = hostsfile_find_part(&parts, "a");
	assert_int_equal(a->count, 2);
	assert_string_equal(a->records[0].hostname, "dbserver");
	assert_string_equal(a->records[1].hostname, "upper");
	assert_null(hostsfile_find_part(&parts, "not"));
}

static void a_file_without_block_has_no_parts(void **state)
{
	struct hostsfile_block block;
	struct hostsfile_parts parts = {0};
	assert_int_equal(hostsfile_find(LIT("# silo a\n192.0.2.1 x\n"), &block, NULL), 0);
	assert_int_equal(hostsfile_read_parts("# silo a\n192.0.2.1 x\n", &block, &parts), 0);
	assert_int_equal(parts.count, 0);
	hostsfile_parts_release(&parts);
}

static void names_outside_are_read_as_glibc_reads_them(void **state)
{
	static const char text[] = "# 192.0.2.1 comment\n"
				   "192.0.2.2\tOne two#three\n"
				   "\n"
				   "  fe80::1%eth0 zone\r\n"
				   "not-an-address four\n"
				   "192.0.2.3\n" BLOCK_A "192.0.2.4 five\0six\n"
				   "192.0.2.5%eth0 seven\n"
				   "::1 last";
	static const struct {
		unsigned long line;
		const char *name;
	} expected[] = {{2, "One"}, {2, "two"}, {4, "zone"}, {12, "five"}, {14, "last"}};
	struct hostsfile_block block;
	struct hostsfile_line line;
	size_t seen = 0;
	assert_int_equal(hostsfile_find(LIT(text), &block, NULL), 0);
	struct hostsfile_cursor cursor = HOSTSFILE_CURSOR(text, sizeof(text) - 1, &block);
	while (hostsfile_next_line(&cursor, &line)) {
		const char *at = line.names, *name;
		size_t len;
		while (line.address && hostsfile_next_name(&line, &at, &name, &len)) {
			assert_true(seen < sizeof(expected) / sizeof(expected[0]));
			assert_int_equal(line.number, expected[seen].line);
			assert_int_equal(len, strlen(expected[seen].name));
			assert_memory_equal(name, expected[seen].name, len);
			seen++;
		}
	}
	assert_int_equal(seen, sizeof(expected) / sizeof(expected[0]));
}

static bool drops_db(void *arg, const char *name, size_t len)
{
	(void)arg;
	return len == 2 && (memcmp(name, "db", 2) == 0 || memcmp(name, "DB", 2) == 0);
}

static void a_replaced_name_leaves_its_line_and_the_others_stay(void **state)
{
	static const struct {
		const char *before, *after;
	} rows[] = {
		{"10.0.0.9 db web\n", "10.0.0.9 web\n"},
		{"10.0.0.9\tweb\tDB  x # db\r\n", "10.0.0.9\tweb  x # db\r\n"},
		{"10.0.0.9 web db", "10.0.0.9 web"},
		{"10.0.0.9 web db   \n", "10.0.0.9 web   \n"},
		{"a\n10.0.0.9 db\nb\n", "a\nb\n"},
		{"a\n10.0.0.9 db\r\nb", "a\nb"},
		{"10.0.0.9 db db # why\nb\n", "# why\nb\n"},
		{"10.0.0.9 db # BEGIN silodns\nb\n", " # BEGIN silodns\nb\n"},
		{"# 10.0.0.9 db\n10.0.0.9\nnonsense db\n", "# 10.0.0.9 db\n10.0.0.9\nnonsense db\n"},
		{"10.0.0.9 db2 mydb db.x\n", "10.0.0.9 db2 mydb db.x\n"},
	};
	const struct hostsfile_parts none = {0};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_(buf_release) struct buf out = BUF_INIT(4096), clean = BUF_INIT(4096);
		struct hostsfile_block block;
		size_t len = strlen(rows[i].before);
		assert_int_equal(hostsfile_find(rows[i].before, len, &block, NULL), 0);
		assert_int_equal(hostsfile_rewrite(rows[i].before, len, &block, &none, drops_db, NULL, &out), 0);
		rewrite(out.data, out.len, NULL, &clean);
		assert_text(&clean, rows[i].after, strlen(rows[i].after));
	}
}

static void replacing_reaches_both_sides_of_the_block_but_not_into_it(void **state)
{
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts part = make_part("a", "db", "192.0.2.7", NULL);
	_cleanup_(buf_release) struct buf out = BUF_INIT(4096);
	struct hostsfile_block block;
	static const char text[] = "10.0.0.1 db x\n" BEGIN END "10.0.0.2 y db\n";
	assert_int_equal(hostsfile_find(LIT(text), &block, NULL), 0);
	assert_int_equal(hostsfile_rewrite(LIT(text), &block, &part, drops_db, NULL, &out), 0);
	assert_text(&out, LIT("10.0.0.1 x\n" BEGIN "# silo a\n192.0.2.7\tdb\n" END "10.0.0.2 y\n"));
}

static void a_text_over_the_limit_is_an_error_and_not_a_short_file(void **state)
{
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts part = make_part("a", "db", "192.0.2.7", NULL);
	_cleanup_(buf_release) struct buf out = BUF_INIT(40);
	const struct hostsfile_block block = {.start = 4, .end = 4};
	assert_int_equal(hostsfile_rewrite("abc\n", 4, &block, &part, NULL, NULL, &out), ERR_TOO_LARGE);
	_cleanup_(buf_release) struct buf tiny = BUF_INIT(12);
	assert_int_equal(hostsfile_rewrite(LIT("10.0.0.9 db\n10.0.0.9 db\n"), &block, NULL, drops_db, NULL, &tiny),
			 ERR_TOO_LARGE);
}
