#include "url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "cleanup.h"
#include "ipaddr.h"

static void cleanup_curlu(CURLU **handle)
{
	curl_url_cleanup(*handle);
}

static void cleanup_curl_text(char **text)
{
	curl_free(*text);
}

static bool has_part(CURLU *handle, CURLUPart part)
{
	_cleanup_(cleanup_curl_text) char *text = NULL;
	return curl_url_get(handle, part, &text, 0) == CURLUE_OK;
}

static bool copy_part(CURLU *handle, CURLUPart part, char *ret_text, size_t size)
{
	_cleanup_(cleanup_curl_text) char *text = NULL;
	if (curl_url_get(handle, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK)
		return false;
	const char *start = text;
	size_t len = strlen(text);
	if (part == CURLUPART_HOST && len > 2 && text[0] == '[') {
		start++;
		len -= 2;
	}
	int n = snprintf(ret_text, size, "%.*s", (int)len, start);
	return n > 0 && (size_t)n < size;
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
	char scheme[8];
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return why_set(ret_why, ERR_INVALID, "", "a URL has no spaces and no control characters");
	_cleanup_(cleanup_curlu) CURLU *handle = curl_url();
	if (!handle)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	CURLUcode code = curl_url_set(handle, CURLUPART_URL, text, 0);
	if (code == CURLUE_OUT_OF_MEMORY)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	if ((code != CURLUE_OK && !strstr(text, "://")) || code == CURLUE_UNSUPPORTED_SCHEME ||
	    (code == CURLUE_OK && (!copy_part(handle, CURLUPART_SCHEME, scheme, sizeof(scheme)) ||
				   (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))))
		return why_set(ret_why, ERR_INVALID, "", "a URL here begins with https:// or http://");
	if (code != CURLUE_OK)
		return why_set(ret_why, ERR_INVALID, "", "not a URL such as https://hub.example.net: %s",
			       curl_url_strerror(code));
	if (has_part(handle, CURLUPART_USER) || has_part(handle, CURLUPART_PASSWORD))
		return why_set(ret_why, ERR_INVALID, "",
			       "credentials do not belong into a URL; they have settings of their own");
	if (!copy_part(handle, CURLUPART_HOST, url.host, sizeof(url.host)) ||
	    !copy_part(handle, CURLUPART_PORT, url.port, sizeof(url.port)))
		return why_set(ret_why, ERR_INVALID, "", "not a URL such as https://hub.example.net: it names no host");
	url.https = strcmp(scheme, "https") == 0;
	url.loopback = is_loopback(url.host);
	url.has_query = strpbrk(text, "?#") != NULL;
	*ret_url = url;
	return 0;
}

size_t url_shown_len(const char *text)
{
	return strcspn(text, "?#");
}
