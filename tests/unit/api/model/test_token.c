#include "../../unit.h"

#include <sodium.h>

#include "api/model/token.h"

static struct token *parse(const char *scope)
{
	struct token *token;
	struct why why = {0};

	if (token_parse(scope, strlen(scope), &token, &why))
		fail_msg("%s: %s", scope, why.text);
	return token;
}

static int set_up(void **state)
{
	return sodium_init() < 0;
}

static void test_a_secret_is_known_by_its_hash_and_by_nothing_else(void **state)
{
	char secret[TOKEN_SECRET_LEN + 1], other[TOKEN_SECRET_LEN + 1];
	unsigned char made[TOKEN_HASH_BYTES], found[TOKEN_HASH_BYTES];

	token_make_secret(secret, made);
	assert_int_equal(strlen(secret), TOKEN_SECRET_LEN);
	assert_true(token_hash_secret(secret, strlen(secret), found));
	assert_memory_equal(made, found, sizeof made);
	token_make_secret(other, found);
	assert_string_not_equal(secret, other);
	assert_memory_not_equal(made, found, sizeof made);
	assert_false(token_hash_secret(secret, strlen(secret) - 1, found));
	for (size_t i = 0; i < sizeof secret - 1; i++) { /* no byte may be another one and mean the same */
		memcpy(other, secret, sizeof secret);
		other[i] = other[i] == 'A' ? 'B' : 'A';
		if (token_hash_secret(other, strlen(other), found))
			assert_memory_not_equal(made, found, sizeof made);
		other[i] = '=';
		assert_false(token_hash_secret(other, strlen(other), found));
	}
}

static void test_times_and_networks_count_to_the_last_moment_and_address(void **state)
{
	const struct ipaddr in = {.family = 4, .bytes = {192, 0, 2, 255}}, out = {.family = 4, .bytes = {192, 0, 3, 0}};
	struct token *token = parse("{\"verbs\":[\"read\"],\"networks\":[\"192.0.2.0/24\"],"
				    "\"expires\":\"2027-01-31T12:00:00Z\",\"unused\":3600}");
	int64_t end = token->expires_us, second = 1000000;
	struct why why;

	token->created_us = end - 3600 * second;
	assert_int_equal(token_check_use(token, &in, end - 1, &why), ERR_OK);
	assert_int_equal(token_check_use(token, &out, end - 1, &why), ERR_FORBIDDEN);
	assert_int_equal(token_check_use(token, &in, end, &why), ERR_UNAUTHORIZED);
	token->created_us = end - 7200 * second;
	assert_int_equal(token_check_use(token, &in, end - 3600 * second - 1, &why), ERR_OK);
	assert_int_equal(token_check_use(token, &in, end - 3600 * second, &why), ERR_UNAUTHORIZED);
	token_touch(token, end - 3601 * second);
	assert_int_equal(token_check_use(token, &in, end - 2 * second, &why), ERR_OK);
	token_unref(token);
}

static void test_a_use_is_noted_once_a_minute_and_never_goes_back(void **state)
{
	struct token *token = parse("{\"verbs\":[\"read\"]}");
	int64_t at = INT64_C(1800000000000000), minute = 60000000;

	token_touch(token, at);
	assert_true(atomic_exchange(&token->use_unsaved, false));
	token_touch(token, at + minute - 1);
	assert_false(atomic_load(&token->use_unsaved));
	assert_int_equal(atomic_load(&token->used_us), at);
	token_touch(token, at + minute);
	assert_true(atomic_load(&token->use_unsaved));
	token_merge_use(token, at);
	assert_int_equal(atomic_load(&token->used_us), at + minute);
	token_unref(token);
}

#define GROUP_SET_UP set_up
