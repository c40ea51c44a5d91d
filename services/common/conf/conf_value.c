#include "common/conf/conf_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/net/hostname.h"
#include "common/net/ipaddr.h"
#include "common/net/url.h"

static const struct {
	const char *suffix;
	long ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
	     {"s", 1000},     {"ms", 1},      {"", 1000}}; /* a bare number is seconds */

static const struct {
	const char *word;
	bool value;
} words[] = {{"true", true},   {"yes", true}, {"1", true},  {"on", true},
	     {"false", false}, {"no", false}, {"0", false}, {"off", false}};

static void format_limit(const struct conf_option *option, long value, char *ret_text, size_t size)
{
	size_t i = 0;
	if (option->type != CONF_DURATION) {
		snprintf(ret_text, size, "%ld", value);
		return;
	}
	while (value % units[i].ms != 0 || (value == 0 && units[i].ms > 1))
		i++;
	snprintf(ret_text, size, "%ld%s", value / units[i].ms, units[i].suffix);
}

void conf_format_range(const struct conf_option *option, char ret_text[static CONF_NAME_SIZE])
{
	char min[32], max[32];
	ret_text[0] = '\0';
	if (option->min == 0 && option->max == 0)
		return;
	format_limit(option, option->min, min, sizeof(min));
	format_limit(option, option->max, max, sizeof(max));
	snprintf(ret_text, CONF_NAME_SIZE, "%s to %s", min, max);
}

static int store_string(const struct conf_option *option, const char *text, void *field, struct why *ret_why)
{
	(void)option;
	char *copy = strdup(text);
	if (!copy)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	*(char **)field = copy;
	return 0;
}

static int list_add(struct conf_list *list, const char *item, size_t len)
{
	char **items = reallocarray(list->items, list->count + 1, sizeof(*items));
	if (!items)
		return ERR_NOMEM;
	list->items = items;
	items[list->count] = strndup(item, len);
	if (!items[list->count])
		return ERR_NOMEM;
	list->count++;
	return 0;
}

static int store_list(const struct conf_option *option, const char *text, void *field, struct why *ret_why)
{
	struct conf_list *list = field;
	for (const char *s = text + strspn(text, CONF_LIST_SEPARATORS); *s; s += strspn(s, CONF_LIST_SEPARATORS)) {
		size_t len = strcspn(s, CONF_LIST_SEPARATORS);
		if (list_add(list, s, len) < 0)
			return why_set(ret_why, ERR_NOMEM, "", "out of memory");
		int err = option->check ? option->check(list->items[list->count - 1], ret_why) : 0;
		if (err < 0)
			return err;
		s += len;
	}
	return 0;
}

/* Decimal digits, perhaps after a minus; `*ret_rest` is what follows them. */
static bool parse_number(const char *text, long *ret_value, const char **ret_rest)
{
	char *end;
	if (!isdigit((unsigned char)text[text[0] == '-']))
		return false;
	errno = 0;
	*ret_value = strtol(text, &end, 10);
	*ret_rest = end;
	return errno == 0;
}

static int check_range(const struct conf_option *option, const char *text, long value, struct why *ret_why)
{
	char range[CONF_NAME_SIZE];
	if ((option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max))
		return 0;
	conf_format_range(option, range);
	return why_set(ret_why, ERR_INVALID, "", "%s is out of range; it may be %s", text, range);
}

static int store_int(const struct conf_option *option, const char *text, void *field, struct why *ret_why)
{
	const char *rest;
	long value;
	if (!parse_number(text, &value, &rest) || *rest)
		return why_set(ret_why, ERR_INVALID, "", "\"%s\" is not a whole number (or too large)", text);
	int err = check_range(option, text, value, ret_why);
	if (err < 0)
		return err;
	*(long *)field = value;
	return 0;
}

static int store_duration(const struct conf_option *option, const char *text, void *field, struct why *ret_why)
{
	const char *rest = text;
	long value = 0;
	bool known = false;
	if (parse_number(text, &value, &rest) && value >= 0)
		for (size_t i = 0; !known && i < sizeof(units) / sizeof(units[0]); i++)
			known = strcmp(rest, units[i].suffix) == 0 &&
				!__builtin_mul_overflow(value, units[i].ms, &value);
	if (!known)
		return why_set(ret_why, ERR_INVALID, "", "\"%s\" is not a duration such as 250ms, 15s, 5m, 2h or 90d",
			       text);
	int err = check_range(option, text, value, ret_why);
	if (err < 0)
		return err;
	*(long *)field = value;
	return 0;
}

