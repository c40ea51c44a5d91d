/* What of the hub's records goes into the block: policy, silo order, and what stands outside the block. */
#include "../unit.h"

#include "common/base/cleanup.h"
#include "hostsync/plan.h"

static char *no_items[1];
static const struct conf_list none = {.items = no_items};

/* A policy with a known machine name, whatever this machine is called. */
static struct policy make_policy(const struct conf_list *wanted, const struct conf_list *deny,
				 const struct conf_list *allow)
{
	struct policy policy = {.wanted = wanted ? wanted : &none,
				.deny = deny ? deny : &none,
				.allow_suffixes = allow ? allow : &none,
				.own = {"me", "me.example.org"},
				.own_count = 2};
	return policy;
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

static void the_first_silo_in_the_configured_order_wins_a_hostname_whole(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	struct policy policy = make_policy(NULL, NULL, NULL);
	add(&silos, "b", "db", "192.0.2.2");
	add(&silos, "b", "db", "2001:db8::2");
	add(&silos, "b", "web", "192.0.2.4");
	add(&silos, "a", "db", "192.0.2.1");
	add(&silos, "c", "db", "192.0.2.3");
	plan(&silos, &policy, "", false, "[a] db=192.0.2.1[b] web=192.0.2.4[c]", "b/db:6@0 c/db:6@0 ");
}

static void unknown_silos_have_no_part_and_empty_ones_an_empty_part(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	struct policy policy = make_policy(NULL, NULL, NULL);
	add(&silos, "b", NULL, NULL);
	plan(&silos, &policy, "", false, "[b]", "");
	silos_gone(&silos.items[1]);
	plan(&silos, &policy, "", false, "", "");
}

static void names_of_the_machine_are_never_set(void **state)
{
	static const char *const names[] = {"localhost",    "localhost.localdomain", "ip6-localhost", "ip6-loopback",
					    "ip6-allnodes", "ip6-allrouters",        "broadcasthost", "x.localhost",
					    "me",           "me.example.org"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_(silos_release) struct silos silos = make_silos();
		struct policy policy = make_policy(NULL, NULL, NULL);
		char refused[300];
		add(&silos, "a", names[i], "192.0.2.1");
		snprintf(refused, sizeof(refused), "a/%s:%d@0 ", names[i],
			 strncmp(names[i], "me", 2) ? VERDICT_RESERVED : VERDICT_OWN_NAME);
		plan(&silos, &policy, "127.0.0.1 localhost\n", true, "[a]", refused);
	}
	_cleanup_(silos_release) struct silos silos = make_silos();
	struct policy policy = make_policy(NULL, NULL, NULL);
	add(&silos, "a", "me.elsewhere.org", "192.0.2.1");
	add(&silos, "a", "home", "192.0.2.1");
	plan(&silos, &policy, "", true, "[a] home=192.0.2.1 me.elsewhere.org=192.0.2.1", "");
}

/* The other names on the line of the machine's own name are its own as well: that is where its full name stands. */
static void a_line_that_names_the_machine_is_its_own_even_when_replacing(void **state)
{
	static const char *const lines[] = {"10.0.0.1 Alias.example.com ME\n", "127.0.1.1 alias.example.com\n"};
	for (size_t i = 0; i < 2; i++) {
		_cleanup_(silos_release) struct silos silos = make_silos();
		_cleanup_(plan_release) struct plan built = {0};
		struct policy policy = make_policy(NULL, NULL, NULL);
		const struct hostsfile_block block = {.start = strlen(lines[i]), .end = strlen(lines[i])};
		add(&silos, "a", "alias.example.com", "192.0.2.1");
		plan(&silos, &policy, lines[i], true, "[a]", "a/alias.example.com:3@0 ");
		assert_int_equal(plan_build(&silos, &policy, lines[i], block.end, &block, true, &built), 0);
		assert_false(plan_sets(&built, "alias.example.com", 17));
	}
}

static void the_operator_denies_names_and_what_is_under_them(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	char bank[] = "bank.example", dotted[] = ".intern", *items[] = {bank, dotted};
	const struct conf_list deny = {.items = items, .count = 2};
	struct policy policy = make_policy(NULL, &deny, NULL);
	add(&silos, "a", "bank.example", "192.0.2.1");
	add(&silos, "a", "www.bank.example", "192.0.2.1");
	add(&silos, "a", "notbank.example", "192.0.2.1");
	add(&silos, "a", "db.intern", "192.0.2.1");
	plan(&silos, &policy, "", false, "[a] notbank.example=192.0.2.1",
	     "a/bank.example:4@0 a/db.intern:4@0 a/www.bank.example:4@0 ");
}

static void only_allowed_suffixes_when_there_are_some(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	char lan[] = "lan", *items[] = {lan};
	const struct conf_list allow = {.items = items, .count = 1};
	struct policy policy = make_policy(NULL, NULL, &allow);
	add(&silos, "a", "db.lan", "192.0.2.1");
	add(&silos, "a", "dblan", "192.0.2.1");
	plan(&silos, &policy, "", false, "[a] db.lan=192.0.2.1", "a/dblan:5@0 ");
}

static void only_wanted_hostnames_and_no_word_about_the_others(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	char db[] = "db", *items[] = {db};
	const struct conf_list wanted = {.items = items, .count = 1};
	struct policy policy = make_policy(&wanted, NULL, NULL);
	add(&silos, "a", "db", "192.0.2.1");
	add(&silos, "a", "localhost", "192.0.2.1");
	add(&silos, "a", "web", "192.0.2.1");
	plan(&silos, &policy, "", false, "[a] db=192.0.2.1", "");
}

static void a_name_outside_the_block_wins_by_default_in_any_case_and_family(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	struct policy policy = make_policy(NULL, NULL, NULL);
	add(&silos, "a", "db", "192.0.2.1");
	add(&silos, "a", "db", "2001:db8::1");
	add(&silos, "a", "web", "192.0.2.1");
	plan(&silos, &policy, "#x web\nnonsense web\n10.0.0.1 x DB y\n10.0.0.2 db\n", false, "[a] web=192.0.2.1",
	     "a/db:7@3 ");
	plan(&silos, &policy, "#x web\n10.0.0.1 x DB y\n", true, "[a] db=192.0.2.1 db=2001:db8::1 web=192.0.2.1", "");
}

static void names_inside_the_block_are_not_outside_it(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	struct policy policy = make_policy(NULL, NULL, NULL);
	add(&silos, "a", "db", "192.0.2.1");
	plan(&silos, &policy, "x\n# BEGIN silodns\n# silo a\n192.0.2.9 db\n# END silodns\n", false, "[a] db=192.0.2.1",
	     "");
}

static void a_refused_name_is_never_taken_out_of_its_line(void **state)
{
	_cleanup_(silos_release) struct silos silos = make_silos();
	_cleanup_(plan_release) struct plan built = {0};
	char db[] = "db", *items[] = {db};
	const struct conf_list deny = {.items = items, .count = 1};
	struct policy policy = make_policy(NULL, &deny, NULL);
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
	struct policy policy = make_policy(NULL, NULL, NULL);
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
