#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ROW(code, n, t, s, r) [-(code)] = {.name = (n), .title = (t), .http_status = (s), .retryable = (r)}

static const struct err_info table[] = {
	ROW(ERR_OK, "ok", "done", 200, false),
	ROW(ERR_NOMEM, "out-of-memory", "the hub is out of memory", 503, true),
	ROW(ERR_SYSTEM, "system", "a system call failed", 500, true),
	ROW(ERR_MALFORMED, "malformed", "the request cannot be read", 400, false),
	ROW(ERR_INVALID, "invalid", "a value was refused", 422, false),
	ROW(ERR_ENCODING, "unsupported-encoding", "the body is in a form that is not read", 415, false),
	ROW(ERR_TOO_LARGE, "too-large", "larger than the limit", 413, false),
	ROW(ERR_UNAUTHORIZED, "unauthorized", "credentials are missing or wrong", 401, false),
	ROW(ERR_FORBIDDEN, "forbidden", "not allowed", 403, false),
	ROW(ERR_NOT_FOUND, "not-found", "there is no such thing", 404, false),
	ROW(ERR_METHOD, "method", "the method is not allowed here", 405, false),
	ROW(ERR_CONFLICT, "conflict", "the present state forbids it", 409, false),
	ROW(ERR_PRECONDITION, "precondition", "the precondition does not hold", 412, false),
	ROW(ERR_QUOTA, "quota", "the quota is used up", 403, false),
	ROW(ERR_RATE, "rate", "too many requests", 429, true),
	ROW(ERR_UNAVAILABLE, "unavailable", "not available now", 503, true),
	ROW(ERR_BUSY, "busy", "too much to do", 503, true),
	ROW(ERR_UNKNOWN_OUTCOME, "unknown-outcome", "it is not known whether it happened", 503, true),
	ROW(ERR_TIMEOUT, "timeout", "no answer in time", 504, true),
	ROW(ERR_NETWORK, "network", "the connection failed", 502, true),
	ROW(ERR_TLS, "tls", "the TLS handshake or certificate was refused", 502, true),
	ROW(ERR_PROTOCOL, "protocol", "the answer makes no sense", 502, true),
	ROW(ERR_NOT_MODIFIED, "not-modified", "still current", 304, false),
	ROW(ERR_DETECT, "detect", "no address was detected", 500, true),
	ROW(ERR_DOUBTFUL, "doubtful", "the detected address is doubtful", 500, true),
	ROW(ERR_DEADLOCK, "deadlock", "the database asks to try again", 503, true),
	ROW(ERR_STOPPED, "stopped", "asked to stop meanwhile", 503, true),
	ROW(ERR_INTERNAL, "internal", "an internal error", 500, false),
	ROW(ERR_PENDING, "pending", "the answer comes later", 500, true),
};

_Static_assert(sizeof table / sizeof table[0] == -ERR_LAST_, "one row per error");

const struct err_info *err_info(int err)
{
	return &table[err <= 0 && err > ERR_LAST_ ? -err : -ERR_INTERNAL];
}

const char *err_name(int err)
{
	return err_info(err)->name;
}

/* Steps back to the start of a UTF-8 sequence that was cut. */
static size_t whole_characters(const char *text, size_t len)
{
	while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/* Of a text that was printed to `field` and has `needed` bytes: it may have been cut, and may hold what it must not. */
static void tidy(char *field, size_t size, int needed)
{
	static const char ellipsis[] = "…";

	if (needed >= (int)size)
		memcpy(field + whole_characters(field, size - sizeof ellipsis), ellipsis, sizeof ellipsis);
	for (char *c = field; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

int why_set(struct why *why, int err, const char *field, const char *fmt, ...)
{
	va_list args;

	if (!why)
		return err;
	tidy(why->field, sizeof why->field, snprintf(why->field, sizeof why->field, "%s", field));
	va_start(args, fmt);
	tidy(why->text, sizeof why->text, vsnprintf(why->text, sizeof why->text, fmt, args));
	va_end(args);
	return err;
}
