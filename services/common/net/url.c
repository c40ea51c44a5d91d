#include "common/net/url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "common/base/cleanup.h"
#include "common/net/ipaddr.h"

DEFINE_CLEANUP(cleanup_curlu, CURLU *, curl_url_cleanup)
DEFINE_CLEANUP(cleanup_curl_text, char *, curl_free)

/* 0, ERR_NOMEM, or ERR_INVALID: there is none. */
static int get_part(CURLU *handle, CURLUPart part, unsigned flags, char **ret_text)
{
	CURLUcode code = curl_url_get(handle, part, ret_text, flags);
	return code == CURLUE_OK ? 0 : code == CURLUE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_INVALID;
}

/* 0: there is none. */
static int check_absent(CURLU *handle, CURLUPart part)
{
	_cleanup_(cleanup_curl_text) char *text = NULL;
	int err = get_part(handle, part, 0, &text);
	return err == ERR_INVALID ? 0 : err == 0 ? ERR_INVALID : err;
}

static int copy_part(CURLU *handle, CURLUPart part, char *ret_text, size_t size)
{
	_cleanup_(cleanup_curl_text) char *text = NULL;
	int err = get_part(handle, part, CURLU_DEFAULT_PORT, &text);
	if (err < 0)
		return err;
	const char *start = text;
	size_t len = strlen(text);
	if (part == CURLUPART_HOST && len > 2 && text[0] == '[') {
		start++;
		len -= 2;
	}
	int n = snprintf(ret_text, size, "%.*s", (int)len, start);
	return n > 0 && (size_t)n < size ? 0 : ERR_INVALID;
}

static bool is_loopback(const char *host)
{
	struct ipaddr ip;
	if (strcasecmp(host, "localhost") == 0) /* libcurl does not ask a resolver for it (RFC 6761, 6.3) */
		return true;
	return ipaddr_parse(host, strlen(host), &ip, NULL) == 0 && ipaddr_scope(&ip) == IPADDR_LOOPBACK;
}

static int refuse(int err, const char *text, struct why *ret_why)
{
	return why_set(ret_why, err, "", "%s", err == ERR_NOMEM ? "out of memory" : text);
}

int url_parse(const char *text, struct url *ret_url, struct why *ret_why)
{
	static const char no_scheme[] = "a URL here begins with https:// or http://";
	struct url url = {0};
	char scheme[8];
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return refuse(ERR_INVALID, "a URL has no spaces and no control characters", ret_why);
	_cleanup_(cleanup_curlu) CURLU *handle = curl_url();
	CURLUcode code = handle ? curl_url_set(handle, CURLUPART_URL, text, 0) : CURLUE_OUT_OF_MEMORY;
	if (code == CURLUE_OUT_OF_MEMORY)
		return refuse(ERR_NOMEM, "", ret_why);
	if (code == CURLUE_UNSUPPORTED_SCHEME || (code != CURLUE_OK && !strstr(text, "://")))
		return refuse(ERR_INVALID, no_scheme, ret_why);
	if (code != CURLUE_OK)
		return why_set(ret_why, ERR_INVALID, "", "not a URL such as https://hub.example.net: %s",
			       curl_url_strerror(code));
	int err = copy_part(handle, CURLUPART_SCHEME, scheme, sizeof(scheme));
	url.https = !err && strcmp(scheme, "https") == 0;
	if (!err && !url.https && strcmp(scheme, "http") != 0)
		err = ERR_INVALID;
	if (err < 0)
		return refuse(err, no_scheme, ret_why);
	err = check_absent(handle, CURLUPART_USER);
	if (err == 0)
		err = check_absent(handle, CURLUPART_PASSWORD);
	if (err < 0)
		return refuse(err, "credentials do not belong into a URL; they have settings of their own", ret_why);
	err = copy_part(handle, CURLUPART_HOST, url.host, sizeof(url.host));
	if (err == 0)
		err = copy_part(handle, CURLUPART_PORT, url.port, sizeof(url.port));
	if (err < 0)
		return refuse(err, "not a URL such as https://hub.example.net: it names no host", ret_why);
	url.loopback = is_loopback(url.host);
	url.has_query = strpbrk(text, "?#") != NULL;
	*ret_url = url;
	return 0;
}

size_t url_shown_len(const char *text)
{
	return strcspn(text, "?#");
}
