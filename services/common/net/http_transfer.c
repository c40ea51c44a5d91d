#include "common/net/http_transfer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"

#define RETRY_AFTER_MAX_S 86400

bool http_has_control(const char *text)
{
	for (const char *s = text ? text : ""; *s; s++)
		if (iscntrl((unsigned char)*s))
			return true;
	return false;
}

int http_check_url(const struct http *http, const char *text, struct url *ret_url, struct why *ret_why)
{
	struct url url;
	int err = url_parse(text, &url, ret_why);
	if (err < 0)
		return err;
	bool may_be_plain =
		http->allow_plain || url.loopback || (http->plain_host && strcasecmp(http->plain_host, url.host) == 0);
	if ((http->token || http->user) && !url.https && !may_be_plain)
		return why_set(ret_why, ERR_INVALID, "",
			       "credentials are not sent to %s over plain http: use https://, or set "
			       "SILODNS_ALLOW_PLAIN_HTTP=true "
			       "if nobody can listen on the way",
			       url.host);
	*ret_url = url;
	return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct http_transfer *transfer = arg;
	transfer->sink_err = transfer->sink(transfer->sink_arg, data, size * count);
	return transfer->sink_err < 0 ? 0 : size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct http *http = arg;
	(void)a, (void)b, (void)c, (void)d;
	return http->stopped && http->stopped();
}

/* The first failure stays. */
#define SET(option, value) (code = code == CURLE_OK ? curl_easy_setopt(transfer->easy, (option), (value)) : code)

static CURLcode set_limits(struct http_transfer *transfer)
{
	const struct http *http = transfer->http;
	CURLcode code = CURLE_OK;
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, http->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, transfer->timeout_ms);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)transfer->body_max);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* a resolver that hangs is left behind, not waited for */
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, http->any_certificate ? 0L : 1L);
	SET(CURLOPT_SSL_VERIFYHOST, http->any_certificate ? 0L : 2L);
	if (http->ca_file) {
		SET(CURLOPT_CAINFO, http->ca_file);
		SET(CURLOPT_CAPATH, (char *)NULL); /* Debian's default: the system's would be trusted as well */
	}
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (!transfer->url.https || transfer->url.loopback)
		SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, http);
	return code;
}

static CURLcode set_credentials(struct http_transfer *transfer)
{
	const struct http *http = transfer->http;
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

static CURLcode set_request(struct http_transfer *transfer, const struct http_request *request)
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
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	return code;
}

DEFINE_CLEANUP(cleanup_slist, struct curl_slist *, curl_slist_free_all)

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
		if (http_has_control(headers[i].value))
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

int http_transfer_prepare(struct http_transfer *transfer, const struct http_request *request, struct why *ret_why)
{
	int err = http_check_url(transfer->http, request->url, &transfer->url, ret_why);
	if (err < 0)
		return err;
	err = make_headers(request, &transfer->headers);
	if (err < 0)
		return why_set(ret_why, err, "", "a header cannot be sent: %s", err_info(err)->title);
	CURLcode code = set_limits(transfer);
	if (code == CURLE_OK)
		code = set_credentials(transfer);
	if (code == CURLE_OK)
		code = set_request(transfer, request);
	if (code != CURLE_OK)
		return why_set(ret_why, code == CURLE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_INTERNAL, "",
			       "libcurl refuses an option: %s", curl_easy_strerror(code));
	return 0;
}

void http_transfer_release(struct http_transfer *transfer)
{
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
}

static int classify(const struct http_transfer *transfer, CURLcode code)
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
	if (code == CURLE_WRITE_ERROR && transfer->sink_err)
		return transfer->sink_err;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return rows[i].err;
	return ERR_NETWORK;
}

static int failure(const struct http_transfer *transfer, CURLcode code, int err, struct why *ret_why)
{
	const struct url *url = &transfer->url;
	bool v6 = strchr(url->host, ':') != NULL;
	const char *text = err == ERR_STOPPED     ? "asked to stop"
			   : err == ERR_TOO_LARGE ? "the answer is longer than allowed"
			   : transfer->error[0]   ? transfer->error
						  : curl_easy_strerror(code);
	return why_set(ret_why, err, "", "%s%s%s:%s: %s", v6 ? "[" : "", url->host, v6 ? "]" : "", url->port, text);
}

int http_transfer_result(const struct http_transfer *transfer, CURLcode code, struct why *ret_why)
{
	int err = classify(transfer, code);
	return err < 0 ? failure(transfer, code, err, ret_why) : 0;
}

/* The size also counts what went to a proxy to open a tunnel; the time is 0 until the request's own turn came. */
bool http_transfer_sent(const struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;
	long request_size = 0;
	curl_off_t pretransfer_us = 0;
	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_size);
	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
	return request_size > 0 && pretransfer_us > 0;
}

static void take_text(const char *text, char *ret_text, size_t size)
{
	if (text && strlen(text) < size)
		memcpy(ret_text, text, strlen(text) + 1);
}

void http_transfer_head(const struct http_transfer *transfer, struct http_answer *answer)
{
	CURL *easy = transfer->easy;
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
