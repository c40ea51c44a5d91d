#include "common/base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
	return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

uint64_t clock_wall_ago_us(int64_t us)
{
	int64_t then_us = clock_wall_us() - us;

	return then_us < 0 ? 0 : (uint64_t)then_us;
}

void clock_format(int64_t wall_us, char ret_text[static CLOCK_TEXT_MAX])
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;
	char day[sizeof("2026-11-24T13:29:09")] = "";
	if (gmtime_r(&seconds, &tm))
		strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text, CLOCK_TEXT_MAX, "%s.%06dZ", day, (int)(wall_us % 1000000));
}

void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct timespec clock_mono_at(int64_t mono_ms)
{
	return (struct timespec){.tv_sec = mono_ms / 1000, .tv_nsec = (mono_ms % 1000) * 1000000};
}

/* The form without the fraction, '0' standing for any digit. */
static bool has_form(const char *text, const char *form)
{
	for (; *form; text++, form++)
		if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
			return false;
	return true;
}

/* Behind the seconds: "Z", or ".5Z". */
static bool parse_fraction(const char *text, int64_t *ret_us)
{
	int64_t us = 0;
	size_t len = text[0] == '.' ? strspn(text + 1, "0123456789") : 0;

	if (text[0] == '.' && (len < 1 || len > 9))
		return false;
	for (size_t i = 1; i <= 6; i++)
		us = us * 10 + (i <= len ? text[i] - '0' : 0);
	*ret_us = us;
	return strcmp(text + (len ? len + 1 : 0), "Z") == 0;
}

int clock_parse(const char *text, int64_t *ret_wall_us, struct why *ret_why)
{
	static const char form[] = "0000-00-00T00:00:00";
	struct tm tm = {0};
	int64_t us;

	if (!has_form(text, form) || !parse_fraction(text + strlen(form), &us))
		return why_set(ret_why, ERR_INVALID, "", "is a time in UTC such as 2026-11-25T14:03:07Z");
	sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
	       &tm.tm_sec);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	struct tm real = tm; /* timegm() turns what does not exist into something that does */
	time_t seconds = timegm(&real);
	if (tm.tm_year < 70 || tm.tm_mon != real.tm_mon || tm.tm_mday != real.tm_mday || tm.tm_hour != real.tm_hour ||
	    tm.tm_min != real.tm_min || tm.tm_sec != real.tm_sec)
		return why_set(ret_why, ERR_INVALID, "", "\"%s\" is no time since 1970 that exists", text);
	*ret_wall_us = (int64_t)seconds * 1000000 + us;
	return ERR_OK;
}
