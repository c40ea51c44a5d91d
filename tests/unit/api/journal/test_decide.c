#include "../../unit.h"

#include "api/journal/decide.h"
#include "api/store/store_state.h"

/* Users: 1 root (admin), 2 alice (common, quota 2), 3 bob (common, quota 1). Silos: "hers" of alice at revision 1. */
struct fixture {
	struct store *store;
	struct transaction transaction;
	struct change changes[16]; /* the latest is the last */
	size_t change_count;
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
	transaction_init(&f->transaction, f->store);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	transaction_release(&f->transaction);
	for (size_t i = 0; i < f->change_count; i++)
		change_release(&f->changes[i]);
	store_free(f->store);
	free(f);
	return 0;
}

static struct principal actor(uint32_t id)
{
	return (struct principal){.user_id = id, .role = id == 1 ? ROLE_ADMIN : ROLE_COMMON};
}

/* Its outcome is what the caller wants to know; its body is let go. */
static int decide_as(struct fixture *f, const struct principal *principal, const char *subject, struct change change,
		     struct outcome *ret_outcome)
{
	struct change *kept = &f->changes[f->change_count++];

	*kept = change;
	snprintf(kept->subject, sizeof kept->subject, "%s", subject);
	change_set_actor(kept, principal);
	assert_int_equal(change_prepare(kept), ERR_OK);
	int err = transaction_decide(&f->transaction, kept, ret_outcome);
	document_unref(ret_outcome->body);
	return err;
}

static int decide(struct fixture *f, uint32_t who, const char *subject, struct change change,
		  struct outcome *ret_outcome)
{
	const struct principal principal = actor(who);

	return decide_as(f, &principal, subject, change, ret_outcome);
}

static int apply(struct fixture *f)
{
	return store_apply(f->store, f->transaction.changes, f->transaction.count, f->transaction.revision);
}

static struct silo silo(const char *id, const char *records)
{
	struct silo silo = {0};
	char json[512];

	snprintf(json, sizeof json, "{\"dnsrecords\":[%s]}", records);
	assert_int_equal(silo_parse(json, strlen(json), id, NULL, &silo, NULL), ERR_OK);
	return silo;
}

static int put_if(struct fixture *f, uint32_t who, const char *id, const char *ip, const char *owner,
		  struct precondition precondition, struct outcome *ret_outcome)
{
	char record[128];

	snprintf(record, sizeof record, "{\"hostname\":\"h\",\"ip\":\"%s\"}", ip);
	struct change change = {.kind = CHANGE_SILO_PUT, .records = silo(id, record), .precondition = precondition};
	snprintf(change.new_owner, sizeof change.new_owner, "%s", owner ? owner : "");
	return decide(f, who, id, change, ret_outcome);
}

static int put(struct fixture *f, uint32_t who, const char *id, const char *ip, struct outcome *ret_outcome)
{
	return put_if(f, who, id, ip, NULL, (struct precondition){0}, ret_outcome);
}

static int delete (struct fixture *f, uint32_t who, const char *id, struct outcome *ret_outcome)
{
	return decide(f, who, id, (struct change){.kind = CHANGE_SILO_DELETE}, ret_outcome);
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
	assert_int_equal(f->transaction.count, 0);
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
	assert_int_equal(apply(f), ERR_OK);
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
	assert_int_equal(f->transaction.count, 4);
}

static void test_what_is_undone_within_a_transaction_is_gone(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;
	struct document *found;

	assert_int_equal(put(f, 1, "brief", "192.0.2.2", &outcome), ERR_OK);
	assert_int_equal(delete (f, 1, "brief", &outcome), ERR_OK);
	assert_int_equal(apply(f), ERR_OK);
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
	assert_int_equal(f->transaction.count, 0);
	assert_int_equal(f->transaction.revision, 1);
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
	assert_int_equal(apply(f), ERR_OK);
	assert_int_equal(store_get(f->store, "hers", &found), ERR_OK);
	assert_int_equal(found->owner, 3);
	document_unref(found);
}

