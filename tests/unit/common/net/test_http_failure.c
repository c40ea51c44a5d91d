/* A server that is slow, cut, talkative or no HTTP server at all is an error, soon, and of the right kind. */
#include "http_fixture.h"

static void a_silent_server_is_given_up(void **state)
{
	int64_t start = clock_mono_ms();
	reopen(&(struct http_settings){.timeout_ms = 200, .token = "tok123"});
	assert_int_equal(get(url), ERR_TIMEOUT);
	assert_true(http_was_sent(http));
	assert_in_range(clock_mono_ms() - start, 200, 3000);
	assert_non_null(strstr(why.text, "127.0.0.1:"));
	assert_null(strstr(why.text, "tok123"));
}

static void a_trickle_is_given_up(void **state)
{
	reopen(&(struct http_settings){.timeout_ms = 200});
	fake_say(server, FAKE_KEEP, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
	assert_int_equal(get(url), ERR_TIMEOUT);
}

static void a_cut_answer_is_no_answer(void **state)
{
	static const char *const cuts[] = {
		"",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		fake_say(server, FAKE_CLOSE, "%s", cuts[i]);
		assert_int_equal(get(url), ERR_NETWORK);
		assert_null(answer.body.data);
		assert_true(http_was_sent(http));
	}
}

static void garbage_is_no_answer(void **state)
{
	fake_say(server, FAKE_CLOSE, "SSH-2.0-OpenSSH_9.2\r\n");
	assert_int_equal(get(url), ERR_PROTOCOL);
	fake_say(server, FAKE_CLOSE, "HTTP/1.1 2x0 OK\r\n\r\n");
	assert_int_equal(get(url), ERR_PROTOCOL);
}

static void an_over_long_answer_is_refused(void **state)
{
	char body[1002];
	memset(body, 'x', sizeof(body));
	body[1001] = '\0';
	fake_reply(server, "200 OK", "", body); /* announced */
	assert_int_equal(get(url), ERR_TOO_LARGE);
	fake_say(server, FAKE_KEEP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n%s\r\n0\r\n\r\n",
		 body);
	assert_int_equal(get(url), ERR_TOO_LARGE);
	fake_say(server, FAKE_CLOSE, "HTTP/1.1 200 OK\r\n\r\n%s", body); /* until the end */
	assert_int_equal(get(url), ERR_TOO_LARGE);
	body[1000] = '\0';
	fake_reply(server, "200 OK", "", body);
	assert_int_equal(get(url), 0);
	assert_int_equal(answer.body.len, 1000);
}

static void an_over_long_etag_is_none(void **state)
{
	char header[100] = "ETag: \"";
	memset(header + 7, '1', 79);
	memcpy(header + 86, "\"\r\n", 4);
	fake_reply(server, "200 OK", header, "");
	assert_int_equal(get(url), 0);
	assert_string_equal(answer.etag, "");
}

static void a_refused_connection_was_certainly_not_sent(void **state)
{
	struct fake_server *gone = fake_start();
	char dead[64];
	snprintf(dead, sizeof(dead), "http://127.0.0.1:%d/", gone->port);
	fake_stop(gone);
	assert_int_equal(get(dead), ERR_NETWORK);
	assert_false(http_was_sent(http));
	assert_int_equal(get("http://hub.invalid/"), ERR_NETWORK);
	assert_false(http_was_sent(http));
	assert_non_null(strstr(why.text, "hub.invalid:80: "));
}

/* libcurl itself tries again over a new connection then: the first try may have been heard. */
static void a_request_on_a_dying_kept_connection_may_have_been_sent(void **state)
{
	fake_reply(server, "200 OK", "", "");
	assert_int_equal(get(url), 0);
	fake_say(server, FAKE_SHUT, "%s", "");
	assert_int_equal(put("{}", 2), ERR_NETWORK);
	assert_true(http_was_sent(http));
}

static void no_tls_is_a_tls_failure_and_not_sent(void **state)
{
	char secure[64];
	server->greeting = "HTTP/1.1 400 Bad Request\r\n\r\n";
	snprintf(secure, sizeof(secure), "https://127.0.0.1:%d/", server->port);
	assert_int_equal(get(secure), ERR_TLS);
	assert_false(http_was_sent(http));
	reopen(&(struct http_settings){.ca_file = "/nonexistent/ca.pem"});
	assert_int_equal(get(secure), ERR_TLS);
}

static bool stop_when_asked(void)
{
	return fake_request_count(server) > 0;
}

static void a_stop_ends_a_request_soon(void **state)
{
	int64_t start = clock_mono_ms();
	reopen(&(struct http_settings){.timeout_ms = 20000});
	http_set_stop(http, stop_when_asked);
	assert_int_equal(get(url), ERR_STOPPED);
	assert_true(clock_mono_ms() - start < 5000);
}
