#include "api/watch/subscription.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/store/store_state.h"
#include "api/watch/sse.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define NEVER UINT64_MAX
#define RETRY_MS 2000 /* after how long to come back when a stream breaks off */

/* What a watcher believes of a silo that it named. */
enum told { UNTOLD, TOLD_SOMETHING, TOLD_FORBIDDEN };

struct subscription_name {
	enum told told;
	char id[SILO_ID_MAX + 1];
};

struct subscription {
	struct store *store;
	struct principal who;
	struct { /* as it was opened; see subscription_is_ahead() */
		uint64_t since, replaced;
		int64_t at_us;
	} ahead;
	uint64_t known;     /* everything up to this revision is told */
	uint64_t base;      /* the watcher knows of no silo that was gone by then */
	uint64_t told_id;   /* the `id` that was last written */
	uint64_t told_news; /* store_news() before all there was to tell was told */
	bool snapshot;      /* everything is being told, from revision 0: no `id` before its end, so that who is cut off
			       begins anew */
	char identity[HUB_IDENTITY_LEN + 1];
	bool reset_due, synced, beat, over;
	uint32_t farewell_ms;   /* 0: none is due */
	struct sse_event event; /* the one being written */

	size_t name_count;
	struct subscription_name names[];
};

/* --- what is said ------------------------------------------------------------------------------------------------- */

/* After what was said last, the watcher knows everything up to `revision`. */
static void say_id(struct subscription *feed, uint64_t revision)
{
	if (feed->snapshot || revision <= feed->told_id)
		return;
	sse_say_id(&feed->event, revision);
	feed->told_id = revision;
}

static void say_hub(struct subscription *feed, const char *event, uint64_t revision)
{
	sse_say(&feed->event, "event: %s\ndata: {\"hub\":\"%s\",\"revision\":%" PRIu64 "}\n\n", event, feed->identity,
		revision);
}

static void say_absent(struct subscription *feed, const char *event, const char *id, uint64_t revision)
{
	sse_say(&feed->event, "event: %s\ndata: {\"id\":\"%s\",\"revision\":%" PRIu64 "}\n\n", event, id, revision);
}

/* Of a silo that is not there nobody is the owner; a token may not be for it all the same. */
static bool is_hidden(const struct subscription *feed, const char *id, const struct document *document)
{
	return !token_covers_silo(feed->who.token, id) ||
	       (document && document->kind == DOCUMENT_SILO && feed->who.role != ROLE_ADMIN &&
		document->owner != feed->who.user_id);
}

/* --- all silos of an owner ---------------------------------------------------------------------------------------- */

uint32_t subscription_owner(const struct subscription *feed)
{
	return feed->who.role == ROLE_ADMIN ? 0 : feed->who.user_id;
}

static void say_change(struct subscription *feed, const struct store_state *state, struct document *change)
{
	char id[SILO_ID_MAX + 1];

	feed->known = change->revision;
	if (change->kind == DOCUMENT_SILO) {
		say_id(feed, change->revision);
		sse_say_silo(&feed->event, change);
		return;
	}
	/* What was gone before a snapshot began, its reader never had. Who sees all silos sees none change hands. */
	if (change->revision <= feed->base || (!subscription_owner(feed) && change->kind != DOCUMENT_DELETED))
		return;
	document_id(change, id);
	say_id(feed, change->revision);
	say_absent(feed, store_state_silo(state, id) ? "forbidden" : "deleted", id, change->revision);
}

/* True when everything up to the state's revision is told and written. */
static bool write_changes(struct subscription *feed, const struct store_state *state, struct sse_buffer *to)
{
	uint32_t owner = subscription_owner(feed);
	struct document *change = store_state_since(state, owner, feed->known);
	bool room = true;

	for (; change && room; change = store_state_later(change, owner)) {
		say_change(feed, state, change);
		room = sse_write(&feed->event, to);
	}
	return room;
}

/* --- named silos -------------------------------------------------------------------------------------------------- */

struct named_news {
	struct document *document; /* the silo, or the mark of its deletion; NULL: there is neither */
	uint64_t revision;
	bool hidden;
	struct subscription_name *name;
};

static int compare_news(const void *a, const void *b)
{
	const struct named_news *x = a, *y = b;

	return x->revision < y->revision ? -1 : x->revision > y->revision;
}

