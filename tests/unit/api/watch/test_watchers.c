/* Whoever a change concerns is woken by it, and not only by the next sign of life. */
#include "../../unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "api/model/change.h"
#include "api/store/store_state.h"
#include "api/watch/watchers.h"
#include "common/base/clock.h"

#define SOON_MS 5000 /* a sign of life comes after ten seconds */

static atomic_uint waits;

static void suspend(void *handle)
{
	atomic_store((atomic_uint *)handle, 1);
}

static void resume(void *handle)
{
	atomic_store((atomic_uint *)handle, 0);
}

static void wait_until_woken(void)
{
	int64_t until = clock_mono_ms() + SOON_MS;

	while (atomic_load(&waits) && clock_mono_ms() < until)
		sched_yield();
	assert_int_equal(atomic_load(&waits), 0);
}

static void read_all(struct watcher *watcher, size_t size, char *ret_text)
{
	size_t used = 0;
	ssize_t len;

	while ((len = watcher_stream.read(watcher, ret_text + used, size - 1 - used)) > 0)
		used += (size_t)len;
	ret_text[used] = '\0';
	assert_int_equal(atomic_load(&waits), 1);
}

static void silo(struct change *change, const char *id, uint32_t owner, uint64_t revision)
{
	*change = (struct change){.kind = CHANGE_SILO_PUT, .document = document_new(id, "{}", 2, owner, revision)};
	snprintf(change->subject, sizeof change->subject, "%s", id);
}

/* One apply of `others` changes of bob's, then a silo of alice's becomes bob's. The watch looks at the changes by
 * stretches: whatever their length, a hand-over may stand at an end. */
static void test_the_former_owner_hears_at_once_wherever_a_hand_over_stands_in_a_burst(void **state)
{
	(void)state;
	for (size_t others = 61; others <= 65; others++) {
		struct store *store = store_new();
		struct store_state *loaded = store_state_new();
		struct watchers *watchers;
		struct watcher *watcher;
		struct change changes[70], *list[70];
		char text[4096], id[16];
		const struct waiter waiter = {&waits, suspend, resume};

		for (uint32_t n = 1; n <= 2; n++) {
			struct user user = {.id = n, .revision = 1};
			snprintf(user.name, sizeof user.name, "user%u", n);
			store_state_put_user_take(loaded, user_node_new(&user));
		}
		store_state_put_silo_take(loaded, document_new("hers", "{}", 2, 1, 1), NULL);
		store_replace_take(store, loaded, "0123456789abcdef0123456789abcdef", 1);
		assert_int_equal(watchers_start(store, &watchers), ERR_OK);
		const struct subscription_wish wish = {.who = {.user_id = 1, .user_revision = 1}};
		assert_int_equal(watchers_open(watchers, &wish, &watcher), ERR_OK);
		watcher_stream.attach(watcher, &waiter);
		read_all(watcher, sizeof text, text);
		silo(&changes[0], "hers", 1, 2);
		list[0] = &changes[0];
		assert_int_equal(store_apply(store, list, 1, 2),
				 ERR_OK); /* from then on, the watch knows where it is */
		change_release(&changes[0]);
		wait_until_woken();
		read_all(watcher, sizeof text, text);

		for (size_t i = 0; i <= others; i++) {
			snprintf(id, sizeof id, i < others ? "his%zu" : "hers", i);
			silo(&changes[i], id, 2, 3 + i);
			list[i] = &changes[i];
		}
		assert_int_equal(store_apply(store, list, others + 1, 3 + others), ERR_OK);
		wait_until_woken();
		read_all(watcher, sizeof text, text);
		assert_non_null(strstr(text, "event: forbidden\ndata: {\"id\":\"hers\""));

		watcher_stream.close(watcher);
		watchers_stop(watchers);
		for (size_t i = 0; i <= others; i++)
			change_release(&changes[i]);
		store_free(store);
	}
}
