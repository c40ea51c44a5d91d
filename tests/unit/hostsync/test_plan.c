/* What of the hub's records goes into the block: policy, silo order, and what stands outside the block. */
#include "../unit.h"

#include "common/base/cleanup.h"
#include "hostsync/plan.h"

static char *no_items[1];
static const struct conf_list none = {.items = no_items};

/* A policy with a known machine name, whatever this machine is called. */
static struct policy make_policy(const struct conf_list *deny)
{
	return (struct policy){.wanted = &none,
			       .deny = deny,
			       .allow_suffixes = &none,
			       .own = {"me", "me.example.org"},
			       .own_count = 2};
}

static void add(struct silos *silos, const char *id, const char *hostname, const char *ip_text)
{
	struct ipaddr ip;
	for (size_t i = 0; i < silos->count; i++) {
		struct silo_state *s = &silos->items[i];
		if (strcmp(s->silo.id, id) != 0)
			continue;
		s->origin = SILO_FROM_HUB;
		if (!hostname)
			return;
		assert_int_equal(ipaddr_parse(ip_text, strlen(ip_text), &ip, NULL), 0);
		assert_int_equal(silo_add(&s->silo, hostname, &ip), 0);
		silo_sort(&s->silo);
		return;
	}
	fail();
}

static struct silos make_silos(void)
{
	char a[] = "a", b[] = "b", c[] = "c", *ids[] = {a, b, a, c};
	const struct conf_list list = {.items = ids, .count = 4};
	struct silos silos;
	assert_int_equal(silos_init(&silos, &list), 0);
	assert_int_equal(silos.count, 3);
	return silos;
}

struct seen {
	char text[2048];
};

static void note(void *arg, const struct silo *silo, const char *hostname, enum verdict verdict, unsigned long line)
{
	struct seen *seen = arg;
	size_t at = strlen(seen->text);
	snprintf(seen->text + at, sizeof(seen->text) - at, "%s/%s:%d@%lu ", silo->id, hostname, (int)verdict, line);
}

/* The block that comes out, without its markers, and what was refused. */
static void plan(const struct silos *silos, const struct policy *policy, const char *text, bool replace,
		 const char *block, const char *refused)
{
	_cleanup_(plan_release) struct plan plan = {0};
	_cleanup_(buf_release) struct buf out = BUF_INIT(8192);
	struct seen seen = {""};
	struct hostsfile_block found;
	assert_int_equal(hostsfile_find(text, strlen(text), &found, NULL), 0);
	assert_int_equal(plan_build(silos, policy, text, strlen(text), &found, replace, &plan), 0);
	size_t records = 0;
	for (size_t i = 0; i < plan.parts.count; i++) {
		const struct silo *part = &plan.parts.items[i];
		buf_append_fmt(&out, "[%s]", part->id);
		for (size_t r = 0; r < part->count; r++, records++) {
			char ip[IPADDR_TEXT_MAX];
			ipaddr_format(&part->records[r].ip, ip);
			buf_append_fmt(&out, " %s=%s", part->records[r].hostname, ip);
		}
	}
	assert_int_equal(plan.records, records);
	plan_each_refused(&plan, silos, note, &seen);
	assert_string_equal(out.data ? out.data : "", block);
	assert_string_equal(seen.text, refused);
}

/* The other names on the line of the machine's own name are its own as well: that is where its full name stands. */
static void a_line_that_names_the_machine_is_its_own_even_when_replacing(void **state)
{
	static const char *const lines[] = {"10.0.0.1 Alias.example.com ME\n", "127.0.1.1 alias.example.com\n"};
	for (size_t i = 0; i < 2; i++) {
		_cleanup_(silos_release) struct silos silos = make_silos();
		_cleanup_(plan_release) struct plan built = {0};
		struct policy policy = make_policy(&none);
		const struct hostsfile_block block = {.start = strlen(lines[i]), .end = strlen(lines[i])};
		add(&silos, "a", "alias.example.com", "192.0.2.1");
		plan(&silos, &policy, lines[i], true, "[a]", "a/alias.example.com:3@0 ");
		assert_int_equal(plan_build(&silos, &policy, lines[i], block.end, &block, true, &built), 0);
		assert_false(plan_sets(&built, "alias.example.com", 17));
	}
}

static void a_refused_name_is_never_taken_out_of_its_line(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	_cleanup_(plan_release) struct plan built = {0};
	char db[] = "db", *items[] = {db};
	const struct conf_list deny = {.items = items, .count = 1};
	struct policy policy = make_policy(&deny);
	const struct hostsfile_block block = {.start = 0, .end = 0};
	add(&silos, "a", "db", "192.0.2.1");
	add(&silos, "a", "web", "192.0.2.1");
	assert_int_equal(plan_build(&silos, &policy, "", 0, &block, true, &built), 0);
	assert_false(plan_sets(&built, "db", 2));
	assert_true(plan_sets(&built, "WEB", 3));
	assert_false(plan_sets(&built, "other", 5));
}

static void a_silo_that_the_hub_has_not_told_keeps_its_part_of_the_file(void **state)
{
	static const char text[] = "# BEGIN silodns\n# silo a\n192.0.2.9 db\n# silo b\n192.0.2.8 web\n# silo z\n"
				   "192.0.2.7 dropped\n# END silodns\n";
	_cleanup_(silos_release) struct silos silos = make_silos();
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts parts = {0};
	struct policy policy = make_policy(&none);
	const struct hostsfile_block block = {.found = true, .start = 0, .end = sizeof(text) - 1};
	add(&silos, "b", "web", "192.0.2.88");
	assert_int_equal(hostsfile_read_parts(text, &block, &parts), 0);
	assert_int_equal(silos_adopt(&silos, &parts), 0);
	plan(&silos, &policy, text, false, "[a] db=192.0.2.9[b] web=192.0.2.88", "");
	silos_gone(&silos.items[0]);
	assert_int_equal(silos_adopt(&silos, &parts), 0);
	plan(&silos, &policy, text, false, "[b] web=192.0.2.88", "");
}

static void every_verdict_has_a_reason(void **state)
{
	for (int v = 0; v < VERDICT_COUNT_; v++)
		assert_non_null(verdict_reason((enum verdict)v));
}
