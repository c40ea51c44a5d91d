#include "../../unit.h"

#include "api/model/change.h"
#include "api/store/store_state.h"
#include "api/watch/subscription.h"
#include "common/base/clock.h"

#define IDENTITY "0123456789abcdef0123456789abcdef"
#define TEXT_MAX 65536

struct fixture {
	struct store *store;
	struct subscription *feed;
	uint64_t revision;
	char text[TEXT_MAX]; /* what the last tell() read */
};

static struct user user(uint32_t id, const char *name, enum role role)
{
	struct user made = {.id = id, .role = role, .quota = 5, .revision = 1};

	snprintf(made.name, sizeof made.name, "%s", name);
	return made;
}

/* Users 1 (admin), 2 and 3 (common) at revision 1. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct store_state *loaded = store_state_new();
	const struct user users[] = {user(1, "admin", ROLE_ADMIN), user(2, "alice", ROLE_COMMON),
				     user(3, "bob", ROLE_COMMON)};

	for (size_t i = 0; i < 3; i++)
		store_state_put_user_take(loaded, user_node_new(&users[i]));
	f->store = store_new();
	f->revision = 1;
	store_replace_take(f->store, loaded, IDENTITY, 1);
	store_confirm(f->store, 1, 60000);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	subscription_close(f->feed);
	store_free(f->store);
	free(f);
	return 0;
}

static void put(struct fixture *f, const char *id, uint32_t owner)
{
	char json[256];
	int len = snprintf(json, sizeof json, "{\"id\":\"%s\",\"dnsrecords\":[]}", id);
	struct change change = {.kind = CHANGE_SILO_PUT,
				.document = document_new(id, json, (size_t)len, owner, ++f->revision)};

	snprintf(change.subject, sizeof change.subject, "%s", id);
	assert_int_equal(store_apply(f->store, (struct change *[]){&change}, 1, f->revision), ERR_OK);
	change_release(&change);
}

static void delete (struct fixture *f, const char *id)
{
	struct change change = {.kind = CHANGE_SILO_DELETE, .revision = ++f->revision};

	snprintf(change.subject, sizeof change.subject, "%s", id);
	assert_int_equal(store_apply(f->store, (struct change *[]){&change}, 1, f->revision), ERR_OK);
}

static void open_feed(struct fixture *f, uint32_t who, const struct subscription_wish *wish)
{
	struct subscription_wish whole = *wish;
	struct user found;

	assert_int_equal(store_user_by_id(f->store, who, &found), ERR_OK);
	whole.who = (struct principal){.user_id = who, .role = found.role, .user_revision = found.revision};
	subscription_close(f->feed);
	assert_int_equal(subscription_open(f->store, &whole, &f->feed), ERR_OK);
}

/* Reads all there is, `step` bytes at a time. */
static const char *tell(struct fixture *f, size_t step)
{
	size_t used = 0, got;

	while ((got = subscription_read(f->feed, f->text + used, step)) > 0) {
		used += got;
		assert_true(got <= step && used + step < TEXT_MAX);
	}
	f->text[used] = '\0';
	return f->text;
}

#define GREETING ": silodns\nretry: 2000\n\n"
#define SILO(id, revision) "event: silo\ndata: {\"id\":\"" id "\",\"dnsrecords\":[],\"revision\":" revision "}\n\n"
#define HUB(kind, revision) "event: " kind "\ndata: {\"hub\":\"" IDENTITY "\",\"revision\":" revision "}\n\n"
#define ID(revision) "id: " revision "\n"

static void test_every_buffer_size_gives_the_same_text(void **state)
{
	struct fixture *f = *state;
	char whole[TEXT_MAX];
	char id[16];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(id, sizeof id, "silo%u", i);
		put(f, id, 1 + i % 3);
		if (i % 7 == 0)
			delete (f, id);
	}
	const char *const names[] = {"silo1", "silo7", "silo2", "none"};
	for (int named = 0; named < 2; named++) {
		const struct subscription_wish wish = {.names = names, .name_count = named ? 4 : 0};
		open_feed(f, 1, &wish);
		memcpy(whole, tell(f, 4096), TEXT_MAX);
		assert_non_null(strstr(whole, "synced"));
		for (size_t step = 1; step < 700; step++) {
			open_feed(f, 1, &wish);
			assert_string_equal(tell(f, step), whole);
		}
	}
}

static void test_who_knows_more_than_the_store_waits_until_it_has_caught_up(void **state)
{
	struct fixture *f = *state;

	put(f, "a", 1);
	open_feed(f, 1, &(struct subscription_wish){.has_since = true, .since = 4, .hub = IDENTITY});
	assert_string_equal(tell(f, 4096), GREETING);
	store_confirm(f->store, 1, 60000); /* looking since before */
	put(f, "b", 1);
	assert_true(subscription_is_ahead(f->feed));
	assert_string_equal(tell(f, 4096), "");
	subscription_beat(f->feed);
	assert_string_equal(tell(f, 4096), ":\n\n");
	put(f, "a", 1);
	assert_false(subscription_is_ahead(f->feed));
	store_confirm(f->store, clock_mono_us() + 1, 60000);
	put(f, "c", 1);
	assert_string_equal(tell(f, 4096), ID("5") SILO("c", "5") HUB("synced", "5"));
}

static void test_more_deletions_than_are_remembered_are_a_reset_for_whoever_was_away(void **state)
{
	struct fixture *f = *state;

	put(f, "kept", 1);
	for (unsigned i = 0; i < STORE_GONE_MAX + 1; i++) {
		char id[32];
		snprintf(id, sizeof id, "s%u", i);
		put(f, id, 1);
		delete (f, id);
	}
	assert_int_equal(store_size(f->store).gone, STORE_GONE_MAX);
	open_feed(f, 1, &(struct subscription_wish){.has_since = true, .since = 3});
	assert_non_null(strstr(tell(f, 4096), "event: reset"));
	open_feed(f, 1, &(struct subscription_wish){.has_since = true, .since = f->revision - 2});
	assert_null(strstr(tell(f, 4096), "event: reset"));
}

static void test_a_sign_of_life_has_the_revision_if_it_has_moved(void **state)
{
	struct fixture *f = *state;
	const char *const names[] = {"a"};

	open_feed(f, 1, &(struct subscription_wish){.names = names, .name_count = 1});
	tell(f, 4096);
	subscription_beat(f->feed);
	assert_string_equal(tell(f, 4096), ":\n\n");
	put(f, "other", 1);
	assert_string_equal(tell(f, 4096), "");
	subscription_beat(f->feed);
	assert_string_equal(tell(f, 4096), ":\n" ID("2") "\n");
	store_confirm(f->store, 1, -1); /* the next look at the database is overdue */
	subscription_beat(f->feed);
	assert_string_equal(tell(f, 4096), ": the database is away, this is as of 0 s ago\n\n");
}

static void test_a_farewell_waits_for_the_event_under_way(void **state)
{
	struct fixture *f = *state;
	char piece[64];

	put(f, "a", 1);
	open_feed(f, 1, &(struct subscription_wish){0});
	assert_int_equal(subscription_read(f->feed, piece, 40), 40);
	subscription_bid_farewell(f->feed, 1234);
	const char *rest = tell(f, 4096);
	assert_non_null(strstr(rest, "\"revision\":2}\n\n: the hub is stopping\nretry: 1234\n\n"));
	assert_null(strstr(rest, "synced"));
	assert_true(subscription_is_over(f->feed));
}

#define SET_UP setup
#define TEAR_DOWN teardown