static void say_named(struct subscription *feed, const struct named_news *news)
{
	say_id(feed, news->revision);
	if (feed->known < news->revision)
		feed->known = news->revision;
	news->name->told = news->hidden ? TOLD_FORBIDDEN : TOLD_SOMETHING;
	if (!news->hidden && news->document && news->document->kind == DOCUMENT_SILO)
		sse_say_silo(&feed->event, news->document);
	else
		say_absent(feed, news->hidden ? "forbidden" : "deleted", news->name->id, news->revision);
}

/* All that is new of the named silos, in the order of revisions. True as above. */
static bool write_names(struct subscription *feed, const struct store_state *state, struct sse_buffer *to)
{
	struct named_news news[FEED_NAMES_MAX];
	size_t count = 0;
	bool room = true;

	for (size_t i = 0; i < feed->name_count; i++) {
		struct subscription_name *name = &feed->names[i];
		struct document *document = store_state_silo(state, name->id);
		if (!document)
			document = store_state_deleted(state, name->id);
		uint64_t revision = document ? document->revision : 0;
		bool hidden = is_hidden(feed, name->id, document);
		if (hidden ? name->told != TOLD_FORBIDDEN : name->told != TOLD_SOMETHING || revision > feed->known)
			news[count++] = (struct named_news){document, revision, hidden, name};
	}
	if (count > 1)
		qsort(news, count, sizeof news[0], compare_news);
	for (size_t i = 0; i < count && room; i++) {
		say_named(feed, &news[i]);
		room = sse_write(&feed->event, to);
	}
	return room;
}

/* --- where the stream stands -------------------------------------------------------------------------------------- */

/* Everything, from revision 0. */
static void begin_snapshot(struct subscription *feed, const struct store_point *point)
{
	memcpy(feed->identity, point->identity, sizeof feed->identity);
	feed->known = feed->told_id = 0;
	feed->base = point->revision;
	feed->snapshot = feed->reset_due = true;
	feed->synced = false;
	for (size_t i = 0; i < feed->name_count; i++)
		feed->names[i].told = UNTOLD;
}

static bool can_continue(const struct subscription *feed, const struct store_point *point)
{
	uint64_t safe = feed->known > feed->base ? feed->known : feed->base;

	return strcmp(point->identity, feed->identity) == 0 && safe <= point->revision && safe >= point->forgotten;
}

static bool is_behind(const struct subscription *feed, const struct store_state *state)
{
	return feed->ahead.since && !store_is_confirmed(feed->store, feed->ahead.at_us) &&
	       state->point.revision < feed->ahead.since && state->point.replaced == feed->ahead.replaced;
}

bool subscription_is_ahead(const struct subscription *feed)
{
	if (!feed->ahead.since)
		return false;
	bool ahead = is_behind(feed, store_view(feed->store));
	store_view_end(feed->store);
	return ahead;
}

/* Any change of the user ends the stream: what the user may see now is found out by coming back. So does a token that
 * was revoked or has expired. While the stream goes on, the token is in use. */
static bool is_still_allowed(const struct subscription *feed, const struct store_state *state)
{
	const struct user_node *found = store_state_user_by_id(state, feed->who.user_id);
	struct token *token = feed->who.token, *current = token ? store_state_token(state, token->hash) : NULL;
	int64_t now_us = token ? clock_wall_us() : 0;

	if (!found || found->user.revision != feed->who.user_revision)
		return false;
	if (!token)
		return true;
	token_touch(token, now_us);
	/* By its revision, too: its secret may have been given to one of another scope. */
	return current && current->revision == token->revision && (!token->expires_us || now_us < token->expires_us);
}

/* One thing to say beside silos; false: nothing. */
static bool say_other(struct subscription *feed)
{
	if (feed->farewell_ms) {
		sse_say(&feed->event, ": the hub is stopping\nretry: %" PRIu32 "\n\n", feed->farewell_ms);
		feed->over = true;
	} else if (feed->reset_due) {
		feed->reset_due = false;
		sse_say(&feed->event, "id: 0\n");
		say_hub(feed, "reset", feed->base);
	} else {
		return false;
	}
	return true;
}

static bool say_beat(struct subscription *feed)
{
	int64_t age_ms = store_age_ms(feed->store);

	if (!feed->beat)
		return false;
	if (age_ms)
		sse_say(&feed->event, ": the database is away, this is as of %" PRId64 " s ago\n", age_ms / 1000);
	else
		sse_say(&feed->event, ":\n");
	say_id(feed, feed->known);
	sse_say(&feed->event, "\n");
	feed->beat = false;
	return true;
}

