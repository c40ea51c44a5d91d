/* What the hub tells on a watch is handed on as values, in order; what is no hub's stream is never believed. */
#include "hubclient_fixture.h"

#include "common/hub/hubwatch.h"

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

#define TOO_LONG "0123456789012345678901234567890123456789012345678901234567890123x" /* for an identity */

static struct hubwatch *hubwatch;
static struct buf seen; /* one line for each event */

static int set_up_watch(void **state)
{
	seen = BUF_INIT(1 << 16);
	return set_up(state);
}

static int tear_down_watch(void **state)
{
	hubwatch_close(hubwatch);
	hubwatch = NULL;
	buf_release(&seen);
	return tear_down(state);
}

static int on_event(void *arg, struct hubwatch_event *event)
{
	static const char *const names[] = {"silo", "unreadable", "deleted", "forbidden", "reset", "synced"};
	(void)arg;
	buf_append_fmt(&seen, "%s %s%s %llu", names[event->kind], event->id, event->hub,
		       (unsigned long long)event->revision);
	for (size_t i = 0; i < event->silo.count; i++)
		buf_append_fmt(&seen, " %s", event->silo.records[i].hostname);
	return buf_append_str(&seen, "\n");
}

static void open_watch(const struct hubwatch_position *position)
{
	static const char *const ids[] = {"a", "b.c_d-E"};
	struct why why = {0};
	hubwatch_close(hubwatch);
	hubwatch = NULL;
	buf_clear(&seen);
	assert_int_equal(hubwatch_open(client, ids, 2, position, on_event, NULL, &hubwatch, &why), 0);
}

/* Until the stream is over: 0 = in due form. */
static int run(void)
{
	int64_t deadline = clock_mono_ms() + 10000;
	int err = 0;
	while (err == 0 && hubwatch_state(hubwatch) != HUBWATCH_ENDED) {
		fake_await(hubwatch_fd(hubwatch), hubwatch_wait_ms(hubwatch), deadline);
		err = hubwatch_step(hubwatch);
	}
	return err;
}

/* The stream is `body`, ended by the connection's close. */
static int watch(const char *body)
{
	static const struct hubwatch_position nowhere = {0};
	fake_say(server, FAKE_CLOSE, HEAD "%s", body);
	open_watch(&nowhere);
	return run();
}

static const char *told(void)
{
	const char *text = hubwatch_failure(hubwatch)->why.text;
	assert_null(strstr(text, PASSWORD));
	return text;
}

static void every_event_is_handed_on(void **state)
{
	assert_int_equal(watch(": silodns\nretry: 2000\n\n"
			       "event: silo\ndata: {\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"x\",\"ip\":"
			       "\"192.0.2.1\"},{\"hostname\":\"db\",\"ip\":\"192.0.2.7\"}],\"revision\":41}\n\n"
			       "event: forbidden\ndata: {\"id\":\"b\",\"revision\":7}\n\n"
			       "id: 42\nevent: synced\ndata: {\"hub\":\"0123abc\",\"revision\":42}\n\n"
			       ":\nid: 43\n\n"
			       "id: 44\nevent: deleted\ndata: {\"id\":\"a\",\"revision\":44}\n\n"
			       "id: 0\nevent: reset\ndata: {\"hub\":\"4567def\",\"revision\":9}\n\n"
			       "event: weather\ndata: fine\n\n"),
			 0);
	assert_string_equal(seen.data, "silo a 41 db x\n"
				       "forbidden b 7\n"
				       "synced 0123abc 42\n"
				       "deleted a 44\n"
				       "reset 4567def 9\n");
	assert_int_equal(hubwatch_revision(hubwatch), 0);
	assert_int_equal(hubwatch_retry_ms(hubwatch), 2000);
	assert_true(begins("GET /watch?silo=a&silo=b.c_d-E HTTP/1.1\r\n"));
	assert_true(sent("Accept: text/event-stream"));
	assert_true(sent("Authorization: Basic YWxpY2U6aHVudGVyMg=="));
}

static void it_goes_on_from_where_it_was(void **state)
{
	static const struct hubwatch_position position = {.hub = "0123 &=#", .revision = 18446744073709551615ull};
	fake_say(server, FAKE_CLOSE, HEAD ":\nid: 77\n\n");
	open_watch(&position);
	assert_int_equal(run(), 0);
	assert_true(
		begins("GET /watch?silo=a&silo=b.c_d-E&since=18446744073709551615&hub=0123%20%26%3D%23 HTTP/1.1\r\n"));
	assert_int_equal(hubwatch_revision(hubwatch), 77);
}

static void an_id_that_is_no_revision_is_none(void **state)
{
	static const char *const ids[] = {"x", "1x", "-1", " 1", "99999999999999999999", ""};
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char body[64];
		snprintf(body, sizeof(body), "id:  %s\n\n", ids[i]);
		assert_int_equal(watch(body), 0);
		assert_int_equal(hubwatch_revision(hubwatch), 0);
	}
}

static void a_silo_that_makes_no_sense_is_told_by_its_id(void **state)
{
	assert_int_equal(watch("event: silo\ndata: {\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"-\",\"ip\":"
			       "\"192.0.2.1\"}],\"revision\":41}\n\n"
			       "event: silo\ndata: {\"id\":\"b\",\"revision\":42}\n\n"),
			 0);
	assert_string_equal(seen.data, "unreadable a 41\nunreadable b 42\n");
}

