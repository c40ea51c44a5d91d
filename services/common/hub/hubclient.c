#include "common/hub/hubclient_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/jsontext.h"

#define URL_MAX 4096
#define TYPE_PREFIX "urn:silodns:error:"

DEFINE_CLEANUP(cleanup_client, struct hubclient *, hubclient_close)
DEFINE_CLEANUP(cleanup_curl_text, char *, curl_free)

int hubclient_open(const char *url, const struct http_settings *settings, struct hubclient **ret_client,
		   struct why *ret_why)
{
	_cleanup_(cleanup_client) struct hubclient *client = calloc(1, sizeof(*client));
	if (!client || !(client->base = strdup(url)))
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	int err = url_parse(url, &client->url, ret_why);
	if (err < 0)
		return err;
	if (client->url.has_query)
		return why_set(ret_why, ERR_INVALID, "", "the hub's URL has neither \"?\" nor \"#\"");
	for (size_t len = strlen(client->base); len > 0 && client->base[len - 1] == '/'; len--)
		client->base[len - 1] = '\0';
	err = http_open(settings, &client->http);
	if (err == ERR_INVALID)
		return why_set(ret_why, err, "",
			       "user, password or token cannot be sent: a control character, or ':' in the user");
	if (err < 0)
		return why_set(ret_why, err, "", "%s", err_info(err)->title);
	err = http_check(client->http, url, ret_why);
	if (err < 0)
		return err;
	*ret_client = TAKE_PTR(client);
	return 0;
}

void hubclient_close(struct hubclient *client)
{
	if (!client)
		return;
	http_close(client->http);
	free(client->base);
	free(client);
}

void hubclient_set_stop(struct hubclient *client, bool (*stopped)(void))
{
	http_set_stop(client->http, stopped);
}

const struct hubclient_failure *hubclient_failure(const struct hubclient *client)
{
	return &client->failure;
}

const char *hubclient_host(const struct hubclient *client)
{
	return client->url.host;
}

const char *hubclient_port(const struct hubclient *client)
{
	return client->url.port;
}

uint64_t hubclient_etag_revision(const char *etag)
{
	char *end;
	if (etag[0] != '"' || !isdigit((unsigned char)etag[1]))
		return 0;
	errno = 0;
	unsigned long long revision = strtoull(etag + 1, &end, 10);
	return errno || strcmp(end, "\"") != 0 ? 0 : revision;
}

static int failed(struct hubclient *client, int err, const char *text)
{
	return why_set(&client->failure.why, err, "", "%s", text);
}

/* The error that a problem+json document names; 0 if it is none that fits the status. */
static int named_error(const char *type, long status)
{
	if (strncmp(type, TYPE_PREFIX, strlen(TYPE_PREFIX)) != 0)
		return 0;
	for (int err = ERR_OK - 1; err > ERR_LAST_; err--) {
		const struct err_info *info = err_info(err);
		bool same = info->http_status == status && strcmp(info->name, type + strlen(TYPE_PREFIX)) == 0;
		if (same && (status < 500 || err == ERR_BUSY || err == ERR_UNKNOWN_OUTCOME))
			return err;
	}
	return 0;
}

static int error_of_status(long status, bool is_change)
{
	static const struct {
		long status;
		int err;
	} rows[] = {
		{400, ERR_MALFORMED}, {401, ERR_UNAUTHORIZED}, {403, ERR_FORBIDDEN},    {405, ERR_METHOD},
		{408, ERR_TIMEOUT},   {409, ERR_CONFLICT},     {412, ERR_PRECONDITION}, {413, ERR_TOO_LARGE},
		{422, ERR_INVALID},   {429, ERR_RATE},         {503, ERR_UNAVAILABLE},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].err;
	/* 500, 502, 504: something on the way broke, perhaps after the hub had done it. */
	if (status >= 500)
		return is_change ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE;
	/* Also a 404 that does not come from a hub: taken for "no such silo", a misplaced proxy would blank hosts
	 * files. */
	return ERR_PROTOCOL;
}

static const char *body_of(const struct http_answer *answer)
{
	return answer->body.data ? answer->body.data : "";
}

int hubclient_refused(const struct hubclient *client, const struct http_answer *answer, bool is_change,
		      struct hubclient_failure *failure)
{
	const char *host = client->url.host;
	json_auto_t *problem = NULL;
	failure->status = answer->status;
	failure->retry_after_ms = answer->retry_after_ms;
	if (jsontext_parse(body_of(answer), answer->body.len, 0, &problem, NULL) == ERR_NOMEM)
		return why_set(&failure->why, ERR_NOMEM, "", "out of memory");
	const char *type = jsontext_member(problem, "type"), *detail = jsontext_member(problem, "detail");
	int named = type ? named_error(type, answer->status) : 0;
	int err = named ? named : error_of_status(answer->status, is_change);
	if (named || (detail && *detail))
		return why_set(&failure->why, err, "", "%s", detail ? detail : err_info(err)->title);
	if (answer->status >= 300 && answer->status < 400)
		return why_set(&failure->why, err, "",
			       "%s answered with a redirect (%ld), which is not followed: is the URL right, or should "
			       "it be https://?",
			       host, answer->status);
	if (err == ERR_PROTOCOL)
		return why_set(&failure->why, err, "", "%s answered %ld, not as a hub does: is the URL right?", host,
			       answer->status);
	return why_set(&failure->why, err, "", "%s answered %ld: %s", host, answer->status, err_info(err)->title);
}