static int store_bool(const struct conf_option *option, const char *text, void *field, struct why *ret_why)
{
	(void)option;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(words[i].word, text) == 0) {
			*(bool *)field = words[i].value;
			return 0;
		}
	return why_set(ret_why, ERR_INVALID, "", "\"%s\" is neither true nor false", text);
}

static int (*const stores[])(const struct conf_option *option, const char *text, void *field, struct why *ret_why) = {
	[CONF_STRING] = store_string, [CONF_SECRET] = store_string,     [CONF_LIST] = store_list,
	[CONF_INT] = store_int,       [CONF_DURATION] = store_duration, [CONF_BOOL] = store_bool,
};

/* Whether it is one of "keep|replace". */
static bool is_choice(const char *choices, const char *text)
{
	for (size_t len; *choices; choices += len + (choices[len] == '|')) {
		len = strcspn(choices, "|");
		if (strlen(text) == len && strncmp(choices, text, len) == 0)
			return true;
	}
	return false;
}

int conf_store(const struct conf_option *option, const char *text, void *settings, struct why *ret_why)
{
	void *field = (char *)settings + option->offset;
	if (option->arg && strchr(option->arg, '|') && !is_choice(option->arg, text))
		return why_set(ret_why, ERR_INVALID, "", "\"%s\" is none of %s", text, option->arg);
	int err = option->check && option->type != CONF_LIST ? option->check(text, ret_why) : 0;
	return err < 0 ? err : stores[option->type](option, text, field, ret_why);
}

static void release_list(struct conf_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct conf_list){0};
}

void conf_release(const struct conf_program *program, void *settings)
{
	for (size_t i = 0; i < program->option_count; i++) {
		enum conf_type type = program->options[i].type;
		void *field = (char *)settings + program->options[i].offset;
		char **text = field;
		if (type == CONF_SECRET && *text)
			sodium_memzero(*text, strlen(*text));
		if (type == CONF_LIST)
			release_list(field);
		else if (type == CONF_STRING || type == CONF_SECRET)
			free(TAKE_PTR(*text));
	}
}

/* Up to `size` bytes; negative: errno says why. */
static ssize_t read_upto(int fd, char *data, size_t size)
{
	size_t len = 0;
	while (len < size) {
		ssize_t n = read(fd, data + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return n;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* Checks and shortens what was read; its length or an error. */
static int trim_secret(const char *path, const char *data, size_t len, struct why *ret_why)
{
	if (len > 0 && data[len - 1] == '\n')
		len -= len > 1 && data[len - 2] == '\r' ? 2 : 1;
	if (len == 0)
		return why_set(ret_why, ERR_INVALID, "", "%s is empty", path);
	if (len > CONF_SECRET_MAX)
		return why_set(ret_why, ERR_INVALID, "", "%s is longer than %d bytes", path, CONF_SECRET_MAX);
	if (memchr(data, '\0', len))
		return why_set(ret_why, ERR_INVALID, "", "%s contains a NUL byte", path);
	return (int)len;
}

int conf_read_secret(const char *path, char ret_secret[static CONF_SECRET_MAX + 1], struct why *ret_why)
{
	char data[CONF_SECRET_MAX + 3]; /* a newline and one byte too many */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read_upto(fd, data, sizeof(data));
	if (n < 0)
		return why_set(ret_why, ERR_SYSTEM, "", "%s cannot be read: %s", path, strerror(errno));
	int len = trim_secret(path, data, (size_t)n, ret_why);
	if (len >= 0) {
		memcpy(ret_secret, data, (size_t)len);
		ret_secret[len] = '\0';
	}
	sodium_memzero(data, sizeof(data));
	return len < 0 ? len : 0;
}

int conf_check_url(const char *value, struct why *ret_why)
{
	struct url url;
	return url_parse(value, &url, ret_why);
}

int conf_check_cidr(const char *value, struct why *ret_why)
{
	struct cidr cidr;
	return cidr_parse(value, strlen(value), &cidr, ret_why);
}

int conf_check_hostname(const char *value, struct why *ret_why)
{
	char name[HOSTNAME_LEN_MAX + 1];
	return hostname_parse(value, strlen(value), name, ret_why);
}
