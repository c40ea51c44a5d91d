#include "api/jobs/bootstrap.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "api/auth/password.h"
#include "common/base/cleanup.h"
#include "common/base/jsontext.h"
#include "common/base/log.h"

enum { SQL_TAKEN, SQL_TAKE, SQL_FORGET };

static const char *const sql[] = {
	[SQL_TAKEN] = "SELECT COUNT(*) FROM client_secret WHERE hash = ?",
	[SQL_TAKE] = "INSERT IGNORE INTO client_secret (hash) VALUES (?)",
	[SQL_FORGET] = "DELETE FROM client_secret WHERE hash = ?",
};

/* The two kinds; their names are the tokens'. One updates its hostnames, the other reads. */
enum { UPDATER, HOSTSYNC, KINDS };
static const char *const kind_names[KINDS] = {"updater", "hostsync"};

static const char *secret_of(const struct settings *settings, size_t kind)
{
	return kind == UPDATER ? settings->updater_token : settings->hostsync_token;
}

/* --- what a token is to be ---------------------------------------------------------------------------------------- */

/* Each once: what comes together from several settings may name one twice. NULL: no memory. */
static json_t *names_json(const struct conf_list *list)
{
	_cleanup_free_ char **names = calloc(list->count + 1, sizeof *names);
	size_t count = 0;

	for (size_t i = 0; names && i < list->count; i++) {
		size_t before = 0;
		while (strcmp(list->items[before], list->items[i]) != 0)
			before++;
		if (before == i)
			names[count++] = list->items[i];
	}
	return names ? jsontext_list(names, count) : NULL;
}

/* NULL: no memory. */
static char *scope_text(const struct settings *settings, bool updates)
{
	json_auto_t *scope = json_object();
	int err = jsontext_set(scope, "verbs", true,
			       updates ? json_pack("[s, s]", "read", "update") : json_pack("[s]", "read"));

	err |= jsontext_set(scope, "silos", true, names_json(&settings->client_silos));
	if (updates)
		err |= jsontext_set(scope, "hostnames", true, names_json(&settings->client_hostnames));
	return err ? NULL : json_dumps(scope, JSON_COMPACT);
}

/* A token of this owner. */
static int make_token(const struct settings *settings, size_t kind, const char *owner, struct token **ret_token,
		      struct why *ret_why)
{
	_cleanup_free_ char *text = scope_text(settings, kind == UPDATER);
	const char *secret = secret_of(settings, kind);
	int err = text ? token_parse(text, strlen(text), ret_token, ret_why) : ERR_NOMEM;

	if (err)
		return err;
	token_set_subject(*ret_token, owner, kind_names[kind]);
	token_hash_secret(secret, strlen(secret), (*ret_token)->hash); /* the table of settings has checked it */
	return ERR_OK;
}

int bootstrap_check(const struct settings *settings, struct why *ret_why)
{
	/* Each would replace the other at every start. */
	if (settings->updater_token && settings->hostsync_token &&
	    !strcmp(settings->updater_token, settings->hostsync_token))
		return why_set(ret_why, ERR_INVALID, "",
			       "SILODNS_UPDATER_TOKEN and SILODNS_HOSTSYNC_TOKEN are the same secret: make another one "
			       "for one of them (silodns-api secrets DIR hostsync-token)");
	for (size_t kind = 0; kind < KINDS; kind++) {
		_cleanup_(token_cleanup) struct token *token = NULL;
		bool updates = kind == UPDATER;
		if (!secret_of(settings, kind))
			continue;
		if (!settings->client_silos.count || (updates && !settings->client_hostnames.count))
			return why_set(ret_why, ERR_INVALID, "", "a token of the %s needs SILODNS_CLIENT_SILOS%s",
				       kind_names[kind], updates ? " and SILODNS_CLIENT_HOSTNAMES" : "");
		int err = make_token(settings, kind, "", &token, ret_why);
		if (err)
			return err;
	}
	return ERR_OK;
}

/* --- making it so ------------------------------------------------------------------------------------------------- */

static const struct principal hub_itself = {.role = ROLE_ADMIN};

static int submit_take(struct bootstrap *c, struct change *change, const char *subject, struct why *ret_why)
{
	struct outcome outcome;

	snprintf(change->subject, sizeof change->subject, "%s", subject);
	change_set_actor(change, &hub_itself);
	int err = queue_change_take(c->queue, change, &outcome);
	*ret_why = outcome.why;
	document_unref(outcome.body);
	return err;
}

/* ERR_NOT_FOUND: there is no admin. */
static int find_owner(struct bootstrap *c, char ret_name[static USER_NAME_MAX + 1])
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;
	int err = store_users(c->store, &users, &count);

	ret_name[0] = '\0';
	for (size_t i = 0; i < count && !err; i++)
		if (users[i].role == ROLE_ADMIN && (!ret_name[0] || !strcmp(users[i].name, c->settings->admin_user)))
			memcpy(ret_name, users[i].name, sizeof users[i].name);
	return err || ret_name[0] ? err : ERR_NOT_FOUND;
}

bool bootstrap_has_admin(struct bootstrap *c)
{
	char name[USER_NAME_MAX + 1];

	if (!atomic_load(&c->has_admin) && (!c->settings->admin_password || !find_owner(c, name)))
		atomic_store(&c->has_admin, true);
	return atomic_load(&c->has_admin);
}

