#include "jsontext.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool failed; /* an allocation of jansson's */

static void *allocate(size_t size)
{
	void *memory = malloc(size);
	failed |= !memory;
	return memory;
}

static void watch_allocations(void)
{
	json_set_alloc_funcs(allocate, free);
}

int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	json_error_t error;
	(void)pthread_once(&once, watch_allocations);
	failed = false;
	json_t *json = json_loadb(text, len, flags, ret_error ? ret_error : &error);
	if (json && !failed) {
		*ret_json = json;
		return ERR_OK;
	}
	json_decref(json);
	return failed ? ERR_NOMEM : ERR_MALFORMED;
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