static void what_is_no_event_ends_the_stream(void **state)
{
	static const char *const rows[] = {
		"event: silo\ndata: x\n\n",
		"event: silo\ndata: []\n\n",
		"event: silo\ndata: {\"dnsrecords\":[],\"revision\":1}\n\n",
		"event: silo\ndata: {\"id\":\"../x\",\"dnsrecords\":[],\"revision\":1}\n\n",
		"event: silo\ndata: {\"id\":\"a\\u0000\",\"dnsrecords\":[],\"revision\":1}\n\n",
		"event: silo\ndata: {\"id\":\"a\",\"id\":\"b\",\"dnsrecords\":[],\"revision\":1}\n\n",
		"event: silo\ndata: {\"id\":\"a\",\"dnsrecords\":[]}\n\n",
		"event: deleted\ndata: {\"id\":\"a\",\"revision\":\"1\"}\n\n",
		"event: deleted\ndata: {\"id\":\"a\",\"revision\":-1}\n\n",
		"event: synced\ndata: {\"revision\":1}\n\n",
		"event: synced\ndata: {\"hub\":\"\",\"revision\":1}\n\n",
		"event: reset\ndata: {\"hub\":\"" TOO_LONG "\",\"revision\":1}\n\n",
		"event: reset\ndata\n\n",
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tear_down_watch(NULL);
		set_up_watch(NULL);
		assert_int_equal(watch(rows[i]), ERR_PROTOCOL);
		assert_non_null(strstr(told(), "makes no sense"));
		assert_int_equal(hubwatch_state(hubwatch), HUBWATCH_STREAM);
		assert_null(seen.data);
	}
}

static void what_is_no_event_stream_is_refused_as_what_it_is(void **state)
{
	static const struct {
		const char *status, *headers, *body;
		int err;
		const char *text;
	} rows[] = {
		{"200 OK", "Content-Type: text/html\r\n", "event: silo\n\n", ERR_PROTOCOL, "text/html"},
		{"200 OK", "", "x", ERR_PROTOCOL, "event stream"},
		{"200 OK", "Content-Type: text/event-streams\r\n", "", ERR_PROTOCOL, "event stream"},
		{"401 Unauthorized", "", PROBLEM("unauthorized", "who?"), ERR_UNAUTHORIZED, "who?"},
		{"403 Forbidden", "", PROBLEM("forbidden", "not you"), ERR_FORBIDDEN, "not you"},
		{"404 Not Found", "", PROBLEM("not-found", "no path"), ERR_NOT_FOUND, "no path"},
		{"404 Not Found", "", "<html>", ERR_PROTOCOL, "is the URL right?"},
		{"405 Method Not Allowed", "", PROBLEM("method", "no"), ERR_METHOD, "no"},
		{"422 Unprocessable", "", PROBLEM("invalid", "no"), ERR_INVALID, "no"},
		{"503 Service Unavailable", "Retry-After: 3\r\n", PROBLEM("busy", "full"), ERR_BUSY, "full"},
		{"502 Bad Gateway", "", "<html>", ERR_UNAVAILABLE, "502"},
		{"302 Found", "Location: /\r\n", "", ERR_PROTOCOL, "https://"},
	};
	static const struct hubwatch_position nowhere = {0};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_reply(server, rows[i].status, rows[i].headers, rows[i].body);
		open_watch(&nowhere);
		assert_int_equal(run(), rows[i].err);
		assert_non_null(strstr(told(), rows[i].text));
		assert_int_equal(hubwatch_failure(hubwatch)->status, strtol(rows[i].status, NULL, 10));
		assert_int_equal(hubwatch_failure(hubwatch)->retry_after_ms, rows[i].err == ERR_BUSY ? 3000 : 0);
		assert_true(hubwatch_state(hubwatch) < HUBWATCH_STREAM);
	}
}

static void parameters_of_the_content_type_do_not_matter(void **state)
{
	static const struct hubwatch_position nowhere = {0};
	fake_reply(server, "200 OK", "Content-Type: Text/Event-Stream; charset=utf-8\r\n", ": x\n");
	open_watch(&nowhere);
	assert_int_equal(run(), 0);
}

static void too_many_or_no_silos_are_refused_before_anything_is_sent(void **state)
{
	static const struct hubwatch_position nowhere = {0};
	const char *ids[HUBWATCH_SILOS_MAX + 1];
	char longest[SILO_ID_MAX + 1];
	struct why why = {0};
	memset(longest, 'x', SILO_ID_MAX);
	longest[SILO_ID_MAX] = '\0';
	for (size_t i = 0; i <= HUBWATCH_SILOS_MAX; i++)
		ids[i] = longest;
	assert_int_equal(hubwatch_open(client, ids, 0, &nowhere, on_event, NULL, &hubwatch, &why), ERR_INVALID);
	assert_int_equal(hubwatch_open(client, ids, HUBWATCH_SILOS_MAX + 1, &nowhere, on_event, NULL, &hubwatch, &why),
			 ERR_INVALID);
	assert_null(hubwatch);
	fake_say(server, FAKE_CLOSE, HEAD);
	assert_int_equal(hubwatch_open(client, ids, HUBWATCH_SILOS_MAX, &nowhere, on_event, NULL, &hubwatch, &why), 0);
	assert_int_equal(run(), 0);
}

#undef SET_UP
#define SET_UP set_up_watch
#undef TEAR_DOWN
#define TEAR_DOWN tear_down_watch
