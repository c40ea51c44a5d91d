/* What the hub said is told exactly; what is not a hub is never believed; a lost answer is never taken for a refusal.
 */
#include "hubclient_fixture.h"

static void a_silo_is_read_with_its_etag(void **state)
{
	fake_reply(server, "200 OK", ETAG, SILO);
	assert_int_equal(get(), 0);
	assert_string_equal(silo.id, "a");
	assert_int_equal(silo.count, 1);
	assert_string_equal(silo.records[0].hostname, "db");
	assert_string_equal(etag, "\"42\"");
	assert_true(begins("GET /silos/a HTTP/1.1\r\n"));
	assert_true(sent("Authorization: Basic YWxpY2U6aHVudGVyMg=="));
	assert_null(strstr(fake_request(server), "If-"));
}

static void a_known_silo_is_asked_for_on_condition(void **state)
{
	fake_say(server, FAKE_KEEP, "HTTP/1.1 304 Not Modified\r\n\r\n");
	assert_int_equal(hubclient_get_silo(client, "a", "\"42\"", &silo, etag), ERR_NOT_MODIFIED);
	assert_true(sent("If-None-Match: \"42\""));
	assert_int_equal(hubclient_failure(client)->status, 304);
	fake_say(server, FAKE_KEEP, "HTTP/1.1 304 Not Modified\r\n\r\n");
	assert_int_equal(get(), ERR_PROTOCOL); /* nobody asked */
}

static void a_changed_silo_is_put_on_condition(void **state)
{
	fake_reply(server, "200 OK", "ETag: \"43\"\r\n", SILO);
	assert_int_equal(put("\"42\""), 0);
	assert_string_equal(etag, "\"43\"");
	assert_true(begins("PUT /silos/a HTTP/1.1\r\n"));
	assert_true(sent("If-Match: \"42\""));
	assert_null(strstr(fake_request(server), "If-None-Match"));
	assert_string_equal(strstr(fake_request(server), "\r\n\r\n") + 4, SILO);
}

static void a_new_silo_is_put_only_if_there_is_none(void **state)
{
	fake_reply(server, "201 Created", ETAG, SILO);
	assert_int_equal(put(NULL), 0);
	assert_true(sent("If-None-Match: *"));
	assert_null(strstr(fake_request(server), "If-Match"));
}

static void the_base_may_have_a_path_and_a_final_slash(void **state)
{
	reopen("/prefix//", 5000);
	fake_reply(server, "200 OK", ETAG, SILO);
	assert_int_equal(get(), 0);
	assert_true(begins("GET /prefix/silos/a HTTP/1.1\r\n"));
}

static void ids_are_percent_encoded(void **state)
{
	fake_reply(server, "404 Not Found", "", PROBLEM("not-found", "no"));
	assert_int_equal(hubclient_get_silo(client, "a/b ?#%\n\xc3\xbc", NULL, &silo, etag), ERR_NOT_FOUND);
	assert_true(begins("GET /silos/a%2Fb%20%3F%23%25%0A%C3%BC HTTP/1.1\r\n"));
	fake_reply(server, "404 Not Found", "", PROBLEM("not-found", "no"));
	assert_int_equal(hubclient_get_silo(client, "..", NULL, &silo, etag), ERR_NOT_FOUND);
	assert_true(begins("GET /silos/.. HTTP/1.1\r\n"));
}

static void what_is_no_silo_is_not_believed(void **state)
{
	static const struct {
		const char *headers, *body;
	} rows[] = {
		{ETAG, ""},
		{ETAG, "<html>sign in to this network</html>"},
		{ETAG, "{}"},
		{ETAG, "{\"id\":\"a\"}"},
		{ETAG, "{\"id\":\"b\",\"dnsrecords\":[]}"},
		{ETAG, "{\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"db\",\"ip\":\"x\"}]}"},
		{ETAG, "{\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"d\\u0000b\",\"ip\":\"192.0.2.7\"}]}"},
		{"", SILO},
		{"ETag: \"abc\"\r\n", SILO},
		{"ETag: 42\r\n", SILO},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_reply(server, "200 OK", rows[i].headers, rows[i].body);
		assert_int_equal(get(), ERR_PROTOCOL);
		assert_true(said()[0]);
		assert_null(silo.records);
		assert_string_equal(etag, "");
	}
}

