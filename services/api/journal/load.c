#include "api/journal/log_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/hub/silo.h"

/* Entries of the log that are read; not more, as a start shall not take longer for it. */
#define LOG_ENTRIES_MAX 200000
/* Seconds after which nobody is restoring a log any more that lacks what it should tell. */
#define LOG_MADE_AGE 10

struct loader {
	struct store_state *state;
	struct store *memory;        /* what there is until then */
	struct silo silo;            /* whose records are being read */
	struct document **documents; /* of silos with records, owned; until the silo itself is read */
	size_t document_count, document_capacity, next;
	size_t records;
	uint64_t newest;                      /* revision of any row */
	uint64_t entry;                       /* the log's last that was read */
	int64_t reported;                     /* clock_mono_ms */
	char differs[CHANGE_SUBJECT_MAX + 1]; /* the first whose row is not what the log says */
};

static void loader_release(struct loader *loader)
{
	while (loader->next < loader->document_count)
		document_unref(loader->documents[loader->next++]);
	free(loader->documents);
	silo_release(&loader->silo);
}

static void note_revision(struct loader *loader, uint64_t revision)
{
	if (loader->newest < revision)
		loader->newest = revision;
}

static int load_user(void *arg, const struct db_value *row)
{
	struct loader *loader = arg;
	struct user user;

	journal_read_user(&user, row);
	struct user_node *node = user_node_new(&user);
	if (!node)
		return ERR_NOMEM;
	note_revision(loader, user.revision);
	store_state_put_user_take(loader->state, node);
	return ERR_OK;
}

static int load_token(void *arg, const struct db_value *row)
{
	struct loader *loader = arg;
	struct token *token;
	int err = journal_read_token(&token, row);

	if (err)
		return err;
	note_revision(loader, token->revision);
	store_state_put_token_take(loader->state, token);
	return ERR_OK;
}

/* The silo whose records have been read, as far as there is one. */
static int make_document(struct loader *loader, struct document **ret_document)
{
	_cleanup_free_ char *json = NULL;
	size_t len;

	silo_sort(&loader->silo);
	int err = silo_to_json(&loader->silo, &json, &len);
	if (!err && !(*ret_document = document_new(loader->silo.id, json, len, 0, 0)))
		err = ERR_NOMEM;
	silo_release(&loader->silo);
	return err;
}

static int finish_records(struct loader *loader)
{
	if (!loader->silo.id[0])
		return ERR_OK;
	if (loader->document_count == loader->document_capacity) {
		size_t capacity = loader->document_capacity ? loader->document_capacity * 2 : 1024;
		struct document **documents = reallocarray(loader->documents, capacity, sizeof(struct document *));
		if (!documents)
			return ERR_NOMEM;
		loader->documents = documents;
		loader->document_capacity = capacity;
	}
	int err = make_document(loader, &loader->documents[loader->document_count]);
	loader->document_count += !err;
	return err;
}

static int load_record(void *arg, const struct db_value *row)
{
	struct loader *loader = arg;
	struct ipaddr ip;
	struct why why;
	int err = ERR_OK;

	if (strcmp(loader->silo.id, row[0].text) != 0) {
		err = finish_records(loader);
		memccpy(loader->silo.id, row[0].text, '\0', sizeof loader->silo.id);
	}
	if (!err)
		err = ipaddr_parse(row[2].text, row[2].len, &ip, &why);
	loader->records++;
	return err ? err : silo_add(&loader->silo, row[1].text, &ip);
}

static int load_silo(void *arg, const struct db_value *row)
{
	struct loader *loader = arg;
	struct document *document = NULL;
	char id[SILO_ID_MAX + 1] = "";

	if (loader->next < loader->document_count)
		document_id(loader->documents[loader->next], id);
	if (strcmp(id, row[0].text) == 0) {
		document = loader->documents[loader->next++];
	} else { /* one without records */
		memccpy(loader->silo.id, row[0].text, '\0', sizeof loader->silo.id);
		int err = make_document(loader, &document);
		if (err)
			return err;
	}
	document->owner = (uint32_t)row[1].u64;
	document->revision = row[2].u64;
	note_revision(loader, document->revision);
	store_state_put_silo_take(loader->state, document, NULL); /* each comes once: nobody had it before */
	if (loader->state->size.silos % 4096 == 0 && clock_mono_ms() - loader->reported >= 1000) {
		loader->reported = clock_mono_ms();
		log_info("loading silos", LOG_U64("silos", loader->state->size.silos));
	}
	return ERR_OK;
}