static void test_rights_are_those_of_the_moment(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	const struct principal again = {.user_id = 77, .name = "alice"};
	struct change change = {.kind = CHANGE_SILO_PUT, .records = silo("x", "")};

	assert_int_equal(put(f, 77, "x", "192.0.2.1", &outcome), ERR_UNAUTHORIZED); /* removed meanwhile */
	/* … and made again, under another id: with which password, the next attempt tells. */
	assert_int_equal(decide_as(f, &again, "x", change, &outcome), ERR_UNAVAILABLE);
}

static struct change user_put(const char *hash)
{
	struct change change = {.kind = CHANGE_USER_PUT};

	snprintf(change.password_hash, sizeof change.password_hash, "%s", hash);
	return change;
}

static void test_the_last_admin_stays(void **state)
{
	struct fixture *f = *state;
	struct change demote = user_put(""), delete = {.kind = CHANGE_USER_DELETE};
	struct outcome outcome;

	demote.set_role = true;
	demote.role = ROLE_COMMON;
	assert_int_equal(decide(f, 1, "root", demote, &outcome), ERR_CONFLICT);
	assert_int_equal(decide(f, 1, "root", delete, &outcome), ERR_CONFLICT);
	assert_int_equal(decide(f, 1, "alice", delete, &outcome), ERR_CONFLICT); /* owns a silo */
	assert_int_equal(f->transaction.count, 0);
}