static void a_tag_that_a_proxy_made_weak_is_made_strong_again(void **state)
{
	fake_reply(server, "200 OK", "ETag: W/\"42\"\r\n", SILO);
	assert_int_equal(get(), 0);
	assert_string_equal(etag, "\"42\"");
}

static void the_hub_tells_my_address(void **state)
{
	struct ipaddr ip = {0};
	char text[IPADDR_TEXT_MAX];
	fake_reply(server, "200 OK", "", "{\"ip\":\"192.0.2.9\",\"more\":1}");
	assert_int_equal(hubclient_my_ip(client, HTTP_FAMILY_4, &ip), 0);
	ipaddr_format(&ip, text);
	assert_string_equal(text, "192.0.2.9");
	assert_true(begins("GET /ip HTTP/1.1\r\n"));
}

static void a_doubtful_answer_about_my_address_is_none(void **state)
{
	static const char *const bodies[] = {
		"",
		"192.0.2.9",
		"{}",
		"{\"ip\":\"\"}",
		"{\"ip\":5}",
		"{\"ip\":\"192.0.2\"}",
		"{\"ip\":\"192.0.2.9\\u0000\"}",
		"{\"ip\":\"::1%lo\"}",
		"{\"ip\":\"192.0.2.9\",\"ip\":\"192.0.2.8\"}",
		"{\"ip\":\"2001:db8::1\"}",
	};
	struct ipaddr ip = {0};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		fake_reply(server, "200 OK", "", bodies[i]);
		assert_int_equal(hubclient_my_ip(client, HTTP_FAMILY_4, &ip), ERR_PROTOCOL);
		assert_int_equal(ip.family, 0);
	}
}

static void revisions_stand_in_etags(void **state)
{
	assert_int_equal(hubclient_etag_revision("\"1042\""), 1042);
	assert_true(hubclient_etag_revision("\"18446744073709551615\"") == UINT64_MAX);
	static const char *const wrong[] = {"",
					    "\"",
					    "\"\"",
					    "1042",
					    "\"1042",
					    "\"-1\"",
					    "\" 1\"",
					    "\"1\"x",
					    "W/\"1\"",
					    "\"1a\"",
					    "\"18446744073709551616\""};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(hubclient_etag_revision(wrong[i]), 0);
}

static void a_url_that_cannot_be_meant_is_refused_at_once(void **state)
{
	static const struct {
		const char *url, *text;
	} rows[] = {
		{"http://hub.example.net", "SILODNS_ALLOW_PLAIN_HTTP"},
		{"https://hub/?a=b", "neither"},
		{"https://hub/#", "neither"},
		{"https://u:" PASSWORD "@hub/", "settings"},
	};
	const struct http_settings settings = {.user = "alice", .password = PASSWORD};
	struct hubclient *none = NULL;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct why why = {0};
		assert_int_equal(hubclient_open(rows[i].url, &settings, &none, &why), ERR_INVALID);
		assert_non_null(strstr(why.text, rows[i].text));
		assert_null(strstr(why.text, PASSWORD));
		assert_null(none);
	}
}

static void host_and_port_are_known_for_the_route(void **state)
{
	static const struct {
		const char *url, *host, *port;
	} rows[] = {
		{"https://hub.example.net/x", "hub.example.net", "443"},
		{"http://127.0.0.1", "127.0.0.1", "80"},
		{"https://[2001:db8::1]:8443", "2001:db8::1", "8443"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hubclient *other = NULL;
		assert_int_equal(hubclient_open(rows[i].url, &(struct http_settings){0}, &other, NULL), 0);
		assert_string_equal(hubclient_host(other), rows[i].host);
		assert_string_equal(hubclient_port(other), rows[i].port);
		hubclient_close(other);
	}
}
