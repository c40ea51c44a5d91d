/* A text is read as what it says, or not at all. */
#include "../../unit.h"

static int until; /* the allocation that fails; 0: none */

static void *malloc_or_not(size_t size)
{
	return until > 0 && --until == 0 ? NULL : malloc(size);
}

#define malloc malloc_or_not
#include "common/base/jsontext.c"
#undef malloc

/* Each of its allocations fails in turn, then none. */
static void read_each(const char *text)
{
	json_t *json = NULL;
	json_error_t error;
	int n = 0;

	for (int err = ERR_NOMEM; err; n++) {
		until = n + 1;
		err = jsontext_parse(text, strlen(text), JSON_REJECT_DUPLICATES, &json, &error);
		assert_true(err == (until ? ERR_OK : ERR_NOMEM));
		assert_true(err || json);
		until = 0;
	}
	assert_true(n > 4);
	char *again = json_dumps(json, JSON_COMPACT);
	assert_string_equal(again, text);
	free(again);
	json_decref(json);
}

/* Where the closing quote is the character that has no room, and where it is not. */
static void test_a_string_of_any_length_is_read_as_it_is_or_not_at_all(void **state)
{
	char text[5200];

	for (int len = 1; len < 5000; len += len < 140 ? 1 : 480) {
		snprintf(text, sizeof text, "{\"a\":\"%0*d\"}", len, 7);
		read_each(text);
	}
}

static void test_each_allocation_that_fails_is_out_of_memory(void **state)
{
	read_each("{\"a\":[1,2,3,4,5,6,7,8,9,10],\"b\":{\"c\":-12345678901234567,\"d\":[]},\"e\":null,\"f\":{},\"g\":"
		  "\"\",\"h\":{},\"i\":{},\"j\":"
		  "\"a\",\"k\":true,\"\u00e4\u20ac\U0001f600\u00e4\u20ac\U0001f600\u20ac\":"
		  "\"\u00e4\u20ac\U0001f600\u00e4\u20ac\U0001f600\u20ac\"}");
}

static void test_what_is_no_json_is_malformed(void **state)
{
	json_t *json = NULL;
	json_error_t error = {0};

	assert_int_equal(jsontext_parse("{\n", 2, 0, &json, &error), ERR_MALFORMED);
	assert_int_equal(error.line, 2);
	assert_int_equal(jsontext_parse("", 0, 0, &json, NULL), ERR_MALFORMED);
	assert_null(json);
}

static void test_a_body_of_windows_is_read_or_said_to_be_utf16(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		int err;
		const char *says;
	} cases[] = {
		{"\xef\xbb\xbf{}", 5, ERR_OK, ""},
		{"\xef\xbb\xbf", 3, ERR_MALFORMED, "ends before"},
		{"\xef\xbb\xbf\xef\xbb\xbf{}", 8, ERR_MALFORMED, "column 1"},
		{"\xef\xbb", 2, ERR_MALFORMED, "not UTF-8"},
		{"\xff\xfe{\0}", 6, ERR_MALFORMED, "UTF-16, as its first bytes say (ff fe)"},
		{"\xfe\xff\0{\0}", 6, ERR_MALFORMED, "UTF-16, as its first bytes say (fe ff)"},
		{"{\0}", 4, ERR_MALFORMED, "UTF-16, as its first bytes say (7b 00)"},
		{"\0{\0}", 4, ERR_MALFORMED, "UTF-16, as its first bytes say (00 7b)"},
		{"\0\0", 2, ERR_MALFORMED, "line 1"},
		{"{\"secret", 8, ERR_MALFORMED, "ends before"},
		{"{\"secret\":'secret'}", 19, ERR_MALFORMED, "double quotes"},
		{"{\"secret\":\"\\ud800secret\"}", 26, ERR_MALFORMED, "syntax"},
		{"{\"secret\":1,\"secret\":1}", 23, ERR_MALFORMED, "twice"},
		{"{\"secret\":\"\\u0000\"}", 19, ERR_MALFORMED, "NUL"},
		{"{\"secret\":1e999}", 16, ERR_MALFORMED, "too large"},
		{"{} secret", 9, ERR_MALFORMED, "behind its end"},
		{"[\"secret\"]", 10, ERR_INVALID, "such as {\"a\":1}"},
		{"", 0, ERR_MALFORMED, "such as {\"a\":1}"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_t *json = NULL;
		struct why why = {.text = ""};
		int err = jsontext_parse_object(cases[i].text, cases[i].len, "{\"a\":1}", &json, &why);
		if (err != cases[i].err || !strstr(why.text, cases[i].says) || strstr(why.text, "secret"))
			fail_msg("%zu: %d, %s", i, err, why.text);
		assert_true(json ? err == ERR_OK : err != ERR_OK);
		json_decref(json);
	}
}

static void test_members_are_strings_or_absent(void **state)
{
	static const char text[] = "{\"a\":\"x\",\"b\":5,\"c\":\"x\\u0000y\"}";
	json_t *json = NULL;

	assert_int_equal(jsontext_parse(text, strlen(text), JSON_ALLOW_NUL, &json, NULL), ERR_OK);
	assert_string_equal(jsontext_member(json, "a"), "x");
	assert_null(jsontext_member(json, "b"));
	assert_null(jsontext_member(json, "c"));
	assert_null(jsontext_member(json, "d"));
	assert_null(jsontext_member(NULL, "a"));
	json_decref(json);
}

static void test_nothing_that_is_wanted_is_left_out(void **state)
{
	char *items[] = {(char[]){"one"}, (char[]){"two"}};

	for (until = 1; until < 100; until++) {
		int n = until;
		json_t *list = jsontext_list(items, 2);
		assert_true(list ? until > 0 : until == 0);
		assert_true(!list || json_array_size(list) == 2);
		json_decref(list);
		until = list ? 100 : n;
	}
	until = 0;
	json_t *object = json_object();
	assert_int_equal(jsontext_set(object, "a", true, NULL), ERR_NOMEM);
	assert_int_equal(jsontext_set(object, "b", false, json_true()), ERR_OK);
	assert_int_equal(jsontext_set(object, "c", true, json_true()), ERR_OK);
	assert_int_equal(json_object_size(object), 1);
	assert_int_equal(jsontext_set(NULL, "c", true, json_true()), ERR_NOMEM);
	json_decref(object);
}
