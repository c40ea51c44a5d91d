#include "updater/detect.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/conf/conf.h"
#include "common/net/url.h"
#include "updater/command.h"
#include "updater/extract.h"
#include "updater/netif.h"

#define ANSWER_MAX ((size_t)64 << 10) /* bytes that a web service or a command may say */
#define SOURCE_MAX 2048               /* bytes of one source's argument */

/* --- the sources -------------------------------------------------------------------------------------------------- */

static int ask_server(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
		      struct why *why)
{
	(void)arg;
	int err = hubclient_my_ip(settings->hub, family == 4 ? HTTP_FAMILY_4 : HTTP_FAMILY_6, ret_ip);
	if (err == ERR_STOPPED)
		return err;
	if (err)
		return why_set(why, ERR_DETECT, "", "%s", hubclient_failure(settings->hub)->why.text);
	if (ret_ip->family != family)
		return why_set(why, ERR_DETECT, "", "the hub sees no IPv%d address", family);
	return ERR_OK;
}

static int ask_socket(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
		      struct why *why)
{
	(void)arg;
	return netif_route_address(hubclient_host(settings->hub), hubclient_port(settings->hub), family, ret_ip, why);
}

static int ask_interface(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
			 struct why *why)
{
	(void)settings;
	return netif_address(arg, family, ret_ip, why);
}

static int ask_one_url(struct http *http, const char *url, int family, struct ipaddr *ret_ip, struct why *why)
{
	const struct http_request request = {
		.method = "GET", .url = url, .family = family == 4 ? HTTP_FAMILY_4 : HTTP_FAMILY_6};
	_cleanup_(http_answer_release) struct http_answer answer = {0};
	int err = http_send(http, &request, &answer, why);

	if (err)
		return err;
	if (answer.status != 200)
		return why_set(why, ERR_DETECT, "", "%.*s answered with status %ld", (int)url_shown_len(url), url,
			       answer.status);
	return extract_address(answer.body.data ? answer.body.data : "", answer.body.len, family, ret_ip, why);
}

/* In turn, until one answers. One that answers doubtfully is no reason to ask the next. */
static int ask_url(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
		   struct why *why)
{
	const struct http_settings http_settings = {.connect_timeout_ms = settings->timeout_ms,
						    .timeout_ms = settings->timeout_ms,
						    .answer_max = ANSWER_MAX};
	char urls[SOURCE_MAX], *rest = urls, *url;
	struct http *http;
	int err = http_open(&http_settings, &http);

	if (err)
		return why_set(why, err, "", "out of memory");
	http_set_stop(http, settings->stopped);
	snprintf(urls, sizeof urls, "%s", arg);
	err = ERR_DETECT;
	while ((url = strsep(&rest, " \t")) && err && err != ERR_DOUBTFUL && err != ERR_STOPPED) {
		if (!url[0])
			continue;
		err = ask_one_url(http, url, family, ret_ip, why);
		if (err) {
			url[url_shown_len(url)] = '\0';
			log_debug("address service failed", LOG_STR("url", url), LOG_STR("reason", why->text));
		}
	}
	http_close(http);
	return err == ERR_OK || err == ERR_DOUBTFUL || err == ERR_STOPPED ? err : ERR_DETECT;
}

static int ask_command(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
		       struct why *why)
{
	_cleanup_(buf_release) struct buf output = BUF_INIT(ANSWER_MAX);
	int err = command_run(arg, settings->timeout_ms, settings->stopped, &output, why);

	if (err)
		return err == ERR_STOPPED ? err : ERR_DETECT;
	return extract_address(output.data ? output.data : "", output.len, family, ret_ip, why);
}

static int check_none(const char *arg, struct why *why)
{
	(void)arg;
	(void)why;
	return ERR_OK;
}

static int check_interface(const char *arg, struct why *why)
{
	size_t len = strlen(arg);

	return len >= 1 && len <= 15 && !strpbrk(arg, "/ ")
		       ? ERR_OK
		       : why_set(why, ERR_INVALID, "",
				 "interface: wants the name of an interface, such as interface:eth0");
}

static int check_urls(const char *arg, struct why *why)
{
	char urls[SOURCE_MAX], *rest = urls, *url;
	int err = arg[0] ? ERR_OK : why_set(why, ERR_INVALID, "", "url: wants one or several addresses of web pages");

	snprintf(urls, sizeof urls, "%s", arg);
	while (!err && (url = strsep(&rest, " \t")))
		if (url[0])
			err = conf_check_url(url, why);
	return err;
}

static int check_command(const char *arg, struct why *why)
{
	return arg[0] ? ERR_OK : why_set(why, ERR_INVALID, "", "command: wants a command");
}