/* Sends `request` to base + path + id. ERR_OK: it was answered by 200, or a change by 201. */
static int send_request(struct hubclient *client, struct http_request *request, const char *path, const char *id,
			struct http_answer *ret_answer)
{
	_cleanup_(http_answer_release) struct http_answer answer = {0};
	_cleanup_(buf_release) struct buf url = BUF_INIT(URL_MAX);
	_cleanup_(cleanup_curl_text) char *escaped = curl_easy_escape(NULL, id, 0);
	bool is_change = strcmp(request->method, "GET") != 0;
	client->failure = (struct hubclient_failure){0};
	if (!escaped || buf_append_fmt(&url, "%s%s%s", client->base, path, escaped) < 0)
		return failed(client, escaped ? url.err : ERR_NOMEM, escaped ? "the URL is too long" : "out of memory");
	request->url = url.data;
	int err = http_send(client->http, request, &answer, &client->failure.why);
	if (err == ERR_STOPPED || err == ERR_INVALID || err == ERR_NOMEM || err == ERR_INTERNAL)
		return err;
	if (err < 0)
		return is_change && http_was_sent(client->http) ? ERR_UNKNOWN_OUTCOME : err;
	client->failure.status = answer.status;
	client->failure.retry_after_ms = answer.retry_after_ms;
	if (answer.status == 304 && request->if_none_match && !is_change)
		return ERR_NOT_MODIFIED;
	if (answer.status != 200 && !(answer.status == 201 && is_change))
		return hubclient_refused(client, &answer, is_change, &client->failure);
	*ret_answer = answer;
	answer.body = BUF_INIT(0);
	return 0;
}

/* Only strong tags can be a condition. A proxy that compresses may have made one weak; the hub knows it without W/. */
static int take_etag(struct hubclient *client, const struct http_answer *answer, char ret_etag[static ETAG_MAX])
{
	const char *etag = strncmp(answer->etag, "W/", 2) == 0 ? answer->etag + 2 : answer->etag;
	if (hubclient_etag_revision(etag) == 0)
		return failed(client, ERR_PROTOCOL, "the answer has no ETag with a revision: is the URL right?");
	memcpy(ret_etag, etag, strlen(etag) + 1);
	return 0;
}

static int take_silo(struct hubclient *client, const struct http_answer *answer, const char *id, struct silo *ret_silo,
		     char ret_etag[static ETAG_MAX])
{
	_cleanup_(silo_release) struct silo silo = {0};
	struct why why = {0};
	int err = silo_parse_answer(body_of(answer), answer->body.len, id, &silo, &why);
	if (err == ERR_NOMEM)
		return failed(client, err, "out of memory");
	if (err < 0)
		return why_set(&client->failure.why, ERR_PROTOCOL, "", "the answer is no silo: %s%s%s", why.field,
			       why.field[0] ? ": " : "", why.text);
	err = take_etag(client, answer, ret_etag);
	if (err < 0)
		return err;
	*ret_silo = silo;
	silo = (struct silo){0};
	return 0;
}

int hubclient_get_silo(struct hubclient *client, const char *id, const char *known_etag, struct silo *ret_silo,
		       char ret_etag[static ETAG_MAX])
{
	_cleanup_(http_answer_release) struct http_answer answer = {0};
	struct http_request request = {.method = "GET", .if_none_match = known_etag, .accept = "application/json"};
	int err = send_request(client, &request, "/silos/", id, &answer);
	return err < 0 ? err : take_silo(client, &answer, id, ret_silo, ret_etag);
}

int hubclient_put_silo(struct hubclient *client, const struct silo *silo, const char *if_match,
		       char ret_etag[static ETAG_MAX])
{
	_cleanup_(http_answer_release) struct http_answer answer = {0};
	_cleanup_(silo_release) struct silo answered = {0};
	_cleanup_free_ char *body = NULL;
	struct http_request request = {.method = "PUT",
				       .if_match = if_match,
				       .if_none_match = if_match ? NULL : "*",
				       .accept = "application/json"};
	client->failure = (struct hubclient_failure){0};
	int err = silo_to_json(silo, &body, &request.body_len);
	if (err < 0)
		return failed(client, err, err_info(err)->title);
	request.body = body;
	err = send_request(client, &request, "/silos/", silo->id, &answer);
	return err < 0 ? err : take_silo(client, &answer, silo->id, &answered, ret_etag);
}

int hubclient_my_ip(struct hubclient *client, enum http_family family, struct ipaddr *ret_ip)
{
	_cleanup_(http_answer_release) struct http_answer answer = {0};
	json_auto_t *document = NULL;
	struct http_request request = {.method = "GET", .accept = "application/json", .family = family};
	struct ipaddr ip;
	int err = send_request(client, &request, "/ip", "", &answer);
	if (err < 0)
		return err;
	if (jsontext_parse(body_of(&answer), answer.body.len, JSON_REJECT_DUPLICATES, &document, NULL) == ERR_NOMEM)
		return failed(client, ERR_NOMEM, "out of memory");
	const char *text = jsontext_member(document, "ip");
	if (!text || ipaddr_parse(text, strlen(text), &ip, NULL) < 0)
		return failed(client, ERR_PROTOCOL, "the answer to /ip is no address: is the URL right?");
	if ((family == HTTP_FAMILY_4 && ip.family != 4) || (family == HTTP_FAMILY_6 && ip.family != 6))
		return failed(client, ERR_PROTOCOL,
			      "the hub saw an address of the other family: is there a proxy on the way?");
	*ret_ip = ip;
	return 0;
}