static void test_a_common_user_changes_its_own_password_only(void **state)
{
	struct fixture *f = *state;
	struct change raise = user_put("hash");
	struct outcome outcome;

	raise.set_quota = true;
	raise.quota = 99;
	assert_int_equal(decide(f, 2, "alice", raise, &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, "bob", user_put("hash"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, "carol", user_put("hash"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide(f, 2, "alice", user_put("hash"), &outcome), ERR_OK);
	assert_true(outcome.changed);
	assert_int_equal(f->changes[f->change_count - 1].user.quota, 2);
	assert_string_equal(f->changes[f->change_count - 1].user.password_hash, "hash");
}

static void test_a_new_user_needs_a_password(void **state)
{
	struct outcome outcome;

	assert_int_equal(decide(*state, 1, "carol", user_put(""), &outcome), ERR_INVALID);
	assert_string_equal(outcome.why.field, "password");
	assert_int_equal(decide(*state, 1, "carol", user_put("hash"), &outcome), ERR_OK);
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
	struct change change = {.kind = CHANGE_TOKEN_PUT, .token = token};
	assert_int_equal(store_apply(f->store, (struct change *[]){&change}, 1, store_revision(f->store)), ERR_OK);
	return token;
}

static int put_by(struct fixture *f, struct token *token, const char *records, struct outcome *ret_outcome)
{
	const struct principal principal = {.user_id = 2, .token = token};
	const struct change change = {.kind = CHANGE_SILO_PUT, .records = silo("hers", records)};

	return decide_as(f, &principal, "hers", change, ret_outcome);
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
	assert_int_equal(f->transaction.count, 2);
	assert_int_equal(apply(f), ERR_OK);
	token_unref(token);
}

static void test_a_token_revoked_while_its_change_waits_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"update\"]}");
	struct change revoke = {.kind = CHANGE_TOKEN_DELETE, .subject = "alice/t"};
	struct outcome outcome;

	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.2"), &outcome), ERR_OK);
	assert_int_equal(store_apply(f->store, (struct change *[]){&revoke}, 1, store_revision(f->store)), ERR_OK);
	assert_int_equal(put_by(f, token, RECORD("h", "192.0.2.3"), &outcome), ERR_UNAUTHORIZED);
	assert_int_equal(f->transaction.count, 1);
	token_unref(token);
}

static void test_who_came_by_a_token_that_was_replaced_is_to_try_again(void **state)
{
	static const char scope[] = "{\"verbs\":[\"update\"]}";
	struct fixture *f = *state;
	struct token *former, *token = add_token(f, "t", scope);
	struct outcome outcome;

	assert_int_equal(token_parse(scope, strlen(scope), &former, NULL), ERR_OK);
	memcpy(former->hash, token->hash, sizeof former->hash);
	former->revision = token->revision + 1;
	assert_int_equal(put_by(f, former, RECORD("h", "192.0.2.2"), &outcome), ERR_UNAVAILABLE);
	token_unref(former);
	token_unref(token);
}

static void test_a_token_without_the_verb_changes_no_user_and_no_token(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"read\",\"update\"]}");
	const struct principal principal = {.user_id = 2, .token = token};
	struct outcome outcome;

	assert_int_equal(decide_as(f, &principal, "alice", user_put("hash"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide_as(f, &principal, "alice/t", (struct change){.kind = CHANGE_TOKEN_DELETE}, &outcome),
			 ERR_FORBIDDEN);
	assert_int_equal(decide_as(f, &principal, "alice/u",
				   (struct change){.kind = CHANGE_TOKEN_PUT, .token = token_ref(token)}, &outcome),
			 ERR_FORBIDDEN);
	assert_int_equal(f->transaction.count, 0);
	token_unref(token);
}

static bool is_there(struct fixture *f, const struct token *token)
{
	struct token *found = NULL;
	int err = store_token(f->store, token->hash, &found);

	token_unref(found);
	return !err && found == token;
}

static void test_the_tokens_of_a_removed_user_are_counted_and_go(void **state)
{
	struct fixture *f = *state;
	struct token *first = add_token(f, "t", "{\"verbs\":[\"read\"]}");
	struct token *second = add_token(f, "u", "{\"verbs\":[\"read\"]}");
	struct outcome outcome;

	assert_int_equal(delete (f, 2, "hers", &outcome), ERR_OK);
	assert_int_equal(apply(f), ERR_OK);
	transaction_release(&f->transaction);
	transaction_init(&f->transaction, f->store);
	assert_int_equal(decide(f, 1, "alice", (struct change){.kind = CHANGE_USER_DELETE}, &outcome), ERR_OK);
	assert_int_equal(f->changes[f->change_count - 1].tokens_gone, 2);
	assert_true(is_there(f, first));
	assert_int_equal(apply(f), ERR_OK);
	assert_false(is_there(f, first));
	assert_int_equal(store_size(f->store).tokens, 0);
	token_unref(first);
	token_unref(second);
}

/* --- patches --- */

static int put_hers(struct fixture *f, const char *records, struct outcome *ret_outcome)
{
	return decide(f, 2, "hers", (struct change){.kind = CHANGE_SILO_PUT, .records = silo("hers", records)},
		      ret_outcome);
}

/* `removed`: a hostname of which all addresses go, or NULL. */
static struct change patch(const char *set, const char *removed)
{
	const struct ipaddr any = {.family = 0};
	struct change change = {.kind = CHANGE_SILO_PATCH, .records = silo("hers", set)};

	if (removed)
		assert_int_equal(silo_add(&change.removed, removed, &any), ERR_OK);
	return change;
}

static const char *now(const struct fixture *f)
{
	return f->transaction.changes[f->transaction.count - 1]->document->json;
}

#define SILO(records) "{\"id\":\"hers\",\"dnsrecords\":[" records "]}"

static void test_a_patch_sets_one_family_of_a_hostname_and_keeps_the_rest(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(put_hers(f,
				  RECORD("a", "192.0.2.9") "," RECORD("h", "192.0.2.1") "," RECORD(
					  "h", "192.0.2.2") "," RECORD("h", "2001:db8::1"),
				  &outcome),
			 ERR_OK);
	assert_int_equal(decide(f, 2, "hers", patch(RECORD("h", "192.0.2.3"), NULL), &outcome), ERR_OK);
	assert_true(outcome.changed);
	assert_false(outcome.created);
	assert_int_equal(outcome.revision, 3);
	assert_int_equal(outcome.records, 3);
	assert_string_equal(now(f),
			    SILO(RECORD("a", "192.0.2.9") "," RECORD("h", "192.0.2.3") "," RECORD("h", "2001:db8::1")));
	assert_int_equal(
		decide(f, 2, "hers", patch(RECORD("h", "2001:db8::3") "," RECORD("b", "192.0.2.4"), "h"), &outcome),
		ERR_OK);
	assert_string_equal(now(f),
			    SILO(RECORD("a", "192.0.2.9") "," RECORD("b", "192.0.2.4") "," RECORD("h", "2001:db8::3")));
	assert_int_equal(apply(f), ERR_OK);
	assert_int_equal(store_revision(f->store), 4);
}

static void test_a_patch_removes_one_address_or_all_of_a_hostname(void **state)
{
	struct fixture *f = *state;
	struct change one = patch("", NULL);
	struct outcome outcome;
	struct ipaddr ip;

	assert_int_equal(ipaddr_parse("192.0.2.1", 9, &ip, NULL), ERR_OK);
	assert_int_equal(silo_add(&one.removed, "h", &ip), ERR_OK);
	assert_int_equal(put_hers(f, RECORD("h", "192.0.2.1") "," RECORD("h", "192.0.2.2") "," RECORD("i", "192.0.2.1"),
				  &outcome),
			 ERR_OK);
	assert_int_equal(decide(f, 2, "hers", one, &outcome), ERR_OK);
	assert_string_equal(now(f), SILO(RECORD("h", "192.0.2.2") "," RECORD("i", "192.0.2.1")));
	assert_int_equal(decide(f, 2, "hers", patch("", "h"), &outcome), ERR_OK);
	assert_string_equal(now(f), SILO(RECORD("i", "192.0.2.1")));
}

static void test_a_patch_that_comes_to_the_same_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;

	assert_int_equal(decide(f, 2, "hers", patch(RECORD("h", "192.0.2.1"), "none"), &outcome), ERR_OK);
	assert_false(outcome.changed);
	assert_int_equal(outcome.revision, 1);
	assert_int_equal(f->transaction.count, 0);
}

static void test_a_patch_has_the_conditions_rights_and_limits_of_a_put(void **state)
{
	struct fixture *f = *state;
	struct change stale = patch(RECORD("h", "192.0.2.3"), NULL), many = patch(RECORD("i", "192.0.2.3"), NULL);
	struct outcome outcome;

	assert_int_equal(decide(f, 3, "hers", patch(RECORD("h", "192.0.2.3"), NULL), &outcome), ERR_FORBIDDEN);
	stale.precondition = if_match(7);
	assert_int_equal(decide(f, 2, "hers", stale, &outcome), ERR_PRECONDITION);
	many.records_max = 1;
	assert_int_equal(decide(f, 2, "hers", many, &outcome), ERR_INVALID);
	assert_string_equal(outcome.why.field, "set");
	assert_int_equal(decide(f, 2, "none", patch(RECORD("h", "192.0.2.3"), NULL), &outcome), ERR_NOT_FOUND);
}

static void test_a_patch_by_a_token_changes_its_own_hostnames_only(void **state)
{
	struct fixture *f = *state;
	struct token *token = add_token(f, "t", "{\"verbs\":[\"update\"],\"hostnames\":[\"mine\"]}");
	const struct principal principal = {.user_id = 2, .token = token};
	struct outcome outcome;

	assert_int_equal(decide_as(f, &principal, "hers", patch(RECORD("mine", "192.0.2.3"), NULL), &outcome), ERR_OK);
	assert_int_equal(decide_as(f, &principal, "hers", patch("", "h"), &outcome), ERR_FORBIDDEN);
	assert_int_equal(decide_as(f, &principal, "new", patch(RECORD("mine", "192.0.2.3"), NULL), &outcome),
			 ERR_NOT_FOUND);
	token_unref(token);
}

static void test_a_token_takes_the_place_of_another_one_in_one_change(void **state)
{
	struct fixture *f = *state;
	const char scope[] = "{\"verbs\":[\"update\"]}";
	struct token *former = add_token(f, "t", "{\"verbs\":[\"read\"]}"), *token;
	struct change change = {.kind = CHANGE_TOKEN_PUT, .replace = true};
	struct outcome outcome;

	assert_int_equal(token_parse(scope, strlen(scope), &token, NULL), ERR_OK);
	token_set_subject(token, "alice", "renamed");
	memcpy(token->hash, former->hash, sizeof token->hash);
	change.token = token_ref(token);
	assert_int_equal(decide(f, 1, "alice/renamed", change, &outcome), ERR_OK);
	assert_int_equal(f->changes[f->change_count - 1].tokens_gone, 1);
	assert_int_equal(apply(f), ERR_OK);
	assert_false(is_there(f, former)); /* though it has the same secret */
	assert_true(is_there(f, token));
	assert_int_equal(store_size(f->store).tokens, 1);
	token_unref(former);
	token_unref(token);
}

#define SET_UP setup
#define TEAR_DOWN teardown
