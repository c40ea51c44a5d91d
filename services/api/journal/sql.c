#include "api/journal/log_internal.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "common/base/log.h"

#define HUB "SELECT revision, identity, accounts, silos, records, tokens FROM hub WHERE id = 1"
#define USERS "SELECT id, CAST(role AS UNSIGNED), quota, name, password_hash, revision FROM account"
#define TOKENS                                                                                                         \
	"SELECT t.owner, a.name, t.name, t.hash, t.scope, t.created, t.revision, u.used FROM token t "                 \
	"JOIN account a ON a.id = t.owner LEFT JOIN token_use u ON u.hash = t.hash"
/* At least the newest entry: the revision may be far above it, where a history was replaced. */
#define LATEST(document)                                                                                               \
	"SELECT revision, CAST(kind AS UNSIGNED), subject, owner, former_owner, " document " FROM change_log "         \
	"WHERE revision > LEAST(?, (SELECT COALESCE(MAX(revision), 1) - 1 FROM change_log WHERE revision <= ?)) "      \
	"AND revision <= ? ORDER BY revision"

const char *const journal_sql[JOURNAL_SQL_COUNT] = {
	[SQL_DURABLE] = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS UNSIGNED)",
	[SQL_HUB] = HUB,
	[SQL_LOCK_HUB] = HUB " FOR UPDATE",
	[SQL_CLAIM] = "UPDATE hub SET revision = ?, accounts = accounts + ? - ?, silos = silos + ? - ?, "
		      "records = records + ? - ?, tokens = tokens + ? - ? "
		      "WHERE id = 1 AND revision = ? AND identity = ?",
	[SQL_CLAIM_ADDRESS] = "UPDATE hub h, silo s, record r SET h.revision = ?, s.revision = ?, r.ip = ? "
			      "WHERE h.id = 1 AND h.revision = ? AND h.identity = ? AND s.id = ? AND r.silo = ? AND "
			      "r.hostname = ? AND r.ip = ?",
	[SQL_RENEW] = "UPDATE hub SET identity = ?, revision = ? WHERE id = 1 AND identity = ? AND revision = ?",
	[SQL_FORGET] = "DELETE FROM change_log WHERE revision > (SELECT revision FROM hub WHERE id = 1)",
	[SQL_SINCE] = "SELECT revision, CAST(kind AS UNSIGNED), subject, owner, document, actor, peer FROM change_log "
		      "WHERE revision > ? AND revision <= ? ORDER BY revision",
	[SQL_LANDED] = "SELECT COUNT(*) FROM change_log WHERE revision = ? AND batch = ?",
	[SQL_FENCE] = "INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, actor, peer, at) "
		      "VALUES (?, 0, 'silo-delete', '', 0, 0, '', '', 0)",
	[SQL_UNFENCE] = "DELETE FROM change_log WHERE revision = ? AND batch = ?",
	[SQL_LOG] = "INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, document, actor, "
		    "peer, at, credential) "
		    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_LATEST] = LATEST("''"),
	[SQL_LATEST_DOCUMENTS] = LATEST("document"), /* which are large, and stand apart from the rows */
	/* Seconds since the table was made; or, if asked for, since anything in it was changed. */
	[SQL_LOG_AGE] = "SELECT CAST(GREATEST(TIMESTAMPDIFF(SECOND, IF(?, GREATEST(create_time, COALESCE(update_time, "
			"create_time)), create_time), NOW()), 0) AS UNSIGNED) FROM information_schema.tables "
			"WHERE table_schema = DATABASE() AND table_name = 'change_log'",

	[SQL_RECORDS] = "SELECT silo, hostname, ip FROM record ORDER BY silo",
	[SQL_SILOS] = "SELECT id, owner, revision FROM silo ORDER BY id",
	[SQL_PUT_SILO] = "INSERT INTO silo (id, owner, revision) VALUES (?, ?, ?) "
			 "ON DUPLICATE KEY UPDATE owner = VALUES(owner), revision = VALUES(revision)",
	[SQL_DELETE_SILO] = "DELETE FROM silo WHERE id = ?", /* its records go with it */
	[SQL_ADD_RECORD] = "INSERT INTO record (silo, hostname, ip) VALUES (?, ?, ?)",
	/* The row is there; but in bulk an INSERT is executed once, an UPDATE once for each row. */
	[SQL_CHANGE_RECORD] = "INSERT INTO record (silo, hostname, ip) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE ip = ?",
	[SQL_DELETE_RECORD] = "DELETE FROM record WHERE silo = ? AND hostname = ? AND ip = ?",

	[SQL_USERS] = USERS,
	[SQL_USER] = USERS " WHERE name = ?",
	[SQL_INSERT_USER] = "INSERT INTO account (role, quota, password_hash, revision, name) VALUES (?, ?, ?, ?, ?)",
	[SQL_UPDATE_USER] = "UPDATE account SET role = ?, quota = ?, password_hash = ?, revision = ? WHERE name = ?",
	[SQL_DELETE_USER] = "DELETE FROM account WHERE name = ?",

	[SQL_TOKENS] = TOKENS,
	[SQL_TOKEN] = TOKENS " WHERE a.name = ? AND t.name = ?",
	[SQL_INSERT_TOKEN] =
		"INSERT INTO token (owner, name, hash, scope, created, revision) VALUES (?, ?, ?, ?, ?, ?)",
	[SQL_DELETE_TOKEN] = "DELETE FROM token WHERE (owner = ? AND name = ?) OR hash = ?",
	[SQL_DELETE_TOKENS] = "DELETE FROM token WHERE owner = ?",
};

