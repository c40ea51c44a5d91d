/*
 * A client and a scripted server for it.
 */
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include "../../unit.h"

#include <time.h>

#include "../fake_server.h"
#include "common/net/http.h"

#define SECRET "hunter2:x"
#define SECRET_BASE64 "YWxpY2U6aHVudGVyMjp4" /* alice:hunter2:x */

static struct http *http;
static struct http_answer answer;
static struct why why;
static char url[128];

static inline void reopen(const struct http_settings *settings)
{
	http_close(http);
	http = NULL;
	assert_int_equal(http_open(settings, &http), 0);
}

static inline int set_up(void **state)
{
	static const struct http_settings settings = {.timeout_ms = 5000, .answer_max = 1000};
	server = fake_start();
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/path", server->port);
	why = (struct why){0};
	reopen(&settings);
	return 0;
}

static inline int tear_down(void **state)
{
	http_close(http);
	http = NULL;
	http_answer_release(&answer);
	answer = (struct http_answer){0};
	fake_stop(server);
	return 0;
}

static inline int get(const char *from)
{
	const struct http_request request = {.method = "GET", .url = from};
	http_answer_release(&answer);
	answer = (struct http_answer){0};
	return http_send(http, &request, &answer, &why);
}

static inline int put(const char *body, size_t len)
{
	const struct http_request request = {.method = "PUT", .url = url, .body = body, .body_len = len};
	return http_send(http, &request, &answer, &why);
}

#define SET_UP set_up
#define TEAR_DOWN tear_down
#define GROUP_SET_UP http_set_up
#define GROUP_TEAR_DOWN http_tear_down

#endif
