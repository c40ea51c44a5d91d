#include "../../unit.h"

#include <jansson.h>

#include "common/base/buf.h"
#include "common/hub/silo.h"

/* What the documents themselves may not be is tested over HTTP (tests/integration/hub/test_bad_input.py). */

static void parse(const char *json, struct silo *ret_silo)
{
	struct why why;

	assert_int_equal(silo_parse(json, strlen(json), "s", NULL, ret_silo, &why), ERR_OK);
}

static void test_an_answer_of_a_newer_hub_is_understood(void **state)
{
	static const char json[] =
		"{\"id\":\"s\",\"revision\":7,\"dnsrecords\":[{\"hostname\":\"a\",\"ip\":\"192.0.2.1\",\"ttl\":60}]}";
	struct silo silo;
	struct why why;

	assert_int_equal(silo_parse(json, sizeof json - 1, "s", NULL, &silo, &why), ERR_INVALID);
	assert_int_equal(silo_parse_answer(json, sizeof json - 1, NULL, &silo, &why), ERR_OK);
	assert_string_equal(silo.id, "s");
	assert_int_equal(silo.count, 1);
	silo_release(&silo);
	assert_int_equal(silo_parse_answer(json, sizeof json - 1, "other", &silo, &why), ERR_INVALID);
	assert_int_equal(silo_parse_answer("{\"dnsrecords\":[]}", 17, NULL, &silo, &why), ERR_INVALID);
}

static void test_untouched_on_failure(void **state)
{
	struct silo silo = {.id = "before"};
	struct why why;

	assert_int_equal(silo_parse("{", 1, "s", NULL, &silo, &why), ERR_MALFORMED);
	assert_string_equal(silo.id, "before");
	assert_null(silo.records);
	assert_int_equal(silo_parse("{", 1, "s", NULL, &silo, NULL), ERR_MALFORMED); /* a reason need not be wanted */
}

static void random_silo(struct silo *silo)
{
	*silo = (struct silo){.id = "s"};
	for (int n = rand() % 12; n > 0; n--) {
		char name[2] = {(char)('a' + rand() % 3), '\0'};
		struct ipaddr ip = {.family = rand() % 2 ? 4 : 6};
		ip.bytes[3] = (uint8_t)(1 + rand() % 3);
		ip.bytes[0] = 9;
		assert_int_equal(silo_add(silo, name, &ip), ERR_OK);
	}
	silo_sort(silo);
}

static bool has(const struct silo *silo, const struct record *record)
{
	for (size_t i = 0; i < silo->count; i++)
		if (!strcmp(silo->records[i].hostname, record->hostname) &&
		    !ipaddr_compare(&silo->records[i].ip, &record->ip))
			return true;
	return false;
}

struct expected {
	const struct silo *before, *after;
	size_t removed, added;
};

static int check_difference(void *arg, const struct record *record, bool removed)
{
	struct expected *e = arg;

	assert_true(has(removed ? e->before : e->after, record));
	assert_false(has(removed ? e->after : e->before, record));
	*(removed ? &e->removed : &e->added) += 1;
	return ERR_OK;
}

static void test_a_difference_is_exactly_what_differs(void **state)
{
	srand(20261124);
	for (int round = 0; round < 3000; round++) {
		struct silo before, after;
		random_silo(&before);
		random_silo(&after);
		struct expected e = {.before = &before, .after = &after};
		assert_int_equal(silo_diff(&before, &after, check_difference, &e), ERR_OK);
		assert_int_equal(before.count - e.removed + e.added, after.count);
		assert_int_equal(silo_equal(&before, &after), e.removed + e.added == 0);
		silo_release(&before);
		silo_release(&after);
	}
}

struct said {
	char text[4096];
	size_t len;
};

static int say_difference(void *arg, const struct record *record, bool removed)
{
	struct said *said = arg;

	said->len += (size_t)snprintf(said->text + said->len, sizeof said->text - said->len, "%c%s %s\n",
				      removed ? '-' : '+', record->hostname, IPADDR_TEXT(&record->ip));
	return ERR_OK;
}

/* Beside what was random anew: silos of many records, of which few differ. */
static void test_what_is_read_for_a_difference_differs_as_the_whole_does(void **state)
{
	srand(20261127);
	for (int round = 0; round < 6000; round++) {
		struct silo sides[2], parts[2] = {{.count = 0}};
		struct said whole = {.len = 0}, part = {.len = 0};
		char *texts[2];
		size_t lens[2];
		random_silo(&sides[0]);
		random_silo(&sides[1]);
		for (int side = 0; side < 2; side++) {
			for (int i = 0; round % 2 && i < 20; i++) {
				struct ipaddr ip = {.family = 4, .bytes = {10, 0, 0, (unsigned char)i}};
				assert_int_equal(silo_add(&sides[side], i % 3 ? "m" : "a", &ip), ERR_OK);
			}
			silo_sort(&sides[side]);
			assert_int_equal(silo_to_json(&sides[side], &texts[side], &lens[side]), ERR_OK);
		}
		assert_int_equal(silo_read_difference(texts[0], lens[0], texts[1], lens[1], &parts[0], &parts[1]),
				 ERR_OK);
		assert_int_equal(silo_diff(&sides[0], &sides[1], say_difference, &whole), ERR_OK);
		assert_int_equal(silo_diff(&parts[0], &parts[1], say_difference, &part), ERR_OK);
		assert_true(whole.len < sizeof whole.text);
		assert_string_equal(whole.text, part.text);
		assert_int_equal((int)(sides[1].count - sides[0].count), (int)(parts[1].count - parts[0].count));
		for (int side = 0; side < 2; side++) {
			/* What is no such document is not taken for one. */
			struct silo none[2];
			texts[side][lens[side] - 1] = '!';
			assert_int_equal(silo_read_difference(texts[0], lens[0], texts[1], lens[1], &none[0], &none[1]),
					 ERR_MALFORMED);
			texts[side][lens[side] - 1] = '}';
		}
		for (int side = 0; side < 2; side++) {
			silo_release(&sides[side]);
			silo_release(&parts[side]);
			free(texts[side]);
		}
	}
}

