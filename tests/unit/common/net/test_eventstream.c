/* An event stream means the same however it is cut into pieces; over a limit there is an error, never a cut. */
#include "../../unit.h"

#include "common/base/cleanup.h"
#include "common/net/eventstream.h"

#define MAX 200 /* of most streams here */

static struct buf seen; /* what came: "type|data\n" for each event, a NUL as '@' */

static int note(void *arg, const struct eventstream_event *event)
{
	(void)arg;
	assert_int_equal(event->data[event->len], '\0');
	for (size_t i = 0; i < event->type_len; i++)
		buf_append(&seen, event->type[i] ? &event->type[i] : "@", 1);
	buf_append_str(&seen, "|");
	for (size_t i = 0; i < event->len; i++)
		buf_append(&seen, event->data[i] ? &event->data[i] : "@", 1);
	return buf_append_str(&seen, "\n");
}

/* Feeds `text` in pieces of `size` bytes. */
static int feed(struct eventstream *stream, const char *text, size_t len, size_t size)
{
	int err = 0;
	for (size_t at = 0; at < len && err == 0; at += size)
		err = eventstream_feed(stream, text + at, len - at < size ? len - at : size, note, NULL);
	return err;
}

static const char *read_all(const char *text, size_t len, size_t size)
{
	_cleanup_(eventstream_release) struct eventstream stream;
	buf_release(&seen);
	seen = BUF_INIT(1 << 16);
	eventstream_init(&stream, MAX);
	assert_int_equal(feed(&stream, text, len, size), 0);
	return seen.data ? seen.data : "";
}

static int tear_down(void **state)
{
	buf_release(&seen);
	return 0;
}

#define TEXT(literal) (literal), sizeof(literal) - 1

static const struct row {
	const char *text;
	size_t len;
	const char *events;
} rows[] = {
	{TEXT("data: one\n\n"), "message|one\n"},
	{TEXT("data:one\n\n"), "message|one\n"},
	{TEXT("data:  one\n\n"), "message| one\n"}, /* only one space goes */
	{TEXT("event: silo\ndata: {}\n\n"), "silo|{}\n"},
	{TEXT("data: {}\nevent: silo\n\n"), "silo|{}\n"},
	{TEXT("data: a\ndata: b\n\n"), "message|a\nb\n"},
	{TEXT("data: a\rdata: b\r\r"), "message|a\nb\n"},
	{TEXT("data: a\r\ndata: b\r\n\r\n"), "message|a\nb\n"},
	{TEXT("data: a\r\n\ndata: b\r\rdata: c\n\r\n"), "message|a\nmessage|b\nmessage|c\n"},
	{TEXT("data\n\ndata\ndata\n\ndata:"), "message|\nmessage|\n\n"}, /* the standard's own example */
	{TEXT("data: test\n\ndata:test\n\n"), "message|test\nmessage|test\n"},
	{TEXT(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
	 "message|first event\nmessage|second event\nmessage| third event\n"},
	{TEXT("\xef\xbb\xbf"
	      "data: a\n\n"),
	 "message|a\n"},
	{TEXT("\xef\xbb\xbf\xef\xbb\xbf"
	      "data: a\n\ndata: b\n\n"),
	 "message|b\n"}, /* one mark only: the second makes an unknown field */
	{TEXT("data: a\n\n\xef\xbb\xbf"
	      "data: b\n\n"),
	 "message|a\n"},
	{TEXT(":\n:\n: comment: data: x\n\n\n"), ""},
	{TEXT("event: silo\n\ndata: a\n\n"), "message|a\n"}, /* no data, no event, and its type is forgotten */
	{TEXT("Data: a\n data: b\ndatas: c\ndata : d\n\n"), ""},
	{TEXT("data: not ended\n"), ""},
	{TEXT("data: a\0b\n\n"), "message|a@b\n"},
	{TEXT("event: a\0b\ndata: x\n\n"), "a@b|x\n"},
	{TEXT("event: a\nevent: b\ndata: x\n\n"), "b|x\n"},
	{TEXT("event: a\nevent\ndata: x\n\n"), "message|x\n"},
	{TEXT("\n\n\r\r\r\n"), ""},
	{TEXT(""), ""},
};

static void a_stream_means_the_same_in_pieces_of_every_size(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t size = 1; size <= rows[i].len + 1; size++)
			assert_string_equal(read_all(rows[i].text, rows[i].len, size), rows[i].events);
}

static void an_event_is_told_as_soon_as_its_last_byte_is_there(void **state)
{
	_cleanup_(eventstream_release) struct eventstream stream;
	seen = BUF_INIT(100);
	eventstream_init(&stream, MAX);
	assert_int_equal(feed(&stream, TEXT("data: a\r\n\r"), MAX), 0); /* whether a LF follows does not matter */
	assert_string_equal(seen.data, "message|a\n");
	assert_int_equal(feed(&stream, TEXT("\ndata: b\n"), MAX), 0);
	assert_string_equal(seen.data, "message|a\n");
	assert_int_equal(feed(&stream, TEXT("\n"), MAX), 0);
	assert_string_equal(seen.data, "message|a\nmessage|b\n");
}