int journal_read_hub(void *arg, const struct db_value *row)
{
	struct hub_row *hub = arg;

	hub->revision = row[0].u64;
	snprintf(hub->identity, sizeof hub->identity, "%s", row[1].text);
	hub->accounts = row[2].u64;
	hub->silos = row[3].u64;
	hub->records = row[4].u64;
	hub->tokens = row[5].u64;
	return ERR_OK;
}

int journal_read_user(void *arg, const struct db_value *row)
{
	struct user *user = arg;

	memset(user, 0, sizeof *user);
	user->id = (uint32_t)row[0].u64;
	user->role = row[1].u64 == 2 ? ROLE_ADMIN : ROLE_COMMON; /* positions in the ENUM */
	user->quota = (uint32_t)row[2].u64;
	snprintf(user->name, sizeof user->name, "%s", row[3].text);
	snprintf(user->password_hash, sizeof user->password_hash, "%s", row[4].text);
	user->revision = row[5].u64;
	return ERR_OK;
}

int journal_read_token(void *arg, const struct db_value *row)
{
	struct token **ret_token = arg, *token;
	size_t bytes = 0;
	int err = token_parse(row[4].text, row[4].len, &token, NULL);

	if (err && err != ERR_NOMEM) { /* a person's repair, or a newer version's: nothing is allowed */
		log_warn("a token's scope makes no sense: it may do nothing", LOG_STR("user", row[1].text),
			 LOG_STR("token", row[2].text));
		token = token_new_void();
		err = token ? ERR_OK : ERR_NOMEM;
	}
	if (err)
		return err;
	token->owner = (uint32_t)row[0].u64;
	token_set_subject(token, row[1].text, row[2].text);
	if (sodium_hex2bin(token->hash, sizeof token->hash, row[3].text, row[3].len, NULL, &bytes, NULL) ||
	    bytes != sizeof token->hash) {
		log_warn("a token's hash makes no sense: nobody can use it", LOG_STR("user", row[1].text),
			 LOG_STR("token", row[2].text));
		randombytes_buf(token->hash, sizeof token->hash);
	}
	token->created_us = (int64_t)row[5].u64;
	token->revision = row[6].u64;
	atomic_init(&token->used_us, (int64_t)row[7].u64); /* 0 for NULL, too */
	*ret_token = token;
	return ERR_OK;
}
