
#include "../../unit.h"

#include "api/journal/decide.h"
#include "api/store/store_state.h"

/* Users: 1 root (admin), 2 alice (common, quota 2), 3 bob (common, quota 1). Silos: "hers" of alice at revision 1. */
struct fixture {
	struct store *store;
	struct batch batch;
	struct order orders[16];
	size_t order_count;
};

static const struct {
	uint32_t id, quota;
	enum role role;
	const char *name;
} users[] = {{1, 0, ROLE_ADMIN, "root"}, {2, 2, ROLE_COMMON, "alice"}, {3, 1, ROLE_COMMON, "bob"}};

#define HERS "{\"id\":\"hers\",\"dnsrecords\":[{\"hostname\":\"h\",\"ip\":\"192.0.2.1\"}]}"

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct store_state *loaded = store_state_new();

	f->store = store_new();
	for (size_t i = 0; i < sizeof users / sizeof users[0]; i++) {
		struct user user = {.id = users[i].id, .role = users[i].role, .quota = users[i].quota};
		snprintf(user.name, sizeof user.name, "%s", users[i].name);
		store_state_put_user_take(loaded, user_node_new(&user));
	}
	store_state_put_silo_take(loaded, document_new("hers", HERS, strlen(HERS), 2, 1), NULL);
	store_replace_take(f->store, loaded, "identity", 1);
	batch_init(&f->batch, f->store);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	batch_release(&f->batch);
	for (size_t i = 0; i < f->order_count; i++)
		order_release(&f->orders[i]);
	store_free(f->store);
	free(f);
	return 0;
}

static struct principal actor(uint32_t id)
{
	return (struct principal){.user_id = id, .role = id == 1 ? ROLE_ADMIN : ROLE_COMMON};
}

/* What the caller of decide() wants to know of the outcome; its body is let go. */
static int decide(struct fixture *f, uint32_t who, struct change change, struct outcome *ret_outcome)
{
	const struct principal principal = actor(who);

	change.actor = &principal;
	assert_int_equal(order_init_take(&f->orders[f->order_count], &change), ERR_OK);
	int err = batch_decide(&f->batch, &f->orders[f->order_count++], ret_outcome);
	document_unref(ret_outcome->body);
	return err;
}

static int put_if(struct fixture *f, uint32_t who, const char *id, const char *ip, const char *owner,
		  struct precondition precondition, struct outcome *ret_outcome)
{
	char json[256];
	struct silo silo = {0};
	struct why why;

	snprintf(json, sizeof json, "{\"dnsrecords\":[{\"hostname\":\"h\",\"ip\":\"%s\"}]}", ip);
	assert_int_equal(silo_parse(json, strlen(json), id, NULL, &silo, &why), ERR_OK);
	return decide(f, who,
		      (struct change){.kind = CHANGE_SILO_PUT,
				      .subject = id,
				      .silo = &silo,
				      .owner = owner,
				      .precondition = precondition},
		      ret_outcome);
}

static int put(struct fixture *f, uint32_t who, const char *id, const char *ip, struct outcome *ret_outcome)
{
	return put_if(f, who, id, ip, NULL, (struct precondition){0}, ret_outcome);
}

static int delete (struct fixture *f, uint32_t who, const char *id, struct outcome *ret_outcome)
{
	return decide(f, who, (struct change){.kind = CHANGE_SILO_DELETE, .subject = id}, ret_outcome);
}

static struct precondition if_match(uint64_t revision)
{
	return (struct precondition){.kind = PRECONDITION_MATCH, .revisions = {revision}, .count = 1};
}

static const struct precondition if_absent = {.kind = PRECONDITION_NONE_MATCH, .any = true};

static void test_the_same_records_again_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 2, "hers", "192.0.2.1", &outcome), ERR_OK);
	assert_false(outcome.changed);
	assert_int_equal(outcome.revision, 1);
	assert_int_equal(f->batch.count, 0);
}

