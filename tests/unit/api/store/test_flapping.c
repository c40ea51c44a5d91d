/* A name that goes back and forth between two addresses is noticed by the third time in ten minutes; others are not. */
#include "../../unit.h"

#include "api/store/flapping.h"

#define MINUTE INT64_C(60000)

struct fixture {
	struct flapping *flapping;
	struct document *now; /* of silo "s" */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->flapping = flapping_new();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	document_unref(f->now);
	flapping_free(f->flapping);
	free(f);
	return 0;
}

/* The silo becomes these records ("host address" and so on) at `ms`, by a user. */
static void become(struct fixture *f, const char *silo, const char *user, int64_t ms, size_t count,
		   const char *const records[][2])
{
	struct change change = {.kind = CHANGE_SILO_PUT};
	struct ipaddr ip;

	snprintf(change.subject, sizeof change.subject, "%s", silo);
	snprintf(change.actor.name, sizeof change.actor.name, "%s", user);
	snprintf(change.records.id, sizeof change.records.id, "%s", silo);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(ipaddr_parse(records[i][1], strlen(records[i][1]), &ip, NULL), ERR_OK);
		assert_int_equal(silo_add(&change.records, records[i][0], &ip), ERR_OK);
	}
	silo_sort(&change.records);
	assert_int_equal(change_prepare(&change), ERR_OK);
	if (f->now)
		flapping_note(f->flapping, f->now, &change, ms);
	document_unref(f->now);
	f->now = document_ref(change.document);
	change_release(&change);
}

static void flip(struct fixture *f, const char *ip, int64_t ms)
{
	become(f, "s", ip[0] == '1' ? "alice" : "bob", ms, 3,
	       (const char *const[][2]){{"a", "203.0.113.1"}, {"db", ip}, {"z", "203.0.113.9"}});
}

static void test_three_flips_within_ten_minutes_are_a_fight(void **state)
{
	struct fixture *f = *state;
	struct flapping_name name;

	flip(f, "192.0.2.1", 0);
	flip(f, "2.2.2.2", 1 * MINUTE);
	flip(f, "192.0.2.1", 5 * MINUTE);
	assert_int_equal(flapping_count(f->flapping), 0);
	flip(f, "2.2.2.2", 10 * MINUTE);
	assert_int_equal(flapping_list(f->flapping, "s", &name, 1), 1);
	assert_int_equal(flapping_list(f->flapping, "other", &name, 1), 0);
	assert_string_equal(name.hostname, "db");
	assert_int_equal(name.flips, 3);
	flip(f, "192.0.2.1", 11 * MINUTE);
	assert_int_equal(flapping_list(f->flapping, NULL, &name, 1), 1);
	assert_int_equal(name.flips, 4);
	assert_string_equal(IPADDR_TEXT(&name.sides[0].ip), "2.2.2.2");
	assert_string_equal(name.sides[0].user, "bob");
	assert_string_equal(name.sides[1].user, "alice");
}

static void test_it_is_over_after_ten_minutes_of_rest(void **state)
{
	struct fixture *f = *state;

	for (int64_t i = 0; i < 4; i++)
		flip(f, i % 2 ? "2.2.2.2" : "192.0.2.1", i * MINUTE);
	flapping_sweep(f->flapping, 13 * MINUTE - 1);
	assert_int_equal(flapping_count(f->flapping), 1);
	flapping_sweep(f->flapping, 13 * MINUTE);
	assert_int_equal(flapping_count(f->flapping), 0);
}

static void test_a_slow_change_is_none(void **state)
{
	struct fixture *f = *state;

	for (int64_t i = 0; i < 20; i++)
		flip(f, i % 2 ? "2.2.2.2" : "192.0.2.1", i * 6 * MINUTE);
	assert_int_equal(flapping_count(f->flapping), 0);
}

static void test_ever_new_addresses_are_none(void **state)
{
	struct fixture *f = *state;
	char ip[32];

	for (int64_t i = 0; i < 200; i++) {
		snprintf(ip, sizeof ip, "10.0.0.%d", (int)i + 1);
		flip(f, ip, i * 1000);
	}
	assert_int_equal(flapping_count(f->flapping), 0);
}

/* Records that come and go around the name do not hide it, nor are they taken for one. */
static void test_what_else_changes_in_the_silo_does_not_hide_it(void **state)
{
	struct fixture *f = *state;

	for (int64_t i = 0; i < 8; i++) {
		const char *ip = i % 2 ? "2.2.2.2" : "192.0.2.1", *other = i % 2 ? "c" : "y";
		become(f, "s", "alice", i * 1000, 4,
		       (const char *const[][2]){
			       {"a", "203.0.113.1"}, {"db", ip}, {"db", "2001:db8::1"}, {other, "1.1.1.1"}});
	}
	assert_int_equal(flapping_count(f->flapping), 1);
}

static void test_a_change_of_too_many_names_is_not_looked_at(void **state)
{
	struct fixture *f = *state;
	static char names[FLAPPING_CHANGED_MAX + 1][16];
	const char *records[FLAPPING_CHANGED_MAX + 1][2];

	for (size_t count = FLAPPING_CHANGED_MAX + 1; count >= FLAPPING_CHANGED_MAX; count--) {
		document_unref(f->now);
		f->now = NULL;
		for (int64_t i = 0; i < 4; i++) {
			for (size_t n = 0; n < count; n++) {
				snprintf(names[n], sizeof names[n], "h%zu", n);
				records[n][0] = names[n];
				records[n][1] = i % 2 ? "2.2.2.2" : "192.0.2.1";
			}
			become(f, "s", "alice", i, count, (const char *const(*)[2])records);
		}
		assert_int_equal(flapping_count(f->flapping), count > FLAPPING_CHANGED_MAX ? 0 : count);
	}
}

static void test_its_memory_is_bounded(void **state)
{
	struct fixture *f = *state;
	static struct flapping_name names[FLAPPING_MAX + 1];
	char silo[16];

	for (int n = 0; n < FLAPPING_MAX + 10; n++) {
		snprintf(silo, sizeof silo, "s%d", n);
		document_unref(f->now);
		f->now = NULL;
		for (int64_t i = 0; i < 4; i++)
			become(f, silo, "alice", n * 10 + i, 1,
			       (const char *const[][2]){{"db", i % 2 ? "2.2.2.2" : "192.0.2.1"}});
	}
	assert_int_equal(flapping_count(f->flapping), FLAPPING_MAX);
	assert_int_equal(flapping_list(f->flapping, "s0", names, FLAPPING_MAX), 0); /* the longest at rest */
	assert_int_equal(flapping_list(f->flapping, silo, names, FLAPPING_MAX), 1);
	for (int n = 0; n < 3 * FLAPPING_SLOTS; n++) { /* once each, and each slot has been used */
		snprintf(silo, sizeof silo, "t%d", n);
		document_unref(f->now);
		f->now = NULL;
		for (int64_t i = 0; i < 2; i++)
			become(f, silo, "alice", 10000 + i, 1,
			       (const char *const[][2]){{"db", i % 2 ? "2.2.2.2" : "192.0.2.1"}});
	}
	assert_int_equal(flapping_count(f->flapping), FLAPPING_MAX);
}

#define SET_UP setup
#define TEAR_DOWN teardown
