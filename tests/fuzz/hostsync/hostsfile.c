/*
 * The hosts file. The owner's text is what the fuzzer thinks of. The block comes in and goes out again without a trace,
 * says what it was given, stays where it was, and takes with it only the names that it was told to.
 */
#include "../lib/fuzz.h"

#include "hostsync/hostsfile.h"

static void add(struct silo *silo, const char *hostname, uint8_t last)
{
	struct ipaddr ip = {.family = 4, .bytes = {192, 0, 2, last}};

	FUZZ_CHECK(silo_add(silo, hostname, &ip) == ERR_OK);
}

static struct hostsfile_block find(const struct buf *text)
{
	struct hostsfile_block block;

	FUZZ_CHECK(hostsfile_find(text->data ? text->data : "", text->len, &block, NULL) == ERR_OK);
	return block;
}

static void rewrite(const struct buf *from, const struct hostsfile_parts *parts, hostsfile_drop_fn drop, struct buf *to)
{
	struct hostsfile_block block = find(from);

	*to = BUF_INIT(HOSTSFILE_MAX);
	FUZZ_CHECK(hostsfile_rewrite(from->data ? from->data : "", from->len, &block, parts, drop, NULL, to) == ERR_OK);
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void check_parts(const struct buf *text, const struct hostsfile_parts *wanted)
{
	struct hostsfile_parts parts;
	struct hostsfile_block block = find(text);

	FUZZ_CHECK(block.found);
	FUZZ_CHECK(hostsfile_read_parts(text->data, &block, &parts) == ERR_OK && parts.count == wanted->count);
	for (size_t i = 0; i < parts.count; i++)
		FUZZ_CHECK(strcmp(parts.items[i].id, wanted->items[i].id) == 0 &&
			   silo_equal(&parts.items[i], &wanted->items[i]));
	FUZZ_CHECK(hostsfile_find_part(&parts, "a") && !hostsfile_find_part(&parts, "nobody"));
	hostsfile_parts_release(&parts);
}

static bool drop_db(void *arg, const char *name, size_t len)
{
	(void)arg;
	return len == 2 && memcmp(name, "db", 2) == 0;
}

static void check_dropped(const struct buf *text)
{
	struct hostsfile_block block = find(text);
	struct hostsfile_cursor cursor = HOSTSFILE_CURSOR(text->data ? text->data : "", text->len, &block);
	struct hostsfile_line line;
	size_t len, total = 0;

	while (hostsfile_next_line(&cursor, &line)) {
		const char *at = line.names, *name;
		total += line.len;
		while (line.address && hostsfile_next_name(&line, &at, &name, &len))
			FUZZ_CHECK(!drop_db(NULL, name, len));
	}
	FUZZ_CHECK(total == text->len - (block.end - block.start));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct silo silos[2] = {{.id = "a"}, {.id = "b.2"}};
	const struct hostsfile_parts wanted = {.items = silos, .count = 2}, fewer = {.items = silos, .count = 1};
	struct buf original = BUF_INIT(HOSTSFILE_MAX), with = {0}, again = {0}, without = {0}, bare = {0},
		   dropped = {0};
	struct hostsfile_block block;
	struct hostsfile_parts parts = {0};
	struct why why = {.text = ""};
	int err = hostsfile_find((const char *)data, size, &block, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_CONFLICT && why.text[0]);
		return 0;
	}
	FUZZ_CHECK(block.start <= block.end && block.end <= size && block.found == (block.start < block.end));
	FUZZ_CHECK(hostsfile_read_parts((const char *)data, &block, &parts) == ERR_OK);
	hostsfile_parts_release(&parts);
	add(&silos[0], "db", 1);
	add(&silos[0], "mail.example.net", 2);
	buf_append(&original, data, size);

	rewrite(&original, &wanted, NULL, &with); /* the block in */
	check_parts(&with, &wanted);
	FUZZ_CHECK(with.len >= size - (block.end - block.start) && memcmp(with.data, data, block.start) == 0);
	FUZZ_CHECK(memcmp(with.data + with.len - (size - block.end), data + block.end, size - block.end) == 0);
	rewrite(&with, &wanted, NULL, &again); /* the same once more: nothing changes */
	FUZZ_CHECK(same(&with, &again));
	buf_release(&again);
	rewrite(&with, &fewer, NULL, &again); /* other contents, and back */
	buf_release(&with);
	rewrite(&again, &wanted, NULL, &with);
	check_parts(&with, &wanted);

	rewrite(&original, NULL, NULL, &bare); /* the owner's text alone */
	FUZZ_CHECK(block.found || same(&bare, &original));
	rewrite(&with, NULL, NULL, &without);
	FUZZ_CHECK(same(&bare, &without));

	rewrite(&original, &wanted, drop_db, &dropped);
	check_dropped(&dropped);
	check_parts(&dropped, &wanted);

	struct buf *all[] = {&original, &with, &again, &without, &bare, &dropped};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		buf_release(all[i]);
	silo_release(&silos[0]);
	silo_release(&silos[1]);
	return 0;
}
