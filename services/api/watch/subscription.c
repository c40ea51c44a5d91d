#include "api/watch/subscription.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/watch/sse.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define RETRY_MS 2000 /* after how long to come back when a stream breaks off */
#define EVENTS_MAX 16 /* taken from the store in one go */

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
		uint64_t since, confirmations, replaced;
	} ahead;
	uint64_t known;   /* everything up to this revision is told */
	uint64_t base;    /* the watcher knows of no silo that was gone by then */
	uint64_t told_id; /* the `id` that was last written */
	bool snapshot;    /* everything is being told, from revision 0: no `id` before its end, so that who is cut off
			     begins anew */
	char identity[HUB_IDENTITY_LEN + 1];
	bool greeted, reset_due, synced, beat, over;
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
	sse_say_text(&feed->event, "id: ");
	sse_say_number(&feed->event, revision);
	sse_say_text(&feed->event, "\n");
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
static bool is_hidden(const struct subscription *feed, const char *id, const struct store_event *event)
{
	return !token_covers_silo(feed->who.token, id) ||
	       (event->body && feed->who.role != ROLE_ADMIN && event->owner != feed->who.user_id);
}

/* --- all silos of an owner ---------------------------------------------------------------------------------------- */

uint32_t subscription_owner(const struct subscription *feed)
{
	return feed->who.role == ROLE_ADMIN ? 0 : feed->who.user_id;
}

static void say_event_take(struct subscription *feed, struct store_event *event)
{
	feed->known = event->revision;
	if (event->body) {
		say_id(feed, event->revision);
		sse_say_silo_take(&feed->event, TAKE_PTR(event->body));
		return;
	}
	/* What was gone before a snapshot began, its reader never had. Who sees all silos sees none change hands. */
	if (event->revision <= feed->base || (!subscription_owner(feed) && !event->deleted))
		return;
	say_id(feed, event->revision);
	say_absent(feed, event->exists ? "forbidden" : "deleted", event->id, event->revision);
}

/* True when everything up to the store's revision is told and written. */
static bool tell_order(struct subscription *feed, char *to, size_t max, size_t *used)
{
	struct store_event events[EVENTS_MAX];
	struct store_point point;
	size_t count = store_since(feed->store, subscription_owner(feed), feed->known, events, EVENTS_MAX, &point);
	bool room = true;

	for (size_t i = 0; i < count && room; i++) {
		say_event_take(feed, &events[i]);
		room = sse_write(&feed->event, to, max, used);
	}
	if (room && count < EVENTS_MAX && feed->known < point.revision)
		feed->known = point.revision;
	for (size_t i = 0; i < count; i++)
		document_unref(events[i].body);
	return room && count < EVENTS_MAX;
}

/* --- named silos -------------------------------------------------------------------------------------------------- */

struct look {
	struct store_event event;
	struct subscription_name *name;
};

static int compare_look(const void *a, const void *b)
{
	const struct look *x = a, *y = b;

	return x->event.revision < y->event.revision ? -1 : x->event.revision > y->event.revision;
}

static bool is_news(const struct subscription *feed, const struct subscription_name *name,
		    const struct store_event *event)
{
	if (is_hidden(feed, name->id, event))
		return name->told != TOLD_FORBIDDEN;
	return name->told != TOLD_SOMETHING || event->revision > feed->known;
}

static void say_look_take(struct subscription *feed, struct look *look)
{
	struct store_event *event = &look->event;

	say_id(feed, event->revision);
	if (feed->known < event->revision)
		feed->known = event->revision;
	look->name->told = TOLD_SOMETHING;
	if (is_hidden(feed, look->name->id, event)) {
		look->name->told = TOLD_FORBIDDEN;
		say_absent(feed, "forbidden", look->name->id, event->revision);
	} else if (event->body) {
		sse_say_silo_take(&feed->event, TAKE_PTR(event->body));
	} else {
		say_absent(feed, "deleted", look->name->id, event->revision);
	}
}

/* All that is new of the named silos up to the store's revision, in the order of revisions. What changes while they are
 * looked at is left for the next time: its revision is higher. */
static bool tell_names(struct subscription *feed, char *to, size_t max, size_t *used)
{
	struct look looks[FEED_NAMES_MAX];
	const struct store_point point = store_point(feed->store);
	size_t count = 0;
	bool room = true, more = false;

	for (size_t i = 0; i < feed->name_count; i++) {
		struct look *look = &looks[count];
		*look = (struct look){store_look(feed->store, feed->names[i].id), &feed->names[i]};
		if (look->event.revision <= point.revision && is_news(feed, look->name, &look->event))
			count++;
		else
			document_unref(look->event.body);
		more |= look->event.revision > point.revision;
	}
	if (count > 1)
		qsort(looks, count, sizeof looks[0], compare_look);
	for (size_t i = 0; i < count; i++) {
		if (room) {
			say_look_take(feed, &looks[i]);
			room = sse_write(&feed->event, to, max, used);
		}
		document_unref(looks[i].event.body);
	}
	if (room && feed->known < point.revision)
		feed->known = point.revision;
	return room && !more;
}

