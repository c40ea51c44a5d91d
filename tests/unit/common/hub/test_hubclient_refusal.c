/* Every refusal, and every answer that gets lost, comes out as what it is. */
#include "hubclient_fixture.h"

static void every_refusal_has_its_error(void **state)
{
	static const struct {
		const char *status, *body;
		int get, put;
		const char *text;
	} rows[] = {
		{"400 Bad Request", PROBLEM("malformed", "not JSON"), ERR_MALFORMED, ERR_MALFORMED, "not JSON"},
		{"401 Unauthorized", PROBLEM("unauthorized", "who?"), ERR_UNAUTHORIZED, ERR_UNAUTHORIZED, "who?"},
		{"401 Unauthorized", "<html>", ERR_UNAUTHORIZED, ERR_UNAUTHORIZED, "127.0.0.1 answered 401"},
		{"403 Forbidden", PROBLEM("forbidden", "not yours"), ERR_FORBIDDEN, ERR_FORBIDDEN, "not yours"},
		{"403 Forbidden", PROBLEM("quota", "used up"), ERR_QUOTA, ERR_QUOTA, "used up"},
		{"403 Forbidden", "", ERR_FORBIDDEN, ERR_FORBIDDEN, "403"},
		{"404 Not Found", PROBLEM("not-found", "no silo"), ERR_NOT_FOUND, ERR_NOT_FOUND, "no silo"},
		{"404 Not Found", "<html>nginx</html>", ERR_PROTOCOL, ERR_PROTOCOL, "is the URL right?"},
		{"404 Not Found", "{\"detail\":\"Not Found\"}", ERR_PROTOCOL, ERR_PROTOCOL, "Not Found"},
		{"405 Method Not Allowed", PROBLEM("method", "no"), ERR_METHOD, ERR_METHOD, "no"},
		{"409 Conflict", PROBLEM("conflict", "no"), ERR_CONFLICT, ERR_CONFLICT, "no"},
		{"412 Precondition Failed", PROBLEM("precondition", "changed"), ERR_PRECONDITION, ERR_PRECONDITION,
		 "changed"},
		{"413 Too Large", "", ERR_TOO_LARGE, ERR_TOO_LARGE, "413"},
		{"422 Unprocessable", PROBLEM("invalid", "ip: no\\u0007"), ERR_INVALID, ERR_INVALID, "ip: no?"},
		{"429 Too Many Requests", "", ERR_RATE, ERR_RATE, "429"},
		{"503 Service Unavailable", PROBLEM("unavailable", "db"), ERR_UNAVAILABLE, ERR_UNAVAILABLE, "db"},
		{"503 Service Unavailable", PROBLEM("busy", "full"), ERR_BUSY, ERR_BUSY, "full"},
		{"503 Service Unavailable", PROBLEM("unknown-outcome", "?"), ERR_UNKNOWN_OUTCOME, ERR_UNKNOWN_OUTCOME,
		 "?"},
		{"503 Service Unavailable", PROBLEM("out-of-memory", "m"), ERR_UNAVAILABLE, ERR_UNAVAILABLE, "m"},
		{"503 Service Unavailable", "<html>", ERR_UNAVAILABLE, ERR_UNAVAILABLE, "503"},
		{"500 Internal Server Error", PROBLEM("internal", "bug"), ERR_UNAVAILABLE, ERR_UNKNOWN_OUTCOME, "bug"},
		{"502 Bad Gateway", "<html>", ERR_UNAVAILABLE, ERR_UNKNOWN_OUTCOME, "502"},
		{"504 Gateway Timeout", "<html>", ERR_UNAVAILABLE, ERR_UNKNOWN_OUTCOME, "504"},
		{"301 Moved", "", ERR_PROTOCOL, ERR_PROTOCOL, "https://"},
		{"418 Teapot", "", ERR_PROTOCOL, ERR_PROTOCOL, "418"},
		{"204 No Content", "", ERR_PROTOCOL, ERR_PROTOCOL, "204"},
		/* A type that does not fit its status, or is of another kind, is not believed. */
		{"403 Forbidden", PROBLEM("not-found", "x"), ERR_FORBIDDEN, ERR_FORBIDDEN, "x"},
		{"404 Not Found", "{\"type\":\"about:blank\"}", ERR_PROTOCOL, ERR_PROTOCOL, "404"},
		{"401 Unauthorized", "{\"type\":5,\"detail\":[]}", ERR_UNAUTHORIZED, ERR_UNAUTHORIZED, "401"},
		{"401 Unauthorized", "[1]", ERR_UNAUTHORIZED, ERR_UNAUTHORIZED, "401"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tear_down(NULL);
		set_up(NULL);
		fake_reply(server, rows[i].status, "", rows[i].body);
		fake_reply(server, rows[i].status, "", rows[i].body);
		assert_int_equal(get(), rows[i].get);
		assert_non_null(strstr(said(), rows[i].text));
		assert_int_equal(hubclient_failure(client)->status, strtol(rows[i].status, NULL, 10));
		assert_int_equal(put("\"1\""), rows[i].put);
		assert_non_null(strstr(said(), rows[i].text));
		assert_string_equal(etag, "");
	}
}

static void the_hub_says_when_to_come_back(void **state)
{
	fake_reply(server, "503 Service Unavailable", "Retry-After: 3\r\n", PROBLEM("busy", "full"));
	assert_int_equal(get(), ERR_BUSY);
	assert_int_equal(hubclient_failure(client)->retry_after_ms, 3000);
	fake_reply(server, "200 OK", ETAG, SILO);
	assert_int_equal(get(), 0);
	assert_int_equal(hubclient_failure(client)->retry_after_ms, 0);
}

static void a_cut_or_late_answer_to_a_change_leaves_the_outcome_unknown(void **state)
{
	fake_say(server, FAKE_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
	assert_int_equal(put("\"1\""), ERR_UNKNOWN_OUTCOME);
	fake_say(server, FAKE_CLOSE, "%s", "");
	assert_int_equal(put("\"1\""), ERR_UNKNOWN_OUTCOME);
	fake_say(server, FAKE_CLOSE, "garbage\r\n");
	assert_int_equal(put("\"1\""), ERR_UNKNOWN_OUTCOME);
	assert_true(said()[0]);
	reopen("", 200);
	fake_say(server, FAKE_KEEP, "HTTP/1.1 ");
	assert_int_equal(put("\"1\""), ERR_UNKNOWN_OUTCOME);
	assert_int_equal(hubclient_failure(client)->status, 0);
	/* The same failures of a read are what they are. */
	fake_say(server, FAKE_CLOSE, "%s", "");
	assert_int_equal(get(), ERR_NETWORK);
	fake_say(server, FAKE_KEEP, "HTTP/1.1 ");
	assert_int_equal(get(), ERR_TIMEOUT);
}

static void a_change_that_was_not_sent_has_a_known_outcome(void **state)
{
	fake_say(server, FAKE_SHUT, "%s", "");
	assert_int_equal(get(), ERR_NETWORK); /* from now on nobody listens */
	assert_int_equal(put("\"1\""), ERR_NETWORK);
	assert_non_null(strstr(said(), "127.0.0.1:"));
}

static bool always(void)
{
	return true;
}

static void a_stop_is_no_failure_of_the_hub(void **state)
{
	hubclient_set_stop(client, always);
	assert_int_equal(get(), ERR_STOPPED);
	assert_int_equal(put("\"1\""), ERR_STOPPED);
}