/* Two readings, each in the order of ids, cost the database half of what one that joins them does: first the records,
 * of which documents without owner and revision are made, then the silos. */
static int load_silos(struct db *db, struct loader *loader)
{
	int err = db_query(db, SQL_RECORDS, NULL, 0, load_record, loader);

	if (!err)
		err = finish_records(loader);
	return err ? err : db_query(db, SQL_SILOS, NULL, 0, load_silo, loader);
}

static uint64_t row_revision(const struct store_state *state, enum change_kind kind, const char *subject)
{
	if (kind == CHANGE_SILO_PUT || kind == CHANGE_SILO_DELETE) {
		const struct document *silo = store_state_silo(state, subject);
		return silo ? silo->revision : UINT64_MAX;
	}
	if (kind == CHANGE_USER_PUT || kind == CHANGE_USER_DELETE) {
		const struct user_node *node = store_state_user(state, subject);
		return node ? node->user.revision : UINT64_MAX;
	}
	const struct token *token = store_state_token_by_subject(state, subject);
	return token ? token->revision : UINT64_MAX;
}

/* Records have no revision. Those of a silo that is in memory at another one may not have come back with it. */
static bool records_differ(const struct loader *loader, const char *id, const struct db_value *text)
{
	const struct document *silo = store_state_silo(loader->state, id);
	struct document *known = NULL;

	if (!text->len || (text->len == silo->len && memcmp(text->text, silo->json, silo->len) == 0))
		return false;
	bool differs = store_get(loader->memory, id, &known) || known->revision != silo->revision;
	document_unref(known);
	return differs;
}

static int load_entry(void *arg, const struct db_value *row)
{
	struct loader *loader = arg;
	struct store_state *state = loader->state;
	enum change_kind kind = (enum change_kind)row[1].u64;
	uint64_t revision = row[0].u64, now = row_revision(state, kind, row[2].text);
	const struct db_value *former = &row[4];

	if (revision != loader->entry + 1)
		state->point.forgotten = revision - 1;
	loader->entry = revision;
	if (!loader->differs[0] && (now < revision || (now == revision && kind == CHANGE_SILO_PUT &&
						       records_differ(loader, row[2].text, &row[5]))))
		memccpy(loader->differs, row[2].text, '\0', sizeof loader->differs - 1);
	if (kind != CHANGE_SILO_DELETE && !former->u64)
		return ERR_OK;
	struct document *mark = document_new(row[2].text, "", 0, 0, 0);
	if (!mark)
		return ERR_NOMEM;
	store_state_put_mark_take(state, mark, (uint32_t)(former->u64 ? former : &row[3])->u64, revision,
				  former->u64 ? DOCUMENT_GIVEN_AWAY : DOCUMENT_DELETED);
	return ERR_OK;
}

/* Deletions and changes of hands, as far back as the log tells of them without a gap, within a limit; and whether the
 * tables are what it says. Where a history was replaced it has a gap: who knows the hub from before begins anew. */
static int load_log(struct db *db, struct loader *loader, uint64_t revision)
{
	uint64_t *forgotten = &loader->state->point.forgotten;
	bool compares = store_is_loaded(loader->memory);
	const struct db_value upto = DB_U64_VALUE(revision);

	*forgotten = revision > LOG_ENTRIES_MAX ? revision - LOG_ENTRIES_MAX : 0;
	const struct db_value params[] = {DB_U64_VALUE(*forgotten), upto, upto};
	int err = db_query(db, compares ? SQL_LATEST_DOCUMENTS : SQL_LATEST, params, 3, load_entry, loader);
	if (loader->entry != revision)
		*forgotten = revision;
	return err;
}

