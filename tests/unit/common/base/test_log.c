/* A line says what happened and nothing else: no value can forge a field or a line, whatever bytes it has. */
#include "../../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include <jansson.h>

#include "common/base/log.h"
#include "common/net/ipaddr.h"

static char text[1 << 20];
static int capture[2], saved_stderr;

static void begin(void)
{
	assert_int_equal(pipe(capture), 0);
	assert_true(fcntl(capture[1], F_SETPIPE_SZ, 1 << 20) > 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(capture[1], STDERR_FILENO);
	close(capture[1]);
}

/* What was written to stderr since begin(). */
static char *end(void)
{
	size_t len = 0;
	ssize_t n;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	while ((n = read(capture[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(capture[0]);
	text[len] = '\0';
	return text;
}

/* The line without its time, which is checked for its form. */
static const char *rest(const char *line)
{
	unsigned year, month, day, hour, minute, second, us;
	char zone;
	assert_int_equal(sscanf(line, "time=%4u-%2u-%2uT%2u:%2u:%2u.%6u%c", &year, &month, &day, &hour, &minute,
				&second, &us, &zone),
			 8);
	assert_int_equal(zone, 'Z');
	assert_true(year >= 2024 && month <= 12 && day <= 31);
	return line + strlen("time=2026-11-24T13:29:09.123456Z ");
}

static void logfmt_has_every_type(void **state)
{
	struct ipaddr ip = {.family = 4, .bytes = {192, 0, 2, 7}};
	log_init("silodns-test", LOG_LEVEL_DEBUG, LOG_FORMAT_LOGFMT);
	begin();
	log_warn("listening now", LOG_STR("s", "word"), LOG_STR("none", NULL), LOG_I64("i", INT64_MIN),
		 LOG_U64("u", UINT64_MAX), LOG_BOOL("b", true), LOG_STR("ip", IPADDR_TEXT(&ip)), LOG_ERR(ERR_NOT_FOUND),
		 LOG_MS("took", 1.5));
	assert_string_equal(
		rest(end()),
		"level=warn program=silodns-test msg=\"listening now\" s=word none=\"\" i=-9223372036854775808 "
		"u=18446744073709551615 b=true ip=192.0.2.7 error=not-found took=1.500\n");
}

static void json_has_every_type(void **state)
{
	struct ipaddr ip = {.family = 4, .bytes = {192, 0, 2, 7}};
	log_init("silodns-test", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	begin();
	log_error("a \"b\"", LOG_STR("s", "x\ny"), LOG_I64("i", INT64_MIN), LOG_U64("u", 7), LOG_U64("big", UINT64_MAX),
		  LOG_BOOL("b", false), LOG_STR("ip", IPADDR_TEXT(&ip)), LOG_ERR(ERR_TLS), LOG_MS("took", 12.3456));
	char *line = end();
	const char *second = strstr(line, ",\"level\"");
	assert_non_null(second);
	assert_memory_equal(line, "{\"time\":\"20", 11);
	assert_string_equal(second,
			    ",\"level\":\"error\",\"program\":\"silodns-test\",\"msg\":\"a \\\"b\\\"\",\"s\":\"x\\ny\","
			    "\"i\":-9223372036854775808,\"u\":7,\"big\":\"18446744073709551615\",\"b\":false,"
			    "\"ip\":\"192.0.2.7\",\"error\":\"tls\",\"took\":12.346}\n");
}

static void a_value_cannot_forge_a_field_or_a_line(void **state)
{
	log_init("p", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	begin();
	log_info("m\nlevel=error", LOG_STR("a", "x y=1"), LOG_STR("b", "\"q\\"), LOG_STR("c", "\r\x1b[31m\t"),
		 LOG_STR("d", "a=b"));
	assert_string_equal(rest(end()), "level=info program=p msg=\"m\\nlevel=error\" a=\"x y=1\" b=\"\\\"q\\\\\" "
					 "c=\"\\u000d\\u001b[31m\\t\" d=\"a=b\"\n");
}

static void what_is_not_utf8_or_commands_a_terminal_is_replaced(void **state)
{
	static const struct {
		const char *given, *shown;
	} cases[] = {
		{"gr\xc3\xbc\xc3\x9f", "grüß"},
		{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
		{"a\xff", "a\uFFFD"},
		{"\xc3", "\uFFFD"},
		{"\xe2\x82", "\uFFFD\uFFFD"},
		{"\xc0\xaf", "\uFFFD\uFFFD"},                     /* overlong "/" */
		{"\xe0\x80\xaf", "\uFFFD\uFFFD\uFFFD"},           /* overlong "/" */
		{"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},           /* surrogate */
		{"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}, /* over U+10FFFF */
		{"\xc2\x9b", "\uFFFD\uFFFD"},                     /* CSI as one character */
		{"\x7f", "\uFFFD"},
	};
	for (size_t format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
		log_init("p", LOG_LEVEL_INFO, (enum log_format)format);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			char expected[128];
			begin();
			log_info("m", LOG_STR("v", cases[i].given));
			snprintf(expected, sizeof(expected), format == LOG_FORMAT_JSON ? ",\"v\":\"%s\"}\n" : " v=%s\n",
				 cases[i].shown);
			assert_non_null(strstr(end(), expected));
		}
	}
}

static void a_long_value_is_cut_between_characters(void **state)
{
	char value[2000], expected[600];
	memset(value, 'x', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	memcpy(value + 511, "ü", 2); /* stands across the limit of 512 */
	memset(expected, 'x', 511);
	memcpy(expected + 511, "…\n", sizeof("…\n"));
	log_init("p", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
	begin();
	log_info("m", LOG_STR("v", value));
	assert_string_equal(strstr(end(), " v=") + 3, expected);
}

static void a_line_stays_one_write_of_pipe_size(void **state)
{
	char value[600];
	memset(value, '\x01', sizeof(value)); /* six bytes each, escaped */
	value[sizeof(value) - 1] = '\0';
	for (size_t format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
		log_init("p", LOG_LEVEL_INFO, (enum log_format)format);
		begin();
		log_info("m", LOG_STR("first", value), LOG_STR("second", value), LOG_STR("third", "x"));
		char *line = end();
		assert_true(strlen(line) <= PIPE_BUF);
		assert_non_null(strstr(line, "first"));
		assert_null(strstr(line, "second"));
		assert_non_null(
			strstr(line, format == LOG_FORMAT_JSON ? ",\"truncated\":true}\n" : " truncated=true\n"));
	}
}

static void lines_below_the_level_are_not_written(void **state)
{
	log_init("p", LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
	begin();
	log_debug("no", LOG_U64("n", 1));
	log_info("no", LOG_U64("n", 1));
	log_warn("yes", LOG_U64("n", 1));
	log_error("yes", LOG_U64("n", 2));
	char *lines = end();
	assert_null(strstr(lines, "msg=no"));
	assert_non_null(strstr(lines, "level=warn program=p msg=yes n=1\n"));
	assert_non_null(strstr(lines, "level=error program=p msg=yes n=2\n"));
}

static void errno_is_kept(void **state)
{
	begin();
	close(STDERR_FILENO);
	errno = ENOENT;
	log_error("m", LOG_U64("n", 1));
	assert_int_equal(errno, ENOENT);
	end();
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("of a thread", LOG_STR("who", arg), LOG_I64("i", i));
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	pthread_t threads[4];
	char names[4][300];
	int seen = 0;
	log_init("p", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	begin();
	for (int t = 0; t < 4; t++) {
		memset(names[t], 'a' + t, sizeof(names[t]));
		names[t][sizeof(names[t]) - 1] = '\0';
		assert_int_equal(pthread_create(&threads[t], NULL, write_lines, names[t]), 0);
	}
	for (int t = 0; t < 4; t++)
		pthread_join(threads[t], NULL);
	char *next;
	for (char *line = end(); *line; line = next) {
		next = strchr(line, '\n') + 1;
		json_t *json = json_loadb(line, (size_t)(next - line), 0, NULL);
		assert_non_null(json);
		json_decref(json);
		seen++;
	}
	assert_int_equal(seen, 800);
}