static void the_id_holds_from_the_end_of_its_event_on_also_without_data(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *id;
	} steps[] = {
		{TEXT("id: 1\ndata: a\n"), ""},    {TEXT("\n"), "1"},    {TEXT("data: b\n\n"), "1"},
		{TEXT(":\nid: 7\n"), "1"},         {TEXT("\n"), "7"},    {TEXT("id: 8\0\n\n"), "7"},
		{TEXT("id: 9\nid: 10\n\n"), "10"}, {TEXT("id\n\n"), ""}, {TEXT("id: 11\n"), ""},
	};
	_cleanup_(eventstream_release) struct eventstream stream;
	seen = BUF_INIT(100);
	eventstream_init(&stream, MAX);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		assert_int_equal(feed(&stream, steps[i].text, steps[i].len, 1), 0);
		assert_string_equal(stream.last_id.text, steps[i].id);
	}
}

static void only_digits_are_a_pause(void **state)
{
	static const struct {
		const char *text;
		int64_t retry_ms;
	} steps[] = {
		{"retry\n", -1},
		{"retry:\n", -1},
		{"retry: 2s\n", -1},
		{"retry: -1\n", -1},
		{"retry: 2000\n", 2000},
		{"retry: x\n", 2000},
		{"retry: 0\n", 0},
		{"retry:1.5\n", 0},
		{"retry: 99999999999999999999999999\n", EVENTSTREAM_RETRY_MAX_MS},
	};
	_cleanup_(eventstream_release) struct eventstream stream;
	eventstream_init(&stream, MAX);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		assert_int_equal(feed(&stream, steps[i].text, strlen(steps[i].text), 3), 0);
		assert_int_equal(stream.retry_ms, steps[i].retry_ms);
	}
}

/* A line of `n` bytes in all, and an event of it. */
static void make_line(struct buf *text, const char *begin, size_t n)
{
	buf_clear(text);
	buf_append_str(text, begin);
	while (text->len < n)
		buf_append(text, "x", 1);
	buf_append_str(text, "\n\n");
}

static void what_is_over_a_limit_is_an_error_for_good(void **state)
{
	static const struct {
		const char *begin;
		size_t longest; /* line that is taken */
	} lines[] = {
		{"data: ", MAX},
		{":", MAX},
		{"unknown: ", MAX},
		{"id: ", 4 + EVENTSTREAM_NAME_MAX},
		{"event: ", 7 + EVENTSTREAM_NAME_MAX},
	};
	_cleanup_(buf_release) struct buf text = BUF_INIT(1 << 16);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		for (size_t size = 1; size < 300; size += 50) {
			_cleanup_(eventstream_release) struct eventstream stream;
			buf_release(&seen);
			seen = BUF_INIT(1 << 16);
			eventstream_init(&stream, MAX);
			make_line(&text, lines[i].begin, lines[i].longest);
			assert_int_equal(feed(&stream, text.data, text.len, size), 0);
			make_line(&text, lines[i].begin, lines[i].longest + 1);
			assert_int_equal(feed(&stream, text.data, text.len, size), ERR_TOO_LARGE);
			assert_int_equal(feed(&stream, TEXT("\n\ndata: a\n\n"), 100), ERR_TOO_LARGE);
			assert_true(seen.data == NULL || !strstr(seen.data, "|a\n"));
		}
}

static void an_event_of_many_lines_is_limited_as_a_whole(void **state)
{
	_cleanup_(eventstream_release) struct eventstream stream;
	int lines = 0;
	eventstream_init(&stream, MAX);
	while (feed(&stream, TEXT("data: 123456789\n"), 100) == 0)
		lines++;
	assert_int_equal(stream.err, ERR_TOO_LARGE);
	assert_int_equal(lines, MAX / 10);
	assert_true(stream.data.capacity <= MAX + 2);
}

static int refuse(void *arg, const struct eventstream_event *event)
{
	(void)event;
	(*(int *)arg)++;
	return ERR_FORBIDDEN;
}

static void a_refused_event_is_the_last_one(void **state)
{
	_cleanup_(eventstream_release) struct eventstream stream;
	int calls = 0;
	eventstream_init(&stream, MAX);
	assert_int_equal(eventstream_feed(&stream, TEXT("data: a\n\ndata: b\n\n"), refuse, &calls), ERR_FORBIDDEN);
	assert_int_equal(eventstream_feed(&stream, TEXT("data: c\n\n"), refuse, &calls), ERR_FORBIDDEN);
	assert_int_equal(calls, 1);
}

#define TEAR_DOWN tear_down
