#include "api/journal/log_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/hub/silo.h"

/* Entries of the log that are read for what is gone; not more, as a start shall not take longer for it. */
#define GONE_ENTRIES_MAX 200000

static int load_user(void *arg, const struct db_value *row)
{
	struct user user;

	journal_read_user(&user, row);
	struct user_node *node = user_node_new(&user);
	if (!node)
		return ERR_NOMEM;
	store_state_put_user_take(arg, node);
	return ERR_OK;
}

static int load_token(void *arg, const struct db_value *row)
{
	struct token *token;
	int err = journal_read_token(&token, row);

	if (err)
		return err;
	store_state_put_token_take(arg, token);
	return ERR_OK;
}

/* Two readings, each in the order of ids, cost the database half of what one that joins them does: first the records,
 * of which documents without owner and revision are made, then the silos. */
struct silo_loader {
	struct store_state *state;
	struct silo silo;            /* whose records are being read */
	struct document **documents; /* of silos with records, owned; until the silo itself is read */
	size_t document_count, document_capacity, next;
	uint64_t newest; /* revision of any silo */
	size_t records;
	int64_t reported; /* clock_mono_ms */
};

static void silo_loader_release(struct silo_loader *loader)
{
	while (loader->next < loader->document_count)
		document_unref(loader->documents[loader->next++]);
	free(loader->documents);
	silo_release(&loader->silo);
}

/* The silo whose records have been read, as far as there is one. */
static int make_document(struct silo_loader *loader, struct document **ret_document)
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

static int finish_records(struct silo_loader *loader)
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
	struct silo_loader *loader = arg;
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
	struct silo_loader *loader = arg;
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
	if (loader->newest < document->revision)
		loader->newest = document->revision;
	store_state_put_silo_take(loader->state, document, NULL); /* each comes once: nobody had it before */
	if (loader->state->size.silos % 4096 == 0 && clock_mono_ms() - loader->reported >= 1000) {
		loader->reported = clock_mono_ms();
		log_info("loading silos", LOG_U64("silos", loader->state->size.silos));
	}
	return ERR_OK;
}

static int load_silos(struct db *db, struct silo_loader *loader)
{
	int err = db_query(db, SQL_RECORDS, NULL, 0, load_record, loader);

	if (!err)
		err = finish_records(loader);
	return err ? err : db_query(db, SQL_SILOS, NULL, 0, load_silo, loader);
}

static int load_one_gone(void *arg, const struct db_value *row)
{
	const struct db_value *former = &row[3];
	struct document *mark = document_new(row[1].text, "", 0, 0, 0);
	if (!mark)
		return ERR_NOMEM;
	store_state_put_mark_take(arg, mark, (uint32_t)(former->u64 ? former : &row[2])->u64, row[0].u64,
				  former->u64 ? DOCUMENT_GIVEN_AWAY : DOCUMENT_DELETED);
	return ERR_OK;
}

/* Deletions and changes of hands, as far back as the log tells of them without a gap, within a limit. */
static int load_gone(struct db *db, struct store_state *state, uint64_t revision)
{
	uint64_t oldest = 0;
	int err = db_query(db, SQL_OLDEST, NULL, 0, db_read_u64, &oldest);
	uint64_t known = oldest ? oldest - 1 : revision;

	if (err)
		return err;
	if (revision > known + GONE_ENTRIES_MAX)
		known = revision - GONE_ENTRIES_MAX;
	state->point.forgotten = known;
	return db_query(db, SQL_GONE, (const struct db_value[]){DB_U64_VALUE(known)}, 1, load_one_gone, state);
}

/* A dump restores table after table, in no transaction: half of one must not pass for the whole. */
static int check_whole(const struct silo_loader *loader, const struct hub_row *hub, const struct store_size *size,
		       struct why *why)
{
	if (loader->newest > hub->revision || loader->next < loader->document_count)
		return why_set(why, ERR_UNAVAILABLE, "",
			       "the tables are of different revisions: is a backup being restored?");
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

static int load_tables(struct db *db, struct store_state *state, struct hub_row *ret_hub, struct why *why)
{
	_cleanup_(silo_loader_release) struct silo_loader loader = {.state = state, .reported = clock_mono_ms()};
	int err = db_begin_snapshot(db);

	if (!err)
		err = db_query(db, SQL_HUB, NULL, 0, journal_read_hub, ret_hub);
	if (!err)
		err = db_query(db, SQL_USERS, NULL, 0, load_user, state);
	if (!err)
		err = db_query(db, SQL_TOKENS, NULL, 0, load_token, state);
	if (!err)
		err = load_silos(db, &loader);
	if (!err)
		err = load_gone(db, state, ret_hub->revision);
	if (err)
		return why_set(why, err, "", "%s", db_error(db));
	return check_whole(&loader, ret_hub, &state->size, why);
}

int journal_load(const struct db_settings *settings, struct store *store, struct why *ret_why)
{
	struct store_state *state = store_state_new();
	struct hub_row hub = {0};
	struct db *db = NULL;
	int64_t started = clock_mono_ms();
	int err =
		state ? db_open(settings, journal_sql, &db, ret_why) : why_set(ret_why, ERR_NOMEM, "", "out of memory");

	if (!err)
		err = load_tables(db, state, &hub, ret_why);
	db_close(db);
	if (err || !store) {
		store_state_free(state);
		return err;
	}
	store_replace_take(store, state, hub.identity, hub.revision);
	struct store_size size = store_size(store);
	log_info("state loaded", LOG_U64("revision", hub.revision), LOG_U64("silos", size.silos),
		 LOG_U64("users", size.users), LOG_U64("tokens", size.tokens),
		 LOG_I64("ms", clock_mono_ms() - started));
	return ERR_OK;
}
