#include "../../unit.h"

#include <pthread.h>

#include "api/model/change.h"
#include "api/store/store.h"
#include "api/store/store_state.h"

/* Which allocation from now fails; 0: none. Those of silodns ask __wrap_…(): see the Makefile. */
static _Thread_local size_t failing;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
	return failing && --failing == 0 ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return failing && --failing == 0 ? NULL : __real_calloc(count, size);
}

static struct document *body(const char *id, const char *text, uint32_t owner, uint64_t revision)
{
	struct document *made = document_new(id, text, strlen(text), owner, revision);

	assert_non_null(made);
	return made;
}

static struct user user(uint32_t id, const char *name)
{
	struct user made = {.id = id, .quota = 5};

	snprintf(made.name, sizeof made.name, "%s", name);
	return made;
}

/* Two users (1 alice, 2 bob), silos a, b (alice's) and c (bob's), at revision 3. */
static int setup(void **state)
{
	struct store *store = store_new();
	struct store_state *loaded = store_state_new();
	const struct user alice = user(1, "alice"), bob = user(2, "bob");

	store_state_put_user_take(loaded, user_node_new(&alice));
	store_state_put_user_take(loaded, user_node_new(&bob));
	store_state_put_silo_take(loaded, body("b", "B", 1, 1), NULL);
	store_state_put_silo_take(loaded, body("a", "A", 1, 2), NULL);
	store_state_put_silo_take(loaded, body("c", "C", 2, 3), NULL);
	store_replace_take(store, loaded, "0123456789abcdef0123456789abcdef", 3);
	*state = store;
	return 0;
}

static int teardown(void **state)
{
	store_free(*state);
	return 0;
}

static void put(struct store *store, const char *id, const char *text, uint32_t owner, uint64_t revision)
{
	struct change change = {.kind = CHANGE_SILO_PUT, .document = body(id, text, owner, revision)};

	snprintf(change.subject, sizeof change.subject, "%s", id);
	assert_int_equal(store_apply(store, (struct change *[]){&change}, 1, revision), ERR_OK);
	change_release(&change);
}

/* The bodies of a listing, as one word. */
static const char *list(struct store *store, uint32_t owner, const char *after, size_t limit, bool *ret_more)
{
	static char word[64];
	struct document **bodies;
	size_t count;
	uint64_t revision;

	word[0] = '\0';
	assert_int_equal(store_list(store, owner, after, limit, &bodies, &count, ret_more, &revision), ERR_OK);
	for (size_t i = 0; i < count; i++) {
		strncat(word, bodies[i]->json, sizeof word - strlen(word) - 1);
		document_unref(bodies[i]);
	}
	free(bodies);
	return word;
}

static void test_a_reader_keeps_its_body_when_the_silo_changes(void **state)
{
	struct document *old, *new;

	assert_int_equal(store_get(*state, "a", &old), ERR_OK);
	put(*state, "a", "A2", 1, 4);
	assert_int_equal(store_get(*state, "a", &new), ERR_OK);
	assert_string_equal(old->json, "A");
	assert_string_equal(new->json, "A2");
	assert_int_equal(new->revision, 4);
	assert_int_equal(store_revision(*state), 4);
	document_unref(old);
	document_unref(new);
}

static void test_size_returns_to_what_it_was(void **state)
{
	const struct store_size before = store_size(*state);
	struct change gone = {.kind = CHANGE_SILO_DELETE, .subject = "x", .revision = 6};

	put(*state, "x", "1", 1, 4);
	const struct store_size once = store_size(*state);
	put(*state, "x", "22", 1, 5);
	assert_int_equal(store_size(*state).silos, before.silos + 1);
	assert_true(store_size(*state).bytes > before.bytes);
	assert_int_equal(store_apply(*state, (struct change *[]){&gone}, 1, 6), ERR_OK);
	assert_int_equal(store_size(*state).silos, before.silos);
	assert_int_equal(store_size(*state).gone, 1);
	put(*state, "x", "1", 1, 7);
	assert_int_equal(store_size(*state).gone, 0);
	assert_int_equal(store_size(*state).bytes, once.bytes);
}

static struct change change_of(enum change_kind kind, const char *subject, uint64_t revision)
{
	struct change made = {.kind = kind, .revision = revision};