static void test_every_change_takes_the_next_revision(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 2, "hers", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(outcome.revision, 2);
	assert_int_equal(put(f, 1, "new", "192.0.2.2", &outcome), ERR_OK);
	assert_true(outcome.created);
	assert_int_equal(outcome.revision, 3);
	assert_int_equal(delete (f, 1, "new", &outcome), ERR_OK);
	assert_int_equal(outcome.revision, 4);
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	assert_int_equal(store_revision(f->store), 4);
}

static void test_changes_of_one_batch_see_each_other(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 2, "hers", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(put_if(f, 2, "hers", "192.0.2.3", NULL, if_match(1), &outcome), ERR_PRECONDITION);
	assert_int_equal(outcome.revision, 2);
	assert_int_equal(put_if(f, 2, "hers", "192.0.2.3", NULL, if_match(2), &outcome), ERR_OK);
	assert_int_equal(delete (f, 2, "hers", &outcome), ERR_OK);
	assert_int_equal(delete (f, 2, "hers", &outcome), ERR_NOT_FOUND);
	assert_int_equal(put_if(f, 2, "hers", "192.0.2.4", NULL, if_absent, &outcome), ERR_OK);
	assert_true(outcome.created);
	assert_int_equal(put_if(f, 2, "hers", "192.0.2.5", NULL, if_absent, &outcome), ERR_PRECONDITION);
	assert_int_equal(f->batch.count, 4);
}

static void test_what_is_undone_within_a_batch_is_not_applied(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;
	struct document *found;

	assert_int_equal(put(f, 1, "brief", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(delete (f, 1, "brief", &outcome), ERR_OK);
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	assert_int_equal(store_get(f->store, "brief", &found), ERR_NOT_FOUND);
	assert_int_equal(store_revision(f->store), 3); /* both stand in the log all the same */
}

static void test_a_refused_change_leaves_the_batch_as_it_was(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 3, "hers", "192.0.2.9", &outcome), ERR_FORBIDDEN);
	assert_int_equal(delete (f, 3, "hers", &outcome), ERR_FORBIDDEN);
	assert_int_equal(delete (f, 1, "none", &outcome), ERR_NOT_FOUND);
	assert_int_equal(put_if(f, 2, "hers", "192.0.2.9", "bob", (struct precondition){0}, &outcome), ERR_FORBIDDEN);
	assert_int_equal(put_if(f, 1, "hers", "192.0.2.9", "nobody", (struct precondition){0}, &outcome), ERR_INVALID);
	assert_string_equal(outcome.why.field, "owner");
	assert_int_equal(f->batch.count, 0);
	assert_int_equal(f->batch.revision, 1);
}