static const struct source {
	const char *name; /* with ':' if it takes an argument */
	bool takes_more;  /* words that follow belong to it, unless they begin another source */
	bool takes_rest;  /* all that follows belongs to it */
	int (*ask)(const struct detect_settings *settings, const char *arg, int family, struct ipaddr *ret_ip,
		   struct why *why);
	int (*check)(const char *arg, struct why *why);
} sources[] = {
	{"server", false, false, ask_server, check_none},
	{"socket", false, false, ask_socket, check_none},
	{"interface:", false, false, ask_interface, check_interface},
	{"url:", true, false, ask_url, check_urls},
	{"command:", false, true, ask_command, check_command},
};

/* --- the text that names them ------------------------------------------------------------------------------------- */

static const struct source *find_source(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
		size_t name_len = strlen(sources[i].name);
		bool takes_argument = sources[i].name[name_len - 1] == ':';
		if ((takes_argument ? len >= name_len : len == name_len) &&
		    memcmp(word, sources[i].name, name_len) == 0)
			return &sources[i];
	}
	return NULL;
}

/* Takes the next source and its argument off `*text`; `*ret_source` NULL: that was all. */
static int next_source(const char **text, const struct source **ret_source, char ret_arg[static SOURCE_MAX],
		       struct why *why)
{
	const char *word = *text + strspn(*text, " \t"), *end = word + strcspn(word, " \t");

	*ret_source = NULL;
	if (!*word)
		return ERR_OK;
	const struct source *source = find_source(word, (size_t)(end - word));
	if (!source)
		return why_set(why, ERR_INVALID, "",
			       "\"%.60s\" is no source: there are server, socket, interface:NAME, url:URL, "
			       "command:TEXT and off",
			       word);
	const char *arg = word + strlen(source->name);
	while (source->takes_rest && *end)
		end++;
	while (source->takes_more && *end) {
		const char *next = end + strspn(end, " \t"), *next_end = next + strcspn(next, " \t");
		if (find_source(next, (size_t)(next_end - next)))
			break;
		end = next_end;
	}
	if (end - arg >= SOURCE_MAX)
		return why_set(why, ERR_INVALID, "", "a source has at most %d characters", SOURCE_MAX - 1);
	snprintf(ret_arg, SOURCE_MAX, "%.*s", (int)(end - arg), arg);
	*text = end;
	*ret_source = source;
	return source->check(ret_arg, why);
}

bool detect_is_off(const char *text)
{
	return strcmp(text, "off") == 0;
}

int detect_check(const char *text, struct why *ret_why)
{
	const struct source *source;
	char arg[SOURCE_MAX];
	int err;

	if (detect_is_off(text))
		return ERR_OK;
	do
		err = next_source(&text, &source, arg, ret_why);
	while (!err && source);
	return err;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

int detect_judge(const struct ipaddr *ip, bool allow_private, struct why *ret_why)
{
	enum ipaddr_scope scope = ipaddr_scope(ip);
	char text[IPADDR_TEXT_MAX];

	if (scope == IPADDR_GLOBAL || (allow_private && (scope == IPADDR_PRIVATE || scope == IPADDR_CGNAT)))
		return ERR_OK;
	ipaddr_format(ip, text);
	if (scope == IPADDR_PRIVATE || scope == IPADDR_CGNAT)
		return why_set(ret_why, ERR_DOUBTFUL, "",
			       "%s is a %s address, not published unless SILODNS_ALLOW_PRIVATE is set", text,
			       ipaddr_scope_name(scope));
	return why_set(ret_why, ERR_DOUBTFUL, "", "%s is a %s address: other machines cannot reach this one by it%s",
		       text, ipaddr_scope_name(scope),
		       scope == IPADDR_LOOPBACK ? " (is the hub on this machine? Then choose another source)" : "");
}

int detect_address(const struct detect_settings *settings, const char *text, int family, struct ipaddr *ret_ip,
		   struct why *ret_why)
{
	struct ipaddr agreed = {0};
	const struct source *source;
	char arg[SOURCE_MAX], one[IPADDR_TEXT_MAX], other[IPADDR_TEXT_MAX];
	struct why why = {0};

	for (;;) {
		struct ipaddr ip = {0};
		int err = next_source(&text, &source, arg, ret_why);
		if (err)
			return err;
		if (!source)
			break;
		err = source->ask(settings, arg, family, &ip, &why);
		if (err == ERR_DOUBTFUL || err == ERR_STOPPED)
			return why_set(ret_why, err, "", "%s %s", source->name, why.text);
		if (err) {
			log_debug("source failed", LOG_STR("source", source->name), LOG_STR("reason", why.text));
			continue;
		}
		if (agreed.family && ipaddr_compare(&agreed, &ip) != 0) {
			ipaddr_format(&agreed, one);
			ipaddr_format(&ip, other);
			return why_set(ret_why, ERR_DOUBTFUL, "", "the sources disagree: %s and %s", one, other);
		}
		agreed = ip;
	}
	if (!agreed.family)
		return why_set(ret_why, ERR_DETECT, "", "no IPv%d address detected: %s", family, why.text);
	int err = detect_judge(&agreed, settings->allow_private, ret_why);
	if (!err)
		*ret_ip = agreed;
	return err;
}
