/* An answer is read piece by piece as it comes, without ever waiting, on the same limits as any other request. */
#include "http_fixture.h"

#include "common/net/http_stream.h"

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

static struct http_stream *stream;
static struct buf seen;
static long seen_status;
static int refuse_with; /* what on_piece() returns */

static int set_up_stream(void **state)
{
	seen = BUF_INIT(1 << 16);
	refuse_with = 0;
	return set_up(state);
}

static int tear_down_stream(void **state)
{
	http_stream_close(stream);
	stream = NULL;
	buf_release(&seen);
	return tear_down(state);
}

static int on_piece(void *arg, const struct http_answer *head, const char *data, size_t len)
{
	(void)arg;
	seen_status = head->status;
	buf_append(&seen, data, len);
	return refuse_with;
}

static int begin(const char *from)
{
	const struct http_request request = {.method = "GET", .url = from, .accept = "text/event-stream"};
	return http_stream_open(http, &request, on_piece, NULL, &stream, &why);
}

/* Steps until `text` was seen (NULL: until the end), as a caller does; an error of the stream, or 1 = over. */
static int run(const char *text)
{
	int64_t deadline = clock_mono_ms() + 10000;
	bool over = false;
	int err = 0;
	while (err == 0 && !over && !(text && seen.data && strstr(seen.data, text))) {
		fake_await(http_stream_fd(stream), http_stream_wait_ms(stream), deadline);
		err = http_stream_step(stream, &over, &why);
	}
	return err ? err : over;
}

static void pieces_are_told_as_they_come(void **state)
{
	bool over = true;
	fake_say(server, FAKE_KEEP, HEAD "5\r\nhello\r\n");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run("hello"), 0);
	assert_int_equal(seen_status, 200);
	assert_int_equal(http_stream_head(stream)->status, 200);
	assert_string_equal(http_stream_head(stream)->content_type, "text/event-stream");
	assert_true(sent("Accept: text/event-stream"));
	assert_true(http_stream_sent(stream));
	assert_int_equal(http_stream_step(stream, &over, &why), 0); /* nothing more is there */
	assert_false(over);
}

static void its_proper_end_is_told_apart_from_a_cut(void **state)
{
	fake_say(server, FAKE_KEEP, HEAD "5\r\nhello\r\n0\r\n\r\n");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run(NULL), 1);
	http_stream_close(stream);
	stream = NULL;
	fake_say(server, FAKE_CLOSE, HEAD "5\r\nhello\r\n");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run(NULL), ERR_NETWORK);
	assert_non_null(strstr(why.text, "127.0.0.1:"));
}

static void a_refusal_comes_with_its_headers(void **state)
{
	fake_reply(server, "503 Service Unavailable", "Retry-After: 7\r\n", "later");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run(NULL), 1);
	assert_int_equal(seen_status, 503);
	assert_int_equal(http_stream_head(stream)->retry_after_ms, 7000);
	assert_string_equal(seen.data, "later");
}

static void it_ends_with_the_readers_own_error(void **state)
{
	refuse_with = ERR_FORBIDDEN;
	fake_say(server, FAKE_KEEP, HEAD "5\r\nhello\r\n");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run(NULL), ERR_FORBIDDEN);
}

static void requests_can_be_sent_beside_it(void **state)
{
	fake_say(server, FAKE_KEEP, HEAD "5\r\nhello\r\n");
	fake_reply(server, "200 OK", "", "plain");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run("hello"), 0);
	assert_int_equal(get(url), 0);
	assert_string_equal(answer.body.data, "plain");
	assert_string_equal(seen.data, "hello");
	assert_int_equal(fake_connection_count(server), 2);
}

static void nobody_there_is_an_error_and_no_wait(void **state)
{
	fake_say(server, FAKE_SHUT, "%s", "");
	assert_int_equal(begin(url), 0);
	assert_int_equal(run(NULL), ERR_NETWORK);
	http_stream_close(stream);
	stream = NULL;
	assert_int_equal(begin(url), 0); /* nobody listens any more */
	assert_int_equal(run(NULL), ERR_NETWORK);
	assert_false(http_stream_sent(stream));
}

/* The kernel makes no connection beyond the backlog. */
static void a_connection_that_is_not_made_is_given_up_or_closed_at_once(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int clients[4], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char full[64];
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	for (int i = 0; i < 4; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(clients[i], (struct sockaddr *)&address, len);
	}
	snprintf(full, sizeof(full), "http://127.0.0.1:%d/", ntohs(address.sin_port));
	reopen(&(struct http_settings){.connect_timeout_ms = 300});
	assert_int_equal(begin(full), 0);
	assert_int_equal(run(NULL), ERR_TIMEOUT);
	assert_false(http_stream_sent(stream));
	http_stream_close(stream);
	stream = NULL;
	reopen(&(struct http_settings){.connect_timeout_ms = 60000});
	int64_t start = clock_mono_ms();
	bool over;
	assert_int_equal(begin(full), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(http_stream_step(stream, &over, &why), 0);
	http_stream_close(stream);
	stream = NULL;
	assert_true(clock_mono_ms() - start < 2000);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	close(listener);
}

#undef SET_UP
#define SET_UP set_up_stream
#undef TEAR_DOWN
#define TEAR_DOWN tear_down_stream
