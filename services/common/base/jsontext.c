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

int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error)
{
	alignas(max_align_t) char small[SPARE_OF(SHORT) + SHORT];
	_cleanup_free_ char *large = len > SHORT ? malloc(SPARE_OF(len) + len) : NULL;
	char *memory = large ? large : small;
	struct reading now = {.text = memory + SPARE_OF(len), .len = len, .spare = memory};
	if (len > SHORT && !large)
		return ERR_NOMEM;
	memcpy(now.text, text, len);
	return parse(&now, flags, ret_json, ret_error);
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
