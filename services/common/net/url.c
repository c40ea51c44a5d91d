#include "common/net/url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "common/base/cleanup.h"
#include "common/net/ipaddr.h"

static void cleanup_curlu(CURLU **handle)
{
	curl_url_cleanup(*handle);
}

static void cleanup_curl_text(char **text)
{
	curl_free(*text);
}

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

/* The first error that is ERR_NOMEM, or any. */
static int worse(int a, int b)
{
	return a == ERR_NOMEM || b == 0 ? a : b;
}

static bool is_loopback(const char *host)
{
	struct ipaddr ip;
	if (strcasecmp(host, "localhost") == 0) /* libcurl does not ask a resolver for it (RFC 6761, 6.3) */
		return true;
	return ipaddr_parse(host, strlen(host), &ip, NULL) == 0 && ipaddr_scope(&ip) == IPADDR_LOOPBACK;
}

int url_parse(const char *text, struct url *ret_url, struct why *ret_why)
{
	struct url url = {0};
	char scheme[8] = "";
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return why_set(ret_why, ERR_INVALID, "", "a URL has no spaces and no control characters");
	_cleanup_(cleanup_curlu) CURLU *handle = curl_url();
	CURLUcode code = handle ? curl_url_set(handle, CURLUPART_URL, text, 0) : CURLUE_OUT_OF_MEMORY;
	if (code == CURLUE_OUT_OF_MEMORY)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	bool is_url = code == CURLUE_OK;
	int scheme_err = is_url ? copy_part(handle, CURLUPART_SCHEME, scheme, sizeof(scheme)) : 0;
	int secret_err =
		is_url ? worse(check_absent(handle, CURLUPART_USER), check_absent(handle, CURLUPART_PASSWORD)) : 0;
	int host_err = is_url ? worse(copy_part(handle, CURLUPART_HOST, url.host, sizeof(url.host)),
				      copy_part(handle, CURLUPART_PORT, url.port, sizeof(url.port)))
			      : 0;
	url.https = strcmp(scheme, "https") == 0;
	if (worse(worse(scheme_err, secret_err), host_err) == ERR_NOMEM)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	if ((!is_url && !strstr(text, "://")) || code == CURLUE_UNSUPPORTED_SCHEME ||
	    (is_url && (scheme_err || (!url.https && strcmp(scheme, "http") != 0))))
		return why_set(ret_why, ERR_INVALID, "", "a URL here begins with https:// or http://");
	if (!is_url)
		return why_set(ret_why, ERR_INVALID, "", "not a URL such as https://hub.example.net: %s",
			       curl_url_strerror(code));
	if (secret_err)
		return why_set(ret_why, ERR_INVALID, "",
			       "credentials do not belong into a URL; they have settings of their own");
	if (host_err)
		return why_set(ret_why, ERR_INVALID, "", "not a URL such as https://hub.example.net: it names no host");
	url.loopback = is_loopback(url.host);
	url.has_query = strpbrk(text, "?#") != NULL;
	*ret_url = url;
	return 0;
}

size_t url_shown_len(const char *text)
{
	return strcspn(text, "?#");
}
