
#include "../../unit.h"

#include <pthread.h>
#include <sodium.h>

#include "api/auth/authenticator.h"
#include "api/auth/password.h"
#include "api/model/change.h"
#include "api/store/store_state.h"

struct fixture {
	struct store *store;
	struct authenticator *authenticator;
};

static void add_user(struct fixture *f, const char *name, const char *password, bool first)
{
	struct user user = {.id = 7, .role = ROLE_ADMIN, .revision = first ? 1 : 2}; /* as each change of one has */
	struct change change = {.kind = CHANGE_USER_PUT};

	snprintf(user.name, sizeof user.name, "%s", name);
	assert_int_equal(password_hash(password, strlen(password), user.password_hash), ERR_OK);
	if (first)
		store_replace_take(f->store, store_state_new(), "identity", 0);
	change.user = user;
	assert_int_equal(store_apply(f->store, (struct change *[]){&change}, 1, user.revision), ERR_OK);
}

static int setup(void **state)
{
	static struct fixture f;

	assert_true(sodium_init() >= 0);
	f.store = store_new();
	assert_int_equal(authenticator_new(f.store, NULL, &f.authenticator), ERR_OK);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	authenticator_free(f->authenticator);
	store_free(f->store);
	return 0;
}

/* A request that waits blocks the test. */
struct request {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool suspended;
};

static void suspend(void *handle)
{
	struct request *request = handle;

	pthread_mutex_lock(&request->lock);
	request->suspended = true;
	pthread_mutex_unlock(&request->lock);
}

static void resume(void *handle)
{
	struct request *request = handle;

	pthread_mutex_lock(&request->lock);
	request->suspended = false;
	pthread_cond_signal(&request->wake);
	pthread_mutex_unlock(&request->lock);
}

static int check_header(struct fixture *f, const char *header, struct why *why)
{
	struct request request = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
	struct login_waiter login = {.waiter = {.handle = &request, .suspend = suspend, .resume = resume}};
	struct authenticator_call call = {.login = &login};
	struct principal principal;
	int err;

	while ((err = authenticator_check(f->authenticator, header, &call, &principal, why)) == ERR_PENDING) {
		pthread_mutex_lock(&request.lock);
		while (request.suspended)
			pthread_cond_wait(&request.wake, &request.lock);
		pthread_mutex_unlock(&request.lock);
	}
	return err;
}

static int check(struct fixture *f, const char *credentials, struct why *why)
{
	char base64[512], header[600];

	sodium_bin2base64(base64, sizeof base64, (const unsigned char *)credentials, strlen(credentials),
			  sodium_base64_VARIANT_ORIGINAL);
	snprintf(header, sizeof header, "Basic %s", base64);
	return check_header(f, header, why);
}

static void test_right_credentials_are_accepted_first_and_remembered(void **state)
{
	struct why why;

	add_user(*state, "alice", "correct horse", true);
	assert_int_equal(check(*state, "alice:correct horse", &why), ERR_OK);
	assert_int_equal(check(*state, "alice:correct horse", &why), ERR_OK);
}

static void test_a_password_may_hold_colons_and_utf8(void **state)
{
	struct why why;

	add_user(*state, "alice", "ein:Schlüssel:für", true);
	assert_int_equal(check(*state, "alice:ein:Schlüssel:für", &why), ERR_OK);
}

static void test_unknown_user_and_wrong_password_look_the_same(void **state)
{
	struct why wrong, unknown;

	add_user(*state, "alice", "correct horse", true);
	assert_int_equal(check(*state, "alice:correct Horse", &wrong), ERR_UNAUTHORIZED);
	assert_int_equal(check(*state, "mallory:correct horse", &unknown), ERR_UNAUTHORIZED);
	assert_string_equal(wrong.text, unknown.text);
}

static void test_a_changed_password_ends_the_old_one_at_once(void **state)
{
	struct why why;

	add_user(*state, "alice", "correct horse", true);
	assert_int_equal(check(*state, "alice:correct horse", &why), ERR_OK);
	add_user(*state, "alice", "battery staple", false);
	assert_int_equal(check(*state, "alice:correct horse", &why), ERR_UNAUTHORIZED);
	assert_int_equal(check(*state, "alice:battery staple", &why), ERR_OK);
}

