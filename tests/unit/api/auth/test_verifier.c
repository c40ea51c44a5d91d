#include "../../unit.h"

#include <semaphore.h>

#include <sodium.h>

#include "api/auth/password.h"
#include "api/auth/verifier.h"

static char order[8]; /* the ids of whom is resumed, one after the other */
static sem_t resumed;
static struct user user;

static int set_up(void **state)
{
	return sodium_init() < 0 || sem_init(&resumed, 0, 0) ||
	       password_hash("another-one", strlen("another-one"), user.password_hash);
}

static void on_suspend(void *handle)
{
}

static void on_resume(void *handle)
{
	const struct login_waiter *waiter = handle;

	order[strlen(order)] = (char)('0' + waiter->key.user_id);
	sem_post(&resumed);
}

/* Of the user with this id: each one is a verification of its own. */
static void ask(struct verifier *verifier, uint32_t id, bool good, struct login_waiter *waiter)
{
	const struct credentials credentials = {.password = "whatever-1", .password_len = 10};
	const struct login_key key = {.user_id = id};
	bool right;

	user.id = id;
	waiter->waiter = (struct waiter){waiter, on_suspend, on_resume};
	assert_int_equal(verifier_verify(verifier, &user, &credentials, &key, good, waiter, &right), ERR_PENDING);
}

static void test_whoever_is_good_does_not_wait_as_a_stranger_for_having_come_second(void **state)
{
	struct login_waiter first = {0}, second = {0}, third = {0}, joining = {0};
	struct login_cache *cache = login_cache_new();
	struct store *store = store_new();
	struct verifier *verifier;

	assert_int_equal(verifier_start(store, cache, &verifier), ERR_OK);
	ask(verifier, 1, false, &first);
	ask(verifier, 2, false, &second);
	ask(verifier, 3, false, &third);
	ask(verifier, 3, true, &joining);
	for (int i = 0; i < 4; i++)
		sem_wait(&resumed);
	assert_int_equal(order[3], '2'); /* the first may have begun before the others came */
	verifier_stop(verifier);
	store_free(store);
	login_cache_free(cache);
}

static void test_a_hub_that_stops_refuses_nobody_whom_it_could_not_ask_the_database_about(void **state)
{
	struct login_waiter before = {.asked_us = INT64_MAX}, after = before;
	struct login_cache *cache = login_cache_new();
	struct store *store = store_new();
	struct verifier *verifier;
	struct why why;

	before.waiter = after.waiter = (struct waiter){&before, on_suspend, on_resume};
	assert_int_equal(verifier_start(store, cache, &verifier), ERR_OK);
	assert_int_equal(verifier_await_confirmation(verifier, &before, &why), ERR_PENDING);
	verifier_drain(verifier);
	assert_int_equal(sem_trywait(&resumed), 0);
	assert_int_equal(verifier_await_confirmation(verifier, &after, &why), ERR_UNAVAILABLE);
	verifier_stop(verifier);
	store_free(store);
	login_cache_free(cache);
}

#define GROUP_SET_UP set_up