/* --- where the stream stands -------------------------------------------------------------------------------------- */

static void begin_snapshot(struct subscription *feed, const struct store_point *point)
{
	feed->known = feed->told_id = 0;
	feed->base = point->revision;
	feed->snapshot = true;
	feed->synced = false;
	for (size_t i = 0; i < feed->name_count; i++)
		feed->names[i].told = UNTOLD;
}

static bool can_continue(const struct subscription *feed, const struct store_point *point)
{
	uint64_t safe = feed->known > feed->base ? feed->known : feed->base;

	return strcmp(point->identity, feed->identity) == 0 && safe <= point->revision && safe >= point->forgotten;
}

bool subscription_is_ahead(const struct subscription *feed)
{
	if (!feed->ahead.since || store_confirmations(feed->store) >= feed->ahead.confirmations)
		return false;
	const struct store_point point = store_point(feed->store);
	return point.revision < feed->ahead.since && point.replaced == feed->ahead.replaced;
}

/* The store has been loaded anew, or has moved on so far that it does not remember. */
static void check_continuity(struct subscription *feed)
{
	const struct store_point point = store_point(feed->store);

	if (can_continue(feed, &point))
		return;
	memcpy(feed->identity, point.identity, sizeof feed->identity);
	begin_snapshot(feed, &point);
	feed->reset_due = true;
}

/* A token that was revoked or has expired ends the stream. While it goes on, the token is in use. */
static bool is_token_good(const struct subscription *feed)
{
	struct token *token = feed->who.token;
	int64_t now_us = token ? clock_wall_us() : 0;

	if (!token)
		return true;
	token_touch(token, now_us);
	return store_has_token(feed->store, token) && (!token->expires_us || now_us < token->expires_us);
}

/* Any change of the user ends the stream: what the user may see now is found out by coming back. */
static bool is_same_user(const struct subscription *feed)
{
	struct user user;

	return store_user_by_id(feed->store, feed->who.user_id, &user) == ERR_OK &&
	       user.revision == feed->who.user_revision && is_token_good(feed);
}

/* One thing to say beside silos; false: nothing. */
static bool say_other(struct subscription *feed)
{
	if (!feed->greeted) {
		feed->greeted = true;
		sse_say(&feed->event, ": silodns\nretry: %d\n\n", RETRY_MS);
	} else if (feed->farewell_ms) {
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

/* All that there is to tell at this moment. True: it is told and written. */
static bool tell(struct subscription *feed, char *to, size_t max, size_t *used)
{
	return feed->name_count ? tell_names(feed, to, max, used) : tell_order(feed, to, max, used);
}

size_t subscription_read(struct subscription *feed, char *ret_data, size_t max)
{
	size_t used = 0;

	while (sse_write(&feed->event, ret_data, max, &used) && !feed->over) {
		if (!is_same_user(feed)) {
			feed->over = true;
			break;
		}
		bool ahead = subscription_is_ahead(feed);
		if (!ahead)
			check_continuity(feed);
		if (say_other(feed))
			continue;
		if (ahead ? !say_beat(feed) : tell(feed, ret_data, max, &used) && !say_caught_up(feed))
			break;
	}
	return used;
}

void subscription_beat(struct subscription *feed)
{
	feed->beat = true;
}

void subscription_bid_farewell(struct subscription *feed, uint32_t retry_ms)
{
	feed->farewell_ms = retry_ms ? retry_ms : 1;
}

bool subscription_is_over(const struct subscription *feed)
{
	return feed->over && sse_is_written(&feed->event);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Continues from `wish->since`, or begins with everything. */
static void begin(struct subscription *feed, const struct subscription_wish *wish)
{
	const struct store_point point = store_point(feed->store);
	bool same_rights = wish->who.user_revision <= wish->since,
	     same_hub = !wish->hub || strcmp(wish->hub, point.identity) == 0;

	memcpy(feed->identity, point.identity, sizeof feed->identity);
	begin_snapshot(feed, &point);
	if (!wish->has_since)
		return;
	feed->known = feed->base = feed->told_id = wish->since;
	feed->snapshot = false;
	if (same_hub && wish->since > point.revision) {
		feed->ahead.since = wish->since;
		feed->ahead.confirmations = store_confirmations(feed->store) + 2;
		feed->ahead.replaced = point.replaced;
	}
	if (!wish->since || !same_hub || (!feed->ahead.since && !can_continue(feed, &point)) ||
	    (!same_rights && !wish->name_count)) {
		begin_snapshot(feed, &point);
		feed->reset_due = true;
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