/* Once everything is told. */
static bool say_caught_up(struct subscription *feed)
{
	if (feed->synced)
		return say_beat(feed);
	feed->synced = true;
	feed->snapshot = feed->beat = false;
	say_id(feed, feed->known);
	say_hub(feed, "synced", feed->known);
	return true;
}

/* Says one thing, or several that it also writes. False: there is nothing to say. */
static bool say_next(struct subscription *feed, const struct store_state *state, struct sse_buffer *to)
{
	if (!is_still_allowed(feed, state)) {
		feed->over = true;
		return false;
	}
	bool ahead = is_behind(feed, state);
	/* Else the store has been loaded anew, or has moved on so far that it does not remember. */
	if (!ahead && !can_continue(feed, &state->point))
		begin_snapshot(feed, &state->point);
	if (say_other(feed))
		return true;
	if (ahead)
		return say_beat(feed);
	if (!(feed->name_count ? write_names(feed, state, to) : write_changes(feed, state, to)))
		return true;
	if (feed->known < state->point.revision)
		feed->known = state->point.revision;
	return say_caught_up(feed);
}

ssize_t subscription_read(struct subscription *feed, char *ret_data, size_t max)
{
	uint64_t news = store_news(feed->store);
	struct sse_buffer to = {ret_data, max, 0};

	/* Whoever was told something is asked once more, before it waits: most often nothing has come since. */
	if (news == feed->told_news && !feed->beat && !feed->farewell_ms && !feed->over && sse_is_written(&feed->event))
		return 0;
	if (sse_write(&feed->event, &to) && !feed->over) {
		const struct store_state *state = store_view(feed->store);
		while (sse_write(&feed->event, &to) && !feed->over)
			if (!say_next(feed, state, &to)) {
				feed->told_news = feed->ahead.since ? NEVER : news;
				break;
			}
		store_view_end(feed->store);
	}
	return !to.used && feed->over ? STREAM_END : (ssize_t)to.used;
}

void subscription_beat(struct subscription *feed)
{
	feed->beat = true;
}

void subscription_bid_farewell(struct subscription *feed, uint32_t retry_ms)
{
	feed->farewell_ms = retry_ms;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Continues from `wish->since`, or begins with everything. */
static void begin(struct subscription *feed, const struct subscription_wish *wish)
{
	const struct store_point point = store_view(feed->store)->point;

	store_view_end(feed->store);
	bool same_rights = wish->who.user_revision <= wish->since,
	     same_hub = !wish->hub || strcmp(wish->hub, point.identity) == 0;

	begin_snapshot(feed, &point);
	feed->reset_due = false;
	if (!wish->has_since)
		return;
	feed->known = feed->base = feed->told_id = wish->since;
	feed->snapshot = false;
	if (same_hub && wish->since > point.revision) {
		feed->ahead.since = wish->since;
		feed->ahead.at_us = clock_mono_us();
		feed->ahead.replaced = point.replaced;
	}
	if (!wish->since || !same_hub || (!feed->ahead.since && !can_continue(feed, &point)) ||
	    (!same_rights && !wish->name_count)) {
		begin_snapshot(feed, &point);
		return;
	}
	for (size_t i = 0; i < feed->name_count && same_rights; i++)
		feed->names[i].told = TOLD_SOMETHING;
}

int subscription_open(struct store *store, const struct subscription_wish *wish, struct subscription **ret_feed)
{
	struct subscription *feed = calloc(1, sizeof *feed + wish->name_count * sizeof feed->names[0]);

	if (!feed)
		return ERR_NOMEM;
	feed->store = store;
	feed->told_news = NEVER;
	sse_say(&feed->event, ": silodns\nretry: %d\n\n", RETRY_MS);
	feed->who = wish->who;
	token_ref(feed->who.token);
	feed->name_count = wish->name_count;
	for (size_t i = 0; i < wish->name_count; i++)
		snprintf(feed->names[i].id, sizeof feed->names[i].id, "%s", wish->names[i]);
	begin(feed, wish);
	*ret_feed = feed;
	return ERR_OK;
}

void subscription_close(struct subscription *feed)
{
	if (!feed)
		return;
	sse_release(&feed->event);
	token_unref(feed->who.token);
	free(feed);
}