/* Another hub, starting at the same moment, may be faster: then the user exists already. */
static int make_admin(struct bootstrap *c, struct why *ret_why)
{
	const char *password = c->settings->admin_password;
	struct change change = {.kind = CHANGE_USER_PUT,
				.precondition = {.kind = PRECONDITION_NONE_MATCH, .any = true},
				.set_role = true,
				.role = ROLE_ADMIN};

	if (bootstrap_has_admin(c))
		return ERR_OK;
	int err = password_hash(password, strlen(password), change.password_hash);
	if (!err)
		err = submit_take(c, &change, c->settings->admin_user, ret_why);
	if (!err)
		log_info("first admin made", LOG_STR("user", c->settings->admin_user));
	if (!err || err == ERR_PRECONDITION)
		atomic_store(&c->has_admin, true);
	return err == ERR_PRECONDITION ? ERR_OK : err;
}

static int make_silos(struct bootstrap *c, const char *owner, struct why *ret_why)
{
	for (size_t i = 0; i < c->settings->client_silos.count; i++) {
		const char *id = c->settings->client_silos.items[i];
		struct change change = {.kind = CHANGE_SILO_PUT,
					.precondition = {.kind = PRECONDITION_NONE_MATCH, .any = true}};
		snprintf(change.records.id, sizeof change.records.id, "%s", id);
		snprintf(change.new_owner, sizeof change.new_owner, "%s", owner);
		int err = submit_take(c, &change, id, ret_why);
		if (err && err != ERR_PRECONDITION) /* it is there */
			return err;
	}
	return ERR_OK;
}

/* A secret that one kind has, and that the settings give to the other: when each has the other's, the first that is
 * replaced takes the second one's token away, which is no revocation. So both, before either is replaced. */
static int forget_moved(struct bootstrap *c, struct db *db, const struct token *token)
{
	_cleanup_(token_cleanup) struct token *current = NULL;
	char hash[TOKEN_HASH_HEX + 1];

	if (store_token(c->store, token->hash, &current) || strcmp(token_name(current), token_name(token)) == 0)
		return ERR_OK;
	sodium_bin2hex(hash, sizeof hash, token->hash, sizeof token->hash);
	return db_exec(db, SQL_FORGET, &DB_STRING_VALUE(hash), 1);
}

static int ensure(struct bootstrap *c, struct db *db, struct token *token, const char *owner, struct why *ret_why)
{
	_cleanup_(token_cleanup) struct token *current = NULL;
	char hash[TOKEN_HASH_HEX + 1];
	uint64_t taken = 0;
	bool there = store_token(c->store, token->hash, &current) == ERR_OK;

	sodium_bin2hex(hash, sizeof hash, token->hash, sizeof token->hash);
	const struct db_value param = DB_STRING_VALUE(hash);
	int err = there ? ERR_OK : db_query(db, SQL_TAKEN, &param, 1, db_read_u64, &taken);
	if (!err && taken) {
		log_warn("a token of the settings was revoked: it stays so; give it another secret",
			 LOG_STR("token", token->subject));
		return ERR_OK;
	}
	if (!err && !there)
		err = make_silos(c, owner, ret_why);
	if (!err && (!there || strcmp(current->document, token->document) != 0)) {
		struct change change = {.kind = CHANGE_TOKEN_PUT, .token = token_ref(token), .replace = true};
		err = submit_take(c, &change, token->subject, ret_why);
		if (!err)
			log_info("token made as the settings say", LOG_STR("token", token->subject),
				 LOG_STR("scope", token->document));
	}
	return err ? err : db_exec(db, SQL_TAKE, &param, 1);
}

static int ensure_all(struct bootstrap *c, struct db *db, struct why *ret_why)
{
	struct token *tokens[KINDS] = {NULL};
	char owner[USER_NAME_MAX + 1];

	if (!c->settings->updater_token && !c->settings->hostsync_token)
		return ERR_OK;
	int err = find_owner(c, owner);
	if (err == ERR_NOT_FOUND)
		return why_set(ret_why, err, "", "there is no admin whose they could be");
	for (size_t kind = 0; kind < KINDS && !err; kind++)
		if (secret_of(c->settings, kind))
			err = make_token(c->settings, kind, owner, &tokens[kind], ret_why);
	for (size_t kind = 0; kind < KINDS && !err; kind++)
		if (tokens[kind])
			err = forget_moved(c, db, tokens[kind]);
	for (size_t kind = 0; kind < KINDS && !err; kind++)
		if (tokens[kind])
			err = ensure(c, db, tokens[kind], owner, ret_why);
	for (size_t kind = 0; kind < KINDS; kind++)
		token_unref(tokens[kind]);
	if (err && !ret_why->text[0])
		why_set(ret_why, err, "", "%s", db_error(db));
	return err;
}

int bootstrap_make(void *bootstrap, struct periodic_step *step)
{
	struct bootstrap *c = bootstrap;
	struct why why = {0};

	db_use(step->db, sql);
	if (make_admin(c, &why)) /* the journal tells why */
		return ERR_UNAVAILABLE;
	int err = ensure_all(c, step->db, &why);
	if (err && err_info(err)->retryable)
		return ERR_UNAVAILABLE;
	if (err)
		log_error("the clients' tokens cannot be made", LOG_ERR(err), LOG_STR("reason", why.text));
	step->again_ms = PERIODIC_NEVER;
	return ERR_OK;
}
