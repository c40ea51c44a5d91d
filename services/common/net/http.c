#include "common/net/http.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/net/http_transfer.h"

#define CONNECT_TIMEOUT_MS 10000
#define TIMEOUT_MS 30000
#define ANSWER_MAX ((size_t)1 << 20)

int http_global_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : ERR_INTERNAL;
}

void http_global_release(void)
{
	curl_global_cleanup();
}

static bool copy(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return *ret_copy || !text;
}

DEFINE_CLEANUP(close_http, struct http *, http_close)

int http_open(const struct http_settings *settings, struct http **ret_http)
{
	_cleanup_(close_http) struct http *http = calloc(1, sizeof(*http));
	if (http_has_control(settings->user) || http_has_control(settings->password) ||
	    http_has_control(settings->token) || (settings->user && strchr(settings->user, ':')))
		return ERR_INVALID;
	if (settings->any_certificate && (settings->user || settings->token))
		return ERR_INVALID;
	if (!http)
		return ERR_NOMEM;
	http->connect_timeout_ms = settings->connect_timeout_ms > 0 ? settings->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	http->timeout_ms = settings->timeout_ms > 0 ? settings->timeout_ms : TIMEOUT_MS;
	http->answer_max = settings->answer_max > 0 ? settings->answer_max : ANSWER_MAX;
	http->allow_plain = settings->allow_plain;
	http->any_certificate = settings->any_certificate;
	http->easy = curl_easy_init();
	if (!http->easy || !copy(settings->user, &http->user) || !copy(settings->password, &http->password) ||
	    !copy(settings->token, &http->token) || !copy(settings->ca_file, &http->ca_file) ||
	    !copy(settings->plain_host, &http->plain_host))
		return ERR_NOMEM;
	*ret_http = TAKE_PTR(http);
	return 0;
}

static void free_secret(char *text)
{
	if (text)
		sodium_memzero(text, strlen(text));
	free(text);
}

void http_close(struct http *http)
{
	if (!http)
		return;
	curl_easy_cleanup(http->easy);
	free(http->user);
	free_secret(http->password);
	free_secret(http->token);
	free(http->ca_file);
	free(http->plain_host);
	free(http);
}

void http_set_stop(struct http *http, bool (*stopped)(void))
{
	http->stopped = stopped;
}

bool http_was_sent(const struct http *http)
{
	return http->sent;
}

int http_check(const struct http *http, const char *url, struct why *ret_why)
{
	struct url parsed;
	return http_check_url(http, url, &parsed, ret_why);
}

static int append_body(void *arg, const char *data, size_t len)
{
	return buf_append(arg, data, len);
}

/* Its easy handle lives on and must not point to it. */
static void end_transfer(struct http_transfer *transfer)
{
	curl_easy_reset(transfer->easy); /* keeps the connections */
	http_transfer_release(transfer);
}

int http_send(struct http *http, const struct http_request *request, struct http_answer *ret_answer,
	      struct why *ret_why)
{
	_cleanup_(http_answer_release) struct http_answer answer = {.body = BUF_INIT(http->answer_max)};
	_cleanup_(end_transfer) struct http_transfer transfer = {.http = http,
								 .easy = http->easy,
								 .timeout_ms = http->timeout_ms,
								 .body_max = http->answer_max,
								 .sink = append_body,
								 .sink_arg = &answer.body};
	http->sent = false;
	int err = http_transfer_prepare(&transfer, request, ret_why);
	if (err < 0)
		return err;
	CURLcode code = curl_easy_perform(http->easy);
	http->sent = http_transfer_sent(&transfer);
	err = http_transfer_result(&transfer, code, ret_why);
	if (err < 0)
		return err;
	http_transfer_head(&transfer, &answer);
	*ret_answer = answer;
	answer.body = BUF_INIT(0);
	return 0;
}

void http_answer_release(struct http_answer *answer)
{
	if (answer)
		buf_release(&answer->body);
}
