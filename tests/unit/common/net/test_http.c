/* One request, with every limit kept, and no credential where it does not belong. */
#include "http_fixture.h"

static void an_answer_is_given_with_what_matters(void **state)
{
	fake_reply(server, "200 OK", "ETag: \"42\"\r\nContent-Type: text/plain\r\n", "hello");
	assert_int_equal(get(url), 0);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.etag, "\"42\"");
	assert_string_equal(answer.content_type, "text/plain");
	assert_int_equal(answer.retry_after_ms, 0);
	assert_int_equal(answer.body.len, 5);
	assert_string_equal(answer.body.data, "hello");
	assert_memory_equal(fake_request(server), "GET /path HTTP/1.1\r\n", 20);
	assert_true(sent("User-Agent: silodns/" SILODNS_VERSION));
	assert_null(strstr(fake_request(server), "Authorization"));
}

static void an_error_status_is_an_answer(void **state)
{
	fake_reply(server, "503 Service Unavailable", "Retry-After: 7\r\n", "later");
	assert_int_equal(get(url), 0);
	assert_int_equal(answer.status, 503);
	assert_int_equal(answer.retry_after_ms, 7000);
	assert_string_equal(answer.body.data, "later");
}

static void retry_after_may_be_a_date(void **state)
{
	char date[64];
	time_t then = time(NULL) + 100;
	strftime(date, sizeof(date), "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime(&then));
	fake_reply(server, "503 Service Unavailable", date, "");
	fake_reply(server, "503 Service Unavailable", "Retry-After: Thu, 01 Jan 2015 00:00:00 GMT\r\n", "");
	fake_reply(server, "503 Service Unavailable", "Retry-After: soon\r\n", "");
	fake_reply(server, "503 Service Unavailable", "Retry-After: 99999999999999999999\r\n", "");
	assert_int_equal(get(url), 0);
	assert_in_range(answer.retry_after_ms, 90000, 100000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(get(url), 0);
		assert_int_equal(answer.retry_after_ms, 0);
	}
	assert_int_equal(get(url), 0);
	assert_true(answer.retry_after_ms <= 86400000);
}

static void conditions_and_body_are_sent_as_given(void **state)
{
	const char body[] = "{\"a\":\"\\u0000\"}";
	struct http_request request = {.method = "PUT",
				       .url = url,
				       .if_match = "\"41\"",
				       .accept = "application/json",
				       .body = body,
				       .body_len = strlen(body)};
	fake_reply(server, "412 Precondition Failed", "", "");
	assert_int_equal(http_send(http, &request, &answer, &why), 0);
	assert_int_equal(answer.status, 412);
	assert_memory_equal(fake_request(server), "PUT /path HTTP/1.1\r\n", 20);
	assert_true(sent("If-Match: \"41\""));
	assert_true(sent("Accept: application/json"));
	assert_true(sent("Content-Type: application/json"));
	assert_true(sent("Content-Length: 14"));
	assert_string_equal(strstr(fake_request(server), "\r\n\r\n") + 4, body);

	request = (struct http_request){.method = "GET", .url = url, .if_none_match = "\"42\""};
	fake_say(server, FAKE_KEEP, "HTTP/1.1 304 Not Modified\r\nETag: \"42\"\r\n\r\n");
	assert_int_equal(http_send(http, &request, &answer, &why), 0);
	assert_int_equal(answer.status, 304);
	assert_true(sent("If-None-Match: \"42\""));
	assert_null(strstr(fake_request(server), "If-Match: "));
	assert_null(strstr(fake_request(server), "Content-")); /* nothing of the request before */
}

static void a_large_body_is_sent_without_waiting_for_leave(void **state)
{
	size_t len = 1500000;
	char *body = malloc(len);
	int64_t start = clock_mono_ms();
	memset(body, 'x', len);
	fake_reply(server, "200 OK", "", "");
	assert_int_equal(put(body, len), 0);
	assert_null(strstr(fake_request(server), "Expect:"));
	assert_int_equal(strlen(strstr(fake_request(server), "\r\n\r\n") + 4), len);
	assert_true(clock_mono_ms() - start < 900); /* libcurl would wait 1 s */
	free(body);
}

static void connections_are_kept_alive(void **state)
{
	for (int i = 0; i < 5; i++) {
		fake_reply(server, "200 OK", "", "x");
		assert_int_equal(get(url), 0);
	}
	assert_int_equal(fake_request_count(server), 5);
	assert_int_equal(fake_connection_count(server), 1);
}

static void a_token_wins_over_a_password(void **state)
{
	reopen(&(struct http_settings){.user = "alice", .password = SECRET, .token = "tok123"});
	fake_reply(server, "200 OK", "", "");
	assert_int_equal(get(url), 0);
	assert_true(sent("Authorization: Bearer tok123"));
	assert_null(strstr(fake_request(server), SECRET_BASE64));
}

static void redirects_are_not_followed(void **state)
{
	char headers[200];
	snprintf(headers, sizeof(headers), "Location: %s/other\r\n", url);
	reopen(&(struct http_settings){.token = "tok123"});
	fake_reply(server, "302 Found", headers, "");
	assert_int_equal(get(url), 0);
	assert_int_equal(answer.status, 302);
	assert_int_equal(fake_request_count(server), 1);
}

static void credentials_do_not_leave_the_machine_over_plain_http(void **state)
{
	reopen(&(struct http_settings){.token = "tok123"});
	assert_int_equal(get("http://hub.invalid/silos"), ERR_INVALID);
	assert_non_null(strstr(why.text, "hub.invalid"));
	assert_non_null(strstr(why.text, "SILODNS_ALLOW_PLAIN_HTTP"));
	assert_null(strstr(why.text, "tok123"));
	assert_int_equal(http_check(http, "http://192.0.2.1/", NULL), ERR_INVALID);
	assert_int_equal(http_check(http, "http://127.0.0.1.hub.invalid/", NULL), ERR_INVALID);
	assert_int_equal(http_check(http, "http://localhost.hub.invalid/", NULL), ERR_INVALID);
	assert_int_equal(http_check(http, "https://hub.invalid/", NULL), 0);
	assert_int_equal(http_check(http, "http://127.9.9.9:80/", NULL), 0);
	assert_int_equal(http_check(http, "http://[::1]:80/", NULL), 0);
	assert_int_equal(http_check(http, "http://LocalHost/", NULL), 0);
	reopen(&(struct http_settings){.token = "tok123", .plain_host = "API"});
	assert_int_equal(http_check(http, "http://api:8080", &why), 0);
	assert_int_equal(http_check(http, "http://api.example.net", &why), ERR_INVALID);
	assert_int_equal(http_check(http, "http://192.0.2.1", &why), ERR_INVALID);
	reopen(&(struct http_settings){.token = "tok123", .allow_plain = true});
	assert_int_equal(http_check(http, "http://hub.invalid/", NULL), 0);
	reopen(&(struct http_settings){0});
	assert_int_equal(http_check(http, "http://hub.invalid/", NULL), 0);
}

static void what_would_break_out_of_a_header_is_refused(void **state)
{
	struct http *none = NULL;
	assert_int_equal(http_open(&(struct http_settings){.token = "a\r\nX: y"}, &none), ERR_INVALID);
	assert_int_equal(http_open(&(struct http_settings){.user = "a\n", .password = "p"}, &none), ERR_INVALID);
	assert_int_equal(http_open(&(struct http_settings){.user = "a:b", .password = "p"}, &none), ERR_INVALID);
	assert_null(none);
	const struct http_request request = {.method = "GET", .url = url, .if_match = "\"1\"\r\nX: y"};
	assert_int_equal(http_send(http, &request, &answer, &why), ERR_INVALID);
	assert_int_equal(fake_request_count(server), 0);
	assert_int_equal(get("file:///etc/passwd"), ERR_INVALID);
	assert_int_equal(get("gopher://127.0.0.1/"), ERR_INVALID);
	assert_int_equal(get("http://u:p@127.0.0.1/"), ERR_INVALID);
}

static void the_address_family_can_be_forced(void **state)
{
	char local[64];
	snprintf(local, sizeof(local), "http://localhost:%d/", server->port);
	struct http_request request = {.method = "GET", .url = local, .family = HTTP_FAMILY_4};
	fake_reply(server, "200 OK", "", "");
	assert_int_equal(http_send(http, &request, &answer, &why), 0);
	request.family = HTTP_FAMILY_6; /* the server has no IPv6; the kept connection must not be used */
	assert_int_equal(http_send(http, &request, &answer, &why), ERR_NETWORK);
	assert_int_equal(fake_request_count(server), 1);
}

static void plain_http_and_loopback_use_no_proxy(void **state)
{
	char proxy[64];
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", server->port);
	setenv("http_proxy", proxy, 1);
	setenv("https_proxy", proxy, 1);
	setenv("ALL_PROXY", proxy, 1);
	reopen(&(struct http_settings){.token = "tok123", .allow_plain = true, .timeout_ms = 2000});
	assert_int_equal(get("http://hub.invalid/"), ERR_NETWORK);
	assert_int_equal(get("https://127.0.0.1:1/"), ERR_NETWORK);
	assert_int_equal(fake_request_count(server), 0);
	fake_say(server, FAKE_CLOSE, "HTTP/1.1 502 Bad Gateway\r\n\r\n");
	assert_int_equal(get("https://hub.invalid/"), ERR_NETWORK);
	assert_memory_equal(fake_request(server), "CONNECT hub.invalid:443 ", 24);
	assert_null(strstr(fake_request(server), "tok123"));
	assert_false(http_was_sent(http));
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
}
