/*
 * A client of the hub and a scripted server that plays the hub.
 */
#ifndef TEST_HUBCLIENT_FIXTURE_H
#define TEST_HUBCLIENT_FIXTURE_H

#include "../../unit.h"

#include "../fake_server.h"
#include "common/base/cleanup.h"
#include "common/hub/hubclient.h"

#define SILO "{\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"db\",\"ip\":\"192.0.2.7\"}]}"
#define ETAG "ETag: \"42\"\r\n"
#define PROBLEM(name, detail) "{\"type\":\"urn:silodns:error:" name "\",\"detail\":\"" detail "\"}"
#define PASSWORD "hunter2"

static struct hubclient *client;
static struct silo silo;
static char etag[ETAG_MAX];

static inline void reopen(const char *path, long timeout_ms)
{
	char url[128];
	struct why why = {0};
	const struct http_settings settings = {.user = "alice", .password = PASSWORD, .timeout_ms = timeout_ms};
	hubclient_close(client);
	client = NULL;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", server->port, path);
	assert_int_equal(hubclient_open(url, &settings, &client, &why), 0);
}

static inline int set_up(void **state)
{
	server = fake_start();
	etag[0] = '\0';
	reopen("", 5000);
	return 0;
}

static inline int tear_down(void **state)
{
	hubclient_close(client);
	client = NULL;
	silo_release(&silo);
	fake_stop(server);
	return 0;
}

static inline int get(void)
{
	silo_release(&silo);
	return hubclient_get_silo(client, "a", NULL, &silo, etag);
}

static inline int put(const char *if_match)
{
	const struct ipaddr ip = {.family = 4, .bytes = {192, 0, 2, 7}};
	_cleanup_(silo_release) struct silo mine = {.id = "a"};
	assert_int_equal(silo_add(&mine, "db", &ip), 0);
	return hubclient_put_silo(client, &mine, if_match, etag);
}

static inline bool begins(const char *line)
{
	return strncmp(fake_request(server), line, strlen(line)) == 0;
}

static inline const char *said(void)
{
	const char *text = hubclient_failure(client)->why.text;
	assert_null(strstr(text, PASSWORD));
	return text;
}

#define SET_UP set_up
#define TEAR_DOWN tear_down
#define GROUP_SET_UP http_set_up
#define GROUP_TEAR_DOWN http_tear_down

#endif
