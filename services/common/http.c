#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <sodium.h>

#include "cleanup.h"
#include "url.h"

#define CONNECT_TIMEOUT_MS 10000
#define TIMEOUT_MS 30000
#define ANSWER_MAX ((size_t)1 << 20)
#define RETRY_AFTER_MAX_S 86400

struct http {
	CURL *easy;
	char *user, *password, *token, *ca_file;
	long connect_timeout_ms, timeout_ms;
	size_t answer_max;
	bool allow_plain;
	bool (*stopped)(void);
	bool sent;
	char error[CURL_ERROR_SIZE];
};

int http_global_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : ERR_INTERNAL;
}

void http_global_release(void)
{
	curl_global_cleanup();
}

/* Such a value could end its header and begin another one. */
static bool has_control(const char *text)
{
	for (const char *s = text ? text : ""; *s; s++)
		if (iscntrl((unsigned char)*s))
			return true;
	return false;
}

static bool copy(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return *ret_copy || !text;
}

static void close_http(struct http **http)
{
	http_close(*http);
}

int http_open(const struct http_settings *settings, struct http **ret_http)
{
	_cleanup_(close_http) struct http *http = calloc(1, sizeof(*http));
	if (has_control(settings->user) || has_control(settings->password) || has_control(settings->token) ||
	    (settings->user && strchr(settings->user, ':')))
		return ERR_INVALID;
	if (!http)
		return ERR_NOMEM;
	http->connect_timeout_ms = settings->connect_timeout_ms > 0 ? settings->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	http->timeout_ms = settings->timeout_ms > 0 ? settings->timeout_ms : TIMEOUT_MS;
	http->answer_max = settings->answer_max > 0 ? settings->answer_max : ANSWER_MAX;
	http->allow_plain = settings->allow_plain;
	http->easy = curl_easy_init();
	if (!http->easy || !copy(settings->user, &http->user) || !copy(settings->password, &http->password) ||
	    !copy(settings->token, &http->token) || !copy(settings->ca_file, &http->ca_file))
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

static int check_url(const struct http *http, const char *text, struct url *ret_url, struct why *ret_why)
{
	struct url url;
	int err = url_parse(text, &url, ret_why);
	if (err < 0)
		return err;
	if ((http->token || http->user) && !url.https && !url.loopback && !http->allow_plain)
		return why_set(ret_why, ERR_INVALID, "",
			       "credentials are not sent to %s over plain http: use https://, or set "
			       "SILODNS_ALLOW_PLAIN_HTTP=true "
			       "if nobody can listen on the way",
			       url.host);
	*ret_url = url;
	return 0;
}

int http_check(const struct http *http, const char *url, struct why *ret_why)
{
	struct url parsed;
	return check_url(http, url, &parsed, ret_why);
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct buf *body = arg;
	return buf_append(body, data, size * count) < 0 ? 0 : size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct http *http = arg;
	(void)a, (void)b, (void)c, (void)d;
	return http->stopped && http->stopped();
}

/* The first failure stays. */
#define SET(option, value) (code = code == CURLE_OK ? curl_easy_setopt(http->easy, (option), (value)) : code)

static CURLcode set_limits(struct http *http, const struct url *url)
{
	CURLcode code = CURLE_OK;
	SET(CURLOPT_ERRORBUFFER, http->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, http->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, http->timeout_ms);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)http->answer_max);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (http->ca_file) {
		SET(CURLOPT_CAINFO, http->ca_file);
		SET(CURLOPT_CAPATH, (char *)NULL); /* Debian's default: the system's would be trusted as well */
	}
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (!url->https || url->loopback)
		SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, http);
	return code;
}

static CURLcode set_credentials(struct http *http)
{
	CURLcode code = CURLE_OK;
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
	if (http->token) {
		SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		SET(CURLOPT_XOAUTH2_BEARER, http->token);
	} else if (http->user) {
		SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		SET(CURLOPT_USERNAME, http->user);
		SET(CURLOPT_PASSWORD, http->password ? http->password : "");
	}
	return code;
}

static CURLcode set_request(struct http *http, const struct http_request *request, struct buf *body)
{
	static const long families[] = {
		[HTTP_FAMILY_ANY] = CURL_IPRESOLVE_WHATEVER,
		[HTTP_FAMILY_4] = CURL_IPRESOLVE_V4,
		[HTTP_FAMILY_6] = CURL_IPRESOLVE_V6,
	};
	CURLcode code = CURLE_OK;
	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_IPRESOLVE, families[request->family]);
	SET(CURLOPT_USERAGENT, "silodns/" SILODNS_VERSION);
	if (request->body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS, request->body);
	}
	if (strcmp(request->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, request->method);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, body);
	return code;
}

static void cleanup_slist(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

static int make_headers(const struct http_request *request, struct curl_slist **ret_list)
{
	const struct {
		const char *name, *value;
	} headers[] = {
		{"If-Match: ", request->if_match},      {"If-None-Match: ", request->if_none_match},
		{"Accept: ", request->accept},          {"Content-Type: ", request->body ? "application/json" : NULL},
		{"Expect:", request->body ? "" : NULL}, /* else libcurl waits for a 100 Continue before a large body */
	};
	_cleanup_(cleanup_slist) struct curl_slist *list = NULL;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		_cleanup_(buf_release) struct buf line = BUF_INIT(1024);
		if (!headers[i].value)
			continue;
		if (has_control(headers[i].value))
			return ERR_INVALID;
		buf_append_str(&line, headers[i].name);
		int err = buf_append_str(&line, headers[i].value);
		struct curl_slist *longer = err ? NULL : curl_slist_append(list, line.data);
		if (!longer)
			return err ? err : ERR_NOMEM;
		list = longer;
	}
	*ret_list = TAKE_PTR(list);
	return 0;
}