	snprintf(made.subject, sizeof made.subject, "%s", subject);
	return made;
}

static void test_without_memory_nothing_of_a_change_is_applied(void **state)
{
	struct change changes[] = {
		change_of(CHANGE_SILO_PUT, "new", 4),    change_of(CHANGE_SILO_PUT, "a", 5),
		change_of(CHANGE_SILO_DELETE, "b", 6),   change_of(CHANGE_USER_PUT, "carol", 7),
		change_of(CHANGE_TOKEN_PUT, "bob/t", 8), change_of(CHANGE_USER_DELETE, "alice", 9),
	};
	const size_t count = sizeof changes / sizeof changes[0];
	struct change *all[sizeof changes / sizeof changes[0]];
	const struct store_size before = store_size(*state);
	bool more;

	for (size_t i = 0; i < count; i++)
		all[i] = &changes[i];
	changes[0].document = body("new", "N", 1, 4);
	changes[1].document = body("a", "A2", 2, 5);
	changes[3].user = user(3, "carol");
	assert_int_equal(token_parse("{\"verbs\":[\"read\"]}", 18, &changes[4].token, NULL), ERR_OK);
	token_set_subject(changes[4].token, "bob", "t");
	size_t at = 1;
	for (;; at++) {
		failing = at;
		int err = store_apply(*state, all, count, 9);
		failing = 0;
		if (!err)
			break;
		assert_int_equal(err, ERR_NOMEM);
		const struct store_size after = store_size(*state);
		assert_memory_equal(&after, &before, sizeof before);
		assert_int_equal(store_revision(*state), 3);
		assert_string_equal(list(*state, 0, NULL, 10, &more), "ABC");
	}
	assert_true(at > 4); /* each that needs memory was without it once */
	assert_int_equal(store_revision(*state), 9);
	assert_string_equal(list(*state, 0, NULL, 10, &more), "A2CN");
	for (size_t i = 0; i < count; i++)
		change_release(&changes[i]);
}

/* Silos "p0" … "p9" are always changed together; whoever lists them sees the same text in all. */
struct race {
	struct store *store;
	atomic_bool stop;
	atomic_uint torn, seen, unheard;
};

static void *read_pairs(void *arg)
{
	struct race *race = arg;
	uint64_t news = store_news(race->store), revision = store_revision(race->store);

	while (!atomic_load(&race->stop)) {
		struct document **bodies;
		size_t count;
		bool more;
		uint64_t now = store_revision(race->store);
		atomic_fetch_add(&race->unheard, now != revision && store_news(race->store) == news);
		news = store_news(race->store); /* before the state that it is compared with */
		revision = store_revision(race->store);
		if (store_list(race->store, 9, NULL, 10, &bodies, &count, &more, &now))
			continue;
		for (size_t i = 0; i < count; i++)
			atomic_fetch_add(&race->torn, strcmp(bodies[i]->json, bodies[0]->json) != 0);
		for (size_t i = 0; i < count; i++)
			document_unref(bodies[i]);
		atomic_fetch_add(&race->seen, count == 10);
		free(bodies);
	}
	return NULL;
}

static void test_readers_never_see_half_of_a_change(void **state)
{
	struct race race = {.store = *state};
	struct change changes[10], *list[10];
	pthread_t readers[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_pairs, &race), 0);
	for (uint64_t round = 0; round < 2000 || atomic_load(&race.seen) < 100; round++) {
		char text[32];
		snprintf(text, sizeof text, "round %llu", (unsigned long long)round);
		for (int i = 0; i < 10; i++) {
			changes[i] = (struct change){.kind = CHANGE_SILO_PUT};
			snprintf(changes[i].subject, sizeof changes[i].subject, "p%d", i);
			changes[i].document = body(changes[i].subject, text, 9, 4 + 10 * round + i);
			list[i] = &changes[i];
		}
		assert_int_equal(store_apply(*state, list, 10, 13 + 10 * round), ERR_OK);
		for (int i = 0; i < 10; i++)
			change_release(&changes[i]);
	}
	atomic_store(&race.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(atomic_load(&race.torn), 0);
	assert_int_equal(atomic_load(&race.unheard), 0); /* whoever sees a change has heard of it */
}

#define SET_UP setup
#define TEAR_DOWN teardown