static int stop_at_once(void *arg, const struct record *record, bool removed)
{
	(void)record;
	(void)removed;
	return ++*(int *)arg, ERR_STOPPED;
}

static void test_a_walk_ends_when_the_callback_wants(void **state)
{
	struct silo before = {0}, after;
	int calls = 0;

	parse("{\"dnsrecords\":[{\"hostname\":\"a\",\"ip\":\"192.0.2.1\"},{\"hostname\":\"b\",\"ip\":\"192.0.2.1\"}]}",
	      &after);
	assert_int_equal(silo_diff(&before, &after, stop_at_once, &calls), ERR_STOPPED);
	assert_int_equal(calls, 1);
	silo_release(&after);
}

static void test_sorting_drops_repetitions(void **state)
{
	const struct ipaddr ip = {.family = 4, .bytes = {192, 0, 2, 1}};
	struct silo silo = {0};

	for (int i = 0; i < 5; i++)
		assert_int_equal(silo_add(&silo, i % 2 ? "b" : "a", &ip), ERR_OK);
	silo_sort(&silo);
	assert_int_equal(silo.count, 2);
	silo_release(&silo);
}

/* --- buf: small enough to share a file with what it is mostly used for --- */

static void test_a_buffer_holds_its_maximum_and_not_a_byte_more(void **state)
{
	struct buf b = BUF_INIT(5);

	assert_int_equal(buf_append_str(&b, "abc"), ERR_OK);
	assert_int_equal(buf_append_fmt(&b, "%d", 45), ERR_OK);
	assert_string_equal(b.data, "abc45");
	assert_int_equal(buf_append_str(&b, "6"), ERR_TOO_LARGE);
	assert_int_equal(buf_append_str(&b, ""), ERR_TOO_LARGE); /* failed stays failed */
	assert_string_equal(b.data, "abc45");
	assert_null(buf_take(&b, NULL));
	buf_clear(&b);
	assert_int_equal(buf_append_fmt(&b, "%s", "123456"), ERR_TOO_LARGE);
	buf_release(&b);
	assert_int_equal(b.max, 5);
}

static void test_a_taken_buffer_is_the_takers(void **state)
{
	struct buf b = BUF_INIT(100);
	size_t len;

	char *empty = buf_take(&b, &len);
	assert_string_equal(empty, "");
	buf_append(&b, "a\0b", 3);
	char *taken = buf_take(&b, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(taken, "a\0b", 4);
	assert_null(b.data);
	free(empty);
	free(taken);
	buf_release(&b);
}

static void test_a_long_reason_ends_in_an_ellipsis_and_is_valid(void **state)
{
	struct why why;
	char text[1000];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (size_t shift = 0; shift < 3; shift++) {
		assert_int_equal(
			why_set(&why, ERR_INVALID, text, "%s%.*s", "äöü", (int)(sizeof text - 1 - shift), text),
			ERR_INVALID);
		assert_string_equal(why.text + strlen(why.text) - strlen("…"), "…");
		assert_string_equal(why.field + strlen(why.field) - strlen("…"), "…");
	}
	assert_int_equal(err_info(12345)->http_status, 500);
	for (int err = 0; err > ERR_LAST_; err--)
		assert_true(err_info(err)->name && err_info(err)->title && err_info(err)->http_status);
}

/* As a JSON library would write it, and back again. */
static void check_canonical(const char *document, size_t records)
{
	struct silo silo = {0}, again = {0};
	struct why why;
	char *json;
	size_t len;

	assert_int_equal(silo_parse(document, strlen(document), "s.1_a-B", NULL, &silo, &why), ERR_OK);
	assert_int_equal(silo.count, records);
	assert_int_equal(silo_to_json(&silo, &json, &len), ERR_OK);
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	char *expected = json_dumps(root, JSON_COMPACT);
	assert_string_equal(json, expected);
	assert_int_equal(len, strlen(expected));
	assert_int_equal(silo_read_canonical(json, strlen(json), &again), ERR_OK);
	assert_string_equal(again.id, silo.id);
	assert_true(silo_equal(&again, &silo));
	free(expected);
	json_decref(root);
	free(json);
	silo_release(&silo);
	silo_release(&again);
}

static void test_the_canonical_text_is_what_a_json_library_writes_and_can_be_read_back(void **state)
{
	check_canonical("{\"dnsrecords\":[]}", 0);
	check_canonical("{\"dnsrecords\":[{\"hostname\":\"H\",\"ip\":\"0:0:0::1\"}]}", 1);
	check_canonical("{\"dnsrecords\":[{\"hostname\":\"b-1.example\",\"ip\":\"255.250.10.9\"},"
			"{\"hostname\":\"b-1.example\",\"ip\":\"2001:DB8::ffff:0:1\"},"
			"{\"hostname\":\"a\",\"ip\":\"100.20.3.40\"}]}",
			3);
}
