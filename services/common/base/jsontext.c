#include "common/base/jsontext.h"

#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

#define SHORT 2048                     /* bytes of a text that is read without a malloc() of ours */
#define SPARE_OF(len) (2 * (len) + 64) /* jansson doubles the buffer of a string */

/* A text that is being read, by this thread. */
struct reading {
	char *text; /* a copy */
	size_t len;
	void *spare;
	bool failed;
};

static _Thread_local struct reading *reading;

/* The first allocation that fails gets the spare: so jansson has the character that it is at; behind it the text makes
 * no sense any more. */
static void *allocate(size_t size)
{
	void *memory = malloc(size);
	if (memory || !reading || reading->failed)
		return memory;
	reading->failed = true;
	memset(reading->text, 0, reading->len);
	return size <= SPARE_OF(reading->len) ? reading->spare : NULL;
}

static void release(void *memory)
{
	if (!reading || memory != reading->spare)
		free(memory);
}

static void set_functions(void)
{
	json_set_alloc_funcs(allocate, release);
}

static int parse(struct reading *now, size_t flags, json_t **ret_json, json_error_t *ret_error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	json_error_t error;
	(void)pthread_once(&once, set_functions);
	reading = now;
	json_t *json = json_loadb(now->text, now->len, flags, ret_error ? ret_error : &error);
	if (json && now->failed) {
		json_decref(json);
		json = NULL;
	}
	reading = NULL;
	if (!json)
		return now->failed ? ERR_NOMEM : ERR_MALFORMED;
	*ret_json = json;
	return ERR_OK;
}

static const char utf8_mark[] = {'\xef', '\xbb', '\xbf'};

static bool begins_with(const char *text, size_t len, const char *bytes, size_t count)
{
	return len >= count && memcmp(text, bytes, count) == 0;
}

int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error)
{
	alignas(max_align_t) char small[SPARE_OF(SHORT) + SHORT];
	_cleanup_free_ char *large = len > SHORT ? malloc(SPARE_OF(len) + len) : NULL;
	char *memory = large ? large : small;
	size_t mark = begins_with(text, len, utf8_mark, sizeof utf8_mark) ? sizeof utf8_mark : 0;
	struct reading now = {.text = memory + SPARE_OF(len), .len = len - mark, .spare = memory};
	if (len > SHORT && !large)
		return ERR_NOMEM;
	memcpy(now.text, text + mark, now.len);
	return parse(&now, flags, ret_json, ret_error);
}

/* By its byte order mark, or without one: what begins with an ASCII character then has a NUL beside it. */
static bool is_utf16(const char *text, size_t len)
{
	return begins_with(text, len, "\xff\xfe", 2) || begins_with(text, len, "\xfe\xff", 2) ||
	       (len >= 2 && !text[0] != !text[1]);
}

/* In words of ours: jansson's quote the text, in which a password may stand. */
static const char *describe(const json_error_t *error)
{
	static const char *const texts[] = {
		[json_error_premature_end_of_input] = "it ends before it is complete",
		[json_error_end_of_input_expected] = "something stands behind its end",
		[json_error_invalid_utf8] = "this is not UTF-8",
		[json_error_null_character] = "it holds a NUL",
		[json_error_null_byte_in_key] = "it holds a NUL",
		[json_error_duplicate_key] = "a member stands there twice",
		[json_error_numeric_overflow] = "a number is too large",
		[json_error_stack_overflow] = "it is nested too deep",
	};
	size_t code = json_error_code(error);
	const char *text = code < sizeof texts / sizeof texts[0] ? texts[code] : NULL;
	return text ? text
		    : "a syntax error (names and strings stand in double quotes; there are no comments and no comma "
		      "before a closing bracket)";
}

int jsontext_parse_object(const char *text, size_t len, const char *example, json_t **ret_object, struct why *ret_why)
{
	json_t *json = NULL;
	json_error_t error;
	if (len == 0)
		return why_set(ret_why, ERR_MALFORMED, "", "the body is empty: JSON is wanted, such as %s", example);
	if (is_utf16(text, len))
		return why_set(ret_why, ERR_MALFORMED, "",
			       "the body is UTF-16, as its first bytes say (%02x %02x): send it as UTF-8",
			       (unsigned char)text[0], (unsigned char)text[1]);
	int err = jsontext_parse(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &json, &error);
	if (err == ERR_NOMEM)
		return why_set(ret_why, err, "", "out of memory");
	if (err)
		return why_set(ret_why, err, "", "the body is not JSON: line %d, column %d: %s", error.line,
			       error.column, describe(&error));
	if (!json_is_object(json)) {
		json_decref(json);
		return why_set(ret_why, ERR_INVALID, "", "the body is to be an object, such as %s", example);
	}
	*ret_object = json;
	return ERR_OK;
}

const char *jsontext_member(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	const char *text = json_string_value(value);
	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

json_t *jsontext_list(char *const *items, size_t count)
{
	json_t *list = json_array();
	bool incomplete = !list;
	for (size_t i = 0; i < count && !incomplete; i++)
		incomplete = json_array_append_new(list, json_string(items[i])) != 0;
	if (!incomplete)
		return list;
	json_decref(list);
	return NULL;
}

int jsontext_set(json_t *object, const char *name, bool wanted, json_t *value_take)
{
	if (wanted)
		return json_object_set_new(object, name, value_take) ? ERR_NOMEM : ERR_OK;
	json_decref(value_take);
	return ERR_OK;
}