static void test_quota_counts_what_the_batch_has_created_and_deleted(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 2, "second", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(put(f, 2, "third", "192.0.2.2", &outcome), ERR_QUOTA);
	assert_int_equal(put(f, 2, "second", "192.0.2.3", &outcome), ERR_OK); /* changing needs no quota */
	assert_int_equal(delete (f, 2, "hers", &outcome), ERR_OK);
	assert_int_equal(put(f, 2, "third", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(put(f, 1, "many", "192.0.2.2", &outcome), ERR_OK); /* an admin has no limit */
}

static void test_an_admin_gives_a_silo_away_and_an_ordinary_put_keeps_its_owner(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;
	struct document *found;

	assert_int_equal(put_if(f, 1, "hers", "192.0.2.1", "bob", (struct precondition){0}, &outcome), ERR_OK);
	assert_true(outcome.changed); /* though the records are the same */
	assert_int_equal(put(f, 1, "hers", "192.0.2.7", &outcome), ERR_OK);
	assert_int_equal(put(f, 2, "hers", "192.0.2.8", &outcome), ERR_FORBIDDEN);
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	assert_int_equal(store_get(f->store, "hers", &found), ERR_OK);
	assert_int_equal(found->owner, 3);
	document_unref(found);
}

static void test_rights_are_those_of_the_moment(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put(f, 77, "x", "192.0.2.1", &outcome), ERR_UNAUTHORIZED); /* removed meanwhile */
}

static struct change user_put(const char *name, const char *hash)
{
	return (struct change){.kind = CHANGE_USER_PUT, .subject = name, .password_hash = hash};
}

static void test_the_last_admin_stays(void **state)
{
	struct fixture *f = *state;
	struct change demote = user_put("root", NULL);
	struct outcome outcome;

	demote.set_role = true;
	demote.role = ROLE_COMMON;
	assert_int_equal(decide(f, 1, demote, &outcome), ERR_CONFLICT);
	assert_int_equal(decide(f, 1, (struct change){.kind = CHANGE_USER_DELETE, .subject = "root"}, &outcome),
			 ERR_CONFLICT);
	assert_int_equal(decide(f, 1, (struct change){.kind = CHANGE_USER_DELETE, .subject = "alice"}, &outcome),
			 ERR_CONFLICT); /* owns a silo */
	assert_int_equal(f->batch.count, 0);
}

static void test_a_common_user_changes_its_own_password_only(void **state)
{
	struct fixture *f = *state;
	struct change raise = user_put("alice", "hash");
	struct outcome outcome;

	raise.set_quota = true;
	raise.quota = 99;
	assert_int_equal(decide(f, 2, raise, &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, user_put("bob", "hash"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, user_put("carol", "hash"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, user_put("alice", "hash"), &outcome), ERR_OK);
	assert_true(outcome.changed);
	assert_int_equal(f->batch.user.quota, 2);
	assert_string_equal(f->batch.user.password_hash, "hash");
}

static void test_a_new_user_needs_a_password(void **state)
{
	struct outcome outcome;

	assert_int_equal(decide(*state, 1, user_put("carol", NULL), &outcome), ERR_INVALID);
	assert_string_equal(outcome.why.field, "password");
	assert_int_equal(decide(*state, 1, user_put("carol", "hash"), &outcome), ERR_OK);
	assert_true(outcome.created);
}

/* --- tokens --- */

static struct token *add_token(struct fixture *f, const char *name, const char *scope)
{
	struct token *token;

	assert_int_equal(token_parse(scope, strlen(scope), &token, NULL), ERR_OK);
	token_set_subject(token, "alice", name);
	memset(token->hash, name[0], sizeof token->hash);
	token->owner = 2;
	const struct store_change change = {.op = STORE_PUT_TOKEN, .subject = token->subject, .token = token};
	assert_int_equal(store_apply(f->store, &change, 1, store_revision(f->store)), ERR_OK);
	return token;
}

static int put_by(struct fixture *f, struct token *token, const char *records, struct outcome *ret_outcome)
{
	const struct principal principal = {.user_id = 2, .token = token};
	struct silo silo = {0};
	char json[256];

	snprintf(json, sizeof json, "{\"dnsrecords\":[%s]}", records);
	assert_int_equal(silo_parse(json, strlen(json), "hers", NULL, &silo, NULL), ERR_OK);
	struct change change = {.kind = CHANGE_SILO_PUT, .subject = "hers", .actor = &principal, .silo = &silo};
	assert_int_equal(order_init_take(&f->orders[f->order_count], &change), ERR_OK);
	int err = batch_decide(&f->batch, &f->orders[f->order_count++], ret_outcome);
	document_unref(ret_outcome->body);
	return err;
}

#define RECORD(name, ip) "{\"hostname\":\"" name "\",\"ip\":\"" ip "\"}"

static void test_a_token_is_compared_with_what_the_batch_has_made_of_the_silo(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"update\"],\"hostnames\":[\"mine\"]}");
	struct outcome outcome;

	/* The owner's change waits in the same batch: against the store alone, "h" would seem to be the token's change.
	 */
	assert_int_equal(put(f, 2, "hers", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.2") "," RECORD("mine", "192.0.2.3"), &outcome), ERR_OK);
	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.1") "," RECORD("mine", "192.0.2.3"), &outcome),
			 ERR_FORBIDDEN);
	assert_non_null(strstr(outcome.why.text, "\"h\""));
	assert_int_equal(f->batch.count, 2);
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	token_unref(token);
}

static void test_a_token_revoked_while_its_change_waits_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"update\"]}");
	const struct store_change revoke = {.op = STORE_DELETE_TOKEN, .subject = token->subject};
	struct outcome outcome;

	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.2"), &outcome), ERR_OK);
	assert_int_equal(store_apply(f->store, &revoke, 1, store_revision(f->store)), ERR_OK);
	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.3"), &outcome), ERR_UNAUTHORIZED);
	assert_int_equal(f->batch.count, 1);
	token_unref(token);
}

static void test_a_token_without_the_verb_changes_no_user_and_no_token(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"read\",\"update\"]}");
	const struct principal principal = {.user_id = 2, .token = token};
	struct outcome outcome;
	struct change changes[] = {{.kind = CHANGE_USER_PUT, .subject = "alice", .password_hash = "hash"},
				   {.kind = CHANGE_TOKEN_DELETE, .subject = "alice/t"},
				   {.kind = CHANGE_TOKEN_PUT, .subject = "alice/u", .token = token}};

	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		changes[i].actor = &principal;
		assert_int_equal(order_init_take(&f->orders[f->order_count], &changes[i]), ERR_OK);
		assert_int_equal(batch_decide(&f->batch, &f->orders[f->order_count++], &outcome), ERR_FORBIDDEN);
	}
	assert_int_equal(f->batch.count, 0);
	token_unref(token);
}