/* A dump restores table after table, in no transaction, and in any order: half of one must not pass for the whole. */
static int check_whole(const struct loader *loader, const struct hub_row *hub, struct why *why)
{
	const struct store_size *size = &loader->state->size;

	if (loader->newest > hub->revision || loader->next < loader->document_count)
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the tables are of different revisions: is a backup being restored?");
	if (loader->differs[0] && store_is_loaded(loader->memory))
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the row of %s is not what the log says: is a backup being restored? See "
			       "docs/database.md, Restoring a backup",
			       loader->differs);
	if (size->users != hub->accounts || size->silos != hub->silos || loader->records != hub->records ||
	    size->tokens != hub->tokens)
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the tables hold %zu accounts, %zu silos, %zu records and %zu tokens, the hub's row "
			       "says %" PRIu64 ", %" PRIu64 ", %" PRIu64 " and %" PRIu64
			       ": is a backup being restored? See docs/database.md, Restoring a backup",
			       size->users, size->silos, loader->records, size->tokens, hub->accounts, hub->silos,
			       hub->records, hub->tokens);
	return ERR_OK;
}

/* Whether the log tells of what memory lacks, but for what was removed as old: never one of the newest entries; and of
 * anything, if there is something. A log that is not being restored, but was emptied by a person, need not. */
static int check_log(struct db *db, const struct loader *loader, const struct hub_row *hub, struct why *why)
{
	const struct db_value empty = DB_U64_VALUE(!loader->entry);
	const struct store_point memory = store_view(loader->memory)->point;
	uint64_t needed = hub->revision > STORE_GONE_MAX ? hub->revision - STORE_GONE_MAX : 0, age = 0;

	store_view_end(loader->memory);
	if (needed < memory.revision)
		needed = memory.revision;
	bool missing = strcmp(memory.identity, hub->identity) == 0 && memory.revision <= hub->revision &&
		       loader->state->point.forgotten > needed;
	if (!store_is_loaded(loader->memory) || !(missing || (hub->accounts && !loader->entry)))
		return ERR_OK;
	int err = db_query(db, SQL_LOG_AGE, &empty, 1, db_read_u64, &age);
	if (err)
		return why_set(why, err, "", "%s", db_error(db));
	if (age < LOG_MADE_AGE)
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the log does not tell of each change since revision %" PRIu64
			       ": is a backup being restored?",
			       needed);
	return ERR_OK;
}

static int load_tables(struct db *db, struct loader *loader, struct hub_row *ret_hub, struct why *why)
{
	int err = db_begin_snapshot(db);

	if (!err)
		err = db_query(db, SQL_HUB, NULL, 0, journal_read_hub, ret_hub);
	if (!err)
		err = db_query(db, SQL_USERS, NULL, 0, load_user, loader);
	if (!err)
		err = db_query(db, SQL_TOKENS, NULL, 0, load_token, loader);
	if (!err)
		err = load_silos(db, loader);
	if (!err)
		err = load_log(db, loader, ret_hub->revision);
	if (err)
		return why_set(why, err, "", "%s", db_error(db));
	if (!ret_hub->identity[0])
		return why_set(why, ERR_UNAVAILABLE, "", "the hub's row is missing: is a backup being restored?");
	err = check_whole(loader, ret_hub, why);
	return err ? err : check_log(db, loader, ret_hub, why);
}

int journal_load(const struct db_settings *settings, struct store *store, bool tried, struct why *ret_why)
{
	_cleanup_(loader_release) struct loader loader = {
		.state = store_state_new(), .memory = store, .reported = clock_mono_ms()};
	struct hub_row hub = {0};
	struct db *db = NULL;
	int64_t started = clock_mono_ms();
	int err = loader.state ? db_open(settings, journal_sql, &db, ret_why)
			       : why_set(ret_why, ERR_NOMEM, "", "out of memory");

	if (!err)
		err = load_tables(db, &loader, &hub, ret_why);
	if (!err && !tried && hub.revision < store_revision(store)) /* since the caller has looked: not renewed */
		err = why_set(ret_why, ERR_UNAVAILABLE, "", "the revision went back: is a backup being restored?");
	db_close(db);
	if (err || tried) {
		store_state_free(loader.state);
		return err;
	}
	if (loader.differs[0]) /* no reason for a hub that starts to stay away */
		log_warn("a row is older than the log says: see docs/database.md, Restoring a backup",
			 LOG_STR("subject", loader.differs));
	store_replace_take(store, loader.state, hub.identity, hub.revision);
	struct store_size size = store_size(store);
	log_info("state loaded", LOG_U64("revision", hub.revision), LOG_U64("silos", size.silos),
		 LOG_U64("users", size.users), LOG_U64("tokens", size.tokens),
		 LOG_I64("ms", clock_mono_ms() - started));
	return ERR_OK;
}