static int classify(CURLcode code, const struct buf *body)
{
	static const struct {
		CURLcode code;
		int err;
	} rows[] = {
		{CURLE_OK, ERR_OK},
		{CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT},
		{CURLE_ABORTED_BY_CALLBACK, ERR_STOPPED},
		{CURLE_OUT_OF_MEMORY, ERR_NOMEM},
		{CURLE_FILESIZE_EXCEEDED, ERR_TOO_LARGE},
		{CURLE_URL_MALFORMAT, ERR_INVALID},
		{CURLE_WEIRD_SERVER_REPLY, ERR_PROTOCOL},
		{CURLE_UNSUPPORTED_PROTOCOL, ERR_PROTOCOL}, /* the URL's was checked before: an answer like HTTP/0.9 */
		{CURLE_SSL_CONNECT_ERROR, ERR_TLS},
		{CURLE_PEER_FAILED_VERIFICATION, ERR_TLS},
		{CURLE_SSL_CACERT_BADFILE, ERR_TLS},
		{CURLE_SSL_CERTPROBLEM, ERR_TLS},
		{CURLE_SSL_CIPHER, ERR_TLS},
		{CURLE_SSL_ISSUER_ERROR, ERR_TLS},
		{CURLE_SSL_INVALIDCERTSTATUS, ERR_TLS},
		{CURLE_SSL_ENGINE_INITFAILED, ERR_TLS},
	};
	if (code == CURLE_WRITE_ERROR && body->err)
		return body->err;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return rows[i].err;
	return ERR_NETWORK;
}

static int failure(const struct http *http, const struct url *url, CURLcode code, int err, struct why *ret_why)
{
	bool v6 = strchr(url->host, ':') != NULL;
	const char *text = err == ERR_STOPPED     ? "asked to stop"
			   : err == ERR_TOO_LARGE ? "the answer is longer than allowed"
			   : http->error[0]       ? http->error
						  : curl_easy_strerror(code);
	return why_set(ret_why, err, "", "%s%s%s:%s: %s", v6 ? "[" : "", url->host, v6 ? "]" : "", url->port, text);
}

static void take_text(const char *text, char *ret_text, size_t size)
{
	if (text && strlen(text) < size)
		memcpy(ret_text, text, strlen(text) + 1);
}

static void read_head(CURL *easy, struct http_answer *answer)
{
	struct curl_header *etag;
	char *content_type = NULL;
	curl_off_t retry_after_s = 0;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer->status);
	curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &content_type);
	curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s); /* a date comes out as seconds from now */
	if (retry_after_s > 0)
		answer->retry_after_ms =
			(uint32_t)(retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S) * 1000;
	take_text(content_type, answer->content_type, sizeof(answer->content_type));
	if (curl_easy_header(easy, "ETag", 0, CURLH_HEADER, -1, &etag) == CURLHE_OK)
		take_text(etag->value, answer->etag, sizeof(answer->etag));
}

/* The size also counts what went to a proxy to open a tunnel; the time is 0 until the request's own turn came. */
static bool may_be_sent(CURL *easy)
{
	long request_size = 0;
	curl_off_t pretransfer_us = 0;
	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_size);
	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
	return request_size > 0 && pretransfer_us > 0;
}

int http_send(struct http *http, const struct http_request *request, struct http_answer *ret_answer,
	      struct why *ret_why)
{
	_cleanup_(http_answer_release) struct http_answer answer = {.body = BUF_INIT(http->answer_max)};
	_cleanup_(cleanup_slist) struct curl_slist *headers = NULL;
	struct url url;
	http->sent = false;
	int err = check_url(http, request->url, &url, ret_why);
	if (err < 0)
		return err;
	err = make_headers(request, &headers);
	if (err < 0)
		return why_set(ret_why, err, "", "a header cannot be sent: %s", err_info(err)->title);
	curl_easy_reset(http->easy); /* keeps the connections */
	http->error[0] = '\0';
	CURLcode code = set_limits(http, &url);
	if (code == CURLE_OK)
		code = set_credentials(http);
	if (code == CURLE_OK)
		code = set_request(http, request, &answer.body);
	SET(CURLOPT_HTTPHEADER, headers);
	if (code != CURLE_OK)
		return why_set(ret_why, ERR_INTERNAL, "", "libcurl refuses an option: %s", curl_easy_strerror(code));
	code = curl_easy_perform(http->easy);
	http->sent = may_be_sent(http->easy);
	err = classify(code, &answer.body);
	if (err < 0)
		return failure(http, &url, code, err, ret_why);
	read_head(http->easy, &answer);
	*ret_answer = answer;
	answer.body = BUF_INIT(0);
	return 0;
}

void http_answer_release(struct http_answer *answer)
{
	if (answer)
		buf_release(&answer->body);
}