static void test_the_tokens_of_a_removed_user_are_counted_and_go(void **state)
{
	struct fixture *f = *state;
	struct token *first = add_token(f, "t", "{\"verbs\":[\"read\"]}");
	struct token *second = add_token(f, "u", "{\"verbs\":[\"read\"]}");
	struct outcome outcome;

	assert_int_equal(delete (f, 2, "hers", &outcome), ERR_OK);
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	batch_release(&f->batch);
	batch_init(&f->batch, f->store);
	assert_int_equal(decide(f, 1, (struct change){.kind = CHANGE_USER_DELETE, .subject = "alice"}, &outcome),
			 ERR_OK);
	assert_int_equal(f->batch.tokens_gone, 2);
	assert_true(store_has_token(f->store, first));
	assert_int_equal(batch_apply(&f->batch), ERR_OK);
	assert_false(store_has_token(f->store, first));
	assert_int_equal(store_size(f->store).tokens, 0);
	token_unref(first);
	token_unref(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_the_same_records_again_change_nothing),
					   TEST(test_every_change_takes_the_next_revision),
					   TEST(test_changes_of_one_batch_see_each_other),
					   TEST(test_what_is_undone_within_a_batch_is_not_applied),
					   TEST(test_a_refused_change_leaves_the_batch_as_it_was),
					   TEST(test_quota_counts_what_the_batch_has_created_and_deleted),
					   TEST(test_an_admin_gives_a_silo_away_and_an_ordinary_put_keeps_its_owner),
					   TEST(test_rights_are_those_of_the_moment),
					   TEST(test_the_last_admin_stays),
					   TEST(test_a_common_user_changes_its_own_password_only),
					   TEST(test_a_new_user_needs_a_password),
					   TEST(test_a_token_is_compared_with_what_the_batch_has_made_of_the_silo),
					   TEST(test_a_token_revoked_while_its_change_waits_changes_nothing),
					   TEST(test_a_token_without_the_verb_changes_no_user_and_no_token),
					   TEST(test_the_tokens_of_a_removed_user_are_counted_and_go)};
	return cmocka_run_group_tests_name("api-batch", tests, NULL, NULL);
}
