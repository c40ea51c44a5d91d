#include "common/net/hostname.h"

#include <string.h>

#define QUOTE_MAX 60 /* bytes of a refused value in a message */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_name_byte(char c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_' || c == '.';
}

/* WHATWG URL, "ends in a number": such a name would be read as an IPv4 address. */
static bool is_number(const char *label, size_t len)
{
	bool hexadecimal = len >= 2 && label[0] == '0' && label[1] == 'x';
	size_t i = hexadecimal ? 2 : 0;

	while (i < len && (is_digit(label[i]) || (hexadecimal && label[i] >= 'a' && label[i] <= 'f')))
		i++;
	return i == len;
}

static int refuse_byte(const char *text, size_t len, size_t at, struct why *why)
{
	unsigned char c = (unsigned char)text[at];
	int shown = (int)(len < QUOTE_MAX ? len : QUOTE_MAX);

	if (c >= 0x80)
		return why_set(why, ERR_INVALID, "",
			       "a hostname has ASCII letters only: write other scripts in punycode (xn--…)");
	if (c < 0x20 || c == 0x7f)
		return why_set(why, ERR_INVALID, "",
			       "a hostname must not hold a control character (byte %zu is 0x%02x)", at + 1, c);
	return why_set(why, ERR_INVALID, "",
		       "\"%.*s\" is not a hostname: '%c' is not allowed, only letters, digits, hyphens, underscores "
		       "and dots",
		       shown, text, c);
}

static int check_label(const char *name, size_t len, const char *label, size_t label_len, struct why *why)
{
	int shown = (int)(len < QUOTE_MAX ? len : QUOTE_MAX);
	const char *what = NULL;

	if (label_len > HOSTNAME_LABEL_MAX)
		return why_set(why, ERR_INVALID, "", "\"%.*s\" has a label of %zu bytes: at most %d", shown, name,
			       label_len, HOSTNAME_LABEL_MAX);
	if (label_len == 0)
		what = label == name + len ? "ends in a dot: leave it out"
					   : "has nothing between two dots, or begins with one";
	else if (label[0] == '-' || label[label_len - 1] == '-')
		what = "has a label that begins or ends with a hyphen";
	return what ? why_set(why, ERR_INVALID, "", "\"%.*s\" %s", shown, name, what) : ERR_OK;
}

int hostname_parse(const char *text, size_t len, char ret_name[static HOSTNAME_LEN_MAX + 1], struct why *ret_why)
{
	char name[HOSTNAME_LEN_MAX + 1];
	size_t start = 0;

	if (len == 0)
		return why_set(ret_why, ERR_INVALID, "", "the hostname is empty");
	for (size_t i = 0; i < len; i++)
		if (!is_name_byte(text[i]))
			return refuse_byte(text, len, i, ret_why);
	if (len > HOSTNAME_LEN_MAX)
		return why_set(ret_why, ERR_INVALID, "", "a hostname has at most %d bytes, this one has %zu",
			       HOSTNAME_LEN_MAX, len);
	for (size_t i = 0; i < len; i++)
		name[i] = lower(text[i]);
	name[len] = '\0';
	for (size_t end = 0; end <= len; end++) {
		if (name[end] != '.' && name[end] != '\0')
			continue;
		int err = check_label(name, len, name + start, end - start, ret_why);
		if (err)
			return err;
		if (end < len)
			start = end + 1;
	}
	if (is_number(name + start, len - start))
		return why_set(ret_why, ERR_INVALID, "",
			       "\"%.*s\" ends in a number: it would be read as an IPv4 address", QUOTE_MAX, name);
	memcpy(ret_name, name, len + 1);
	return ERR_OK;
}

bool hostname_under(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0 &&
	       (len == suffix_len || name[len - suffix_len - 1] == '.');
}