static void test_a_removed_user_is_refused_at_once(void **state)
{
	struct fixture *f = *state;
	struct change gone = {.kind = CHANGE_USER_DELETE, .subject = "alice"};
	struct why why;

	add_user(f, "alice", "correct horse", true);
	assert_int_equal(check(f, "alice:correct horse", &why), ERR_OK);
	assert_int_equal(store_apply(f->store, (struct change *[]){&gone}, 1, 2), ERR_OK);
	assert_int_equal(check(f, "alice:correct horse", &why), ERR_UNAUTHORIZED);
}

#define CROWD 100 /* more than may wait for the verifier */

struct visitor {
	pthread_t thread;
	struct fixture *f;
	const char *credentials;
	int err;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	struct why why;

	visitor->err = check(visitor->f, visitor->credentials, &why);
	return NULL;
}

static void visit_at_once(struct fixture *f, const char *credentials, int expected)
{
	static struct visitor crowd[CROWD];

	for (int i = 0; i < CROWD; i++) {
		crowd[i] = (struct visitor){.f = f, .credentials = credentials};
		assert_int_equal(pthread_create(&crowd[i].thread, NULL, visit, &crowd[i]), 0);
	}
	for (int i = 0; i < CROWD; i++)
		pthread_join(crowd[i].thread, NULL);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(crowd[i].err, expected);
}

static void test_many_with_the_same_credentials_at_once_are_verified_once(void **state)
{
	add_user(*state, "alice", "correct horse", true);
	visit_at_once(*state, "alice:correct horse", ERR_OK);
	visit_at_once(*state, "alice:wrong horse", ERR_UNAUTHORIZED);
}

static void test_malformed_credentials_are_refused_with_a_reason(void **state)
{
	struct fixture *f = *state;
	static const char *const headers[] = {NULL,
					      "",
					      "Basic",
					      "Basic ",
					      "Basic !!!!",
					      "Basic YQ==",
					      "Bearer abc",
					      "Digest x=\"y\"",
					      "Basic YWxpY2U6AGE=" /* alice:\0a */};

	add_user(f, "alice", "correct horse", true);
	for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
		struct why why = {0};
		assert_int_equal(check_header(f, headers[i], &why), ERR_UNAUTHORIZED);
		assert_true(strlen(why.text) > 10);
	}
}

static void test_credentials_over_the_limit_are_refused_not_cut(void **state)
{
	struct why why;
	char password[PASSWORD_LEN_MAX + 1], credentials[USER_NAME_MAX + PASSWORD_LEN_MAX + 4];

	memset(password, 'x', PASSWORD_LEN_MAX);
	password[PASSWORD_LEN_MAX] = '\0';
	add_user(*state, "alice", password, true);
	snprintf(credentials, sizeof credentials, "alice:%s", password);
	assert_int_equal(check(*state, credentials, &why), ERR_OK);
	snprintf(credentials, sizeof credentials, "alice:%sx", password);
	assert_int_equal(check(*state, credentials, &why), ERR_UNAUTHORIZED);
}

static void test_nobody_is_known_before_the_state_is_loaded(void **state)
{
	struct why why;

	assert_int_equal(check(*state, "alice:correct horse", &why), ERR_UNAVAILABLE);
}

static void test_password_rules_stand_at_their_limits(void **state)
{
	char long_password[PASSWORD_LEN_MAX + 2];
	struct why why;

	memset(long_password, 'x', sizeof long_password);
	assert_int_equal(password_check("1234567", 7, &why), ERR_INVALID);
	assert_int_equal(password_check("12345678", 8, &why), ERR_OK);
	assert_int_equal(password_check(long_password, PASSWORD_LEN_MAX, &why), ERR_OK);
	assert_int_equal(password_check(long_password, PASSWORD_LEN_MAX + 1, &why), ERR_INVALID);
	assert_int_equal(password_check("1234\n5678", 9, &why), ERR_INVALID);
	assert_int_equal(password_check("1234\0"
					"5678",
					9, &why),
			 ERR_INVALID);
}

static void test_user_names_are_checked(void **state)
{
	static const char *const good[] = {"a", "Alice", "alice@example.net", "a.b-c_d", "0"};
	static const char *const bad[] = {"", "-a", ".a", "a b", "a:b", "a/b", "\xc3\xa4", "a\n"};
	struct why why;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_int_equal(user_name_check(good[i], strlen(good[i]), &why), ERR_OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(user_name_check(bad[i], strlen(bad[i]), &why), ERR_INVALID);
	assert_int_equal(user_name_check("a\0b", 3, &why), ERR_INVALID);
}

#define SET_UP setup
#define TEAR_DOWN teardown
