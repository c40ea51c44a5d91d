#include "api/store/flapping.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define WAYS 8 /* slots in which a name may stand */
#define DIFFERENCES (2 * FLAPPING_CHANGED_MAX)

/* The newest changes of one name's address between the same two. */
struct slot {
	uint64_t name; /* hash; 0: free */
	uint32_t pair; /* hash of both addresses, whichever is first */
	uint32_t at_s[FLAPPING_FLIPS];
};

struct flapping {
	unsigned char key[crypto_shorthash_KEYBYTES];
	struct slot *slots; /* the writer's alone */

	pthread_mutex_t lock; /* guards all below */
	size_t count;
	struct flapping_name names[FLAPPING_MAX];
};

struct flapping *flapping_new(void)
{
	struct flapping *flapping = calloc(1, sizeof *flapping);

	if (!flapping)
		return NULL;
	flapping->slots = calloc(FLAPPING_SLOTS, sizeof flapping->slots[0]);
	if (!flapping->slots) {
		free(flapping);
		return NULL;
	}
	crypto_shorthash_keygen(flapping->key);
	pthread_mutex_init(&flapping->lock, NULL);
	return flapping;
}

void flapping_free(struct flapping *flapping)
{
	if (!flapping)
		return;
	pthread_mutex_destroy(&flapping->lock);
	free(flapping->slots);
	free(flapping);
}

/* --- which addresses have changed --------------------------------------------------------------------------------- */

/* Of two canonical documents of one silo, the records between those that are the same at the beginning and at the end:
 * of ten thousand, mostly one. */
struct stretch {
	size_t from, ends[2];
};

static bool find_stretch(const struct document *const sides[static 2], struct stretch *ret_stretch)
{
	const char *a = sides[0]->json, *b = sides[1]->json, *list = strchr(a, '[');
	size_t first = list ? (size_t)(list - a) + 1 : 0, from = first, end[2] = {sides[0]->len, sides[1]->len};

	if (!list || end[1] < first || memcmp(a, b, first) != 0)
		return false;
	while (from < end[0] && from < end[1] && a[from] == b[from])
		from++;
	while (from > first && !(a[from] == '{' && b[from] == '{'))
		from--;
	while (end[0] > from && end[1] > from && a[end[0] - 1] == b[end[1] - 1])
		end[0]--, end[1]--;
	while (end[0] + 2 < sides[0]->len && !(a[end[0] - 1] == '}' && b[end[1] - 1] == '}' && a[end[0]] == ','))
		end[0]++, end[1]++;
	*ret_stretch = (struct stretch){from, {end[0], end[1]}};
	return end[0] >= from && end[1] >= from;
}

static bool read_stretch(const char *json, size_t from, size_t end, struct silo *ret_silo)
{
	static const char head[] = "{\"id\":\"x\",\"dnsrecords\":[", tail[] = "]}";
	_cleanup_free_ char *text = malloc(sizeof head + sizeof tail + (end - from));

	if (!text)
		return false;
	memcpy(text, head, sizeof head - 1);
	memcpy(text + sizeof head - 1, json + from, end - from);
	memcpy(text + sizeof head - 1 + (end - from), tail, sizeof tail);
	return silo_read_canonical(text, strlen(text), ret_silo) == ERR_OK;
}

struct differences {
	struct {
		const struct record *record;
		bool removed;
	} items[DIFFERENCES];
	size_t count;
};

static int add_difference(void *arg, const struct record *record, bool removed)
{
	struct differences *differences = arg;

	if (differences->count == DIFFERENCES)
		return ERR_TOO_LARGE;
	differences->items[differences->count].record = record;
	differences->items[differences->count++].removed = removed;
	return ERR_OK;
}

/* The address that stands where `from` stood, if the name had this one and has that one; NULL: it is no such change. */
static const struct record *successor(const struct differences *differences, const struct record *from)
{
	const struct record *to = NULL;
	size_t removed = 0, added = 0;

	for (size_t i = 0; i < differences->count; i++) {
		const struct record *other = differences->items[i].record;
		if (other->ip.family != from->ip.family || strcmp(other->hostname, from->hostname) != 0)
			continue;
		removed += differences->items[i].removed;
		added += !differences->items[i].removed;
		if (!differences->items[i].removed)
			to = other;
	}
	return removed == 1 && added == 1 ? to : NULL;
}

/* --- names that are fought over: with the lock held --------------------------------------------------------------- */

static void say(enum log_level level, const char *message, const struct flapping_name *name)
{
	const struct flapping_side *a = &name->sides[0], *b = &name->sides[1];
	const struct log_field fields[] = {
		LOG_STR("silo", name->silo),
		LOG_STR("hostname", name->hostname),
		LOG_STR("ip", IPADDR_TEXT(&a->ip)),
		LOG_STR("user", a->user),
		LOG_STR("peer", IPADDR_TEXT(&a->peer)),
		LOG_STR("other_ip", IPADDR_TEXT(&b->ip)),
		LOG_STR("other_user", b->user),
		LOG_STR("other_peer", IPADDR_TEXT(&b->peer)),
		LOG_U64("changes", name->flips),
	};

	log_write(level, message, fields, sizeof fields / sizeof fields[0]);
}

static struct flapping_name *find_name(struct flapping *flapping, const char *silo, const char *hostname,
				       const struct ipaddr *a, const struct ipaddr *b)
{
	for (size_t i = 0; i < flapping->count; i++) {
		struct flapping_name *name = &flapping->names[i];
		if (ipaddr_compare(&name->sides[0].ip, a) == 0 && ipaddr_compare(&name->sides[1].ip, b) == 0 &&
		    strcmp(name->silo, silo) == 0 && strcmp(name->hostname, hostname) == 0)
			return name;
	}
	return NULL;
}

/* Where a new one has room: at the end, or in place of the one that rests longest. */
static struct flapping_name *room_for_name(struct flapping *flapping)
{
	struct flapping_name *oldest = &flapping->names[0];

	if (flapping->count < FLAPPING_MAX)
		return &flapping->names[flapping->count++];
	for (size_t i = 1; i < FLAPPING_MAX; i++)
		if (flapping->names[i].last_ms < oldest->last_ms)
			oldest = &flapping->names[i];
	return oldest;
}

static void note_flip(struct flapping *flapping, const struct change *change, const struct record *from,
		      const struct record *to, bool fought, int64_t now_ms)
{
	const struct record *low = ipaddr_compare(&from->ip, &to->ip) < 0 ? from : to, *high = low == from ? to : from;
	struct flapping_name *name = find_name(flapping, change->subject, to->hostname, &low->ip, &high->ip);
	bool is_new = !name;

	if (is_new && !fought)
		return;
	if (is_new) {
		name = room_for_name(flapping);
		*name = (struct flapping_name){.flips = FLAPPING_FLIPS - 1, .since_us = clock_wall_us()};
		snprintf(name->silo, sizeof name->silo, "%.*s", SILO_ID_MAX, change->subject);
		snprintf(name->hostname, sizeof name->hostname, "%s", to->hostname);
		name->sides[0].ip = low->ip;
		name->sides[1].ip = high->ip;
	}
	struct flapping_side *side = &name->sides[to == high];
	side->at_us = clock_wall_us();
	side->peer = change->peer;
	snprintf(side->user, sizeof side->user, "%s", change->actor.name);
	name->flips++;
	name->last_ms = now_ms;
	if (is_new || now_ms - name->said_ms >= FLAPPING_REPEAT_MS) {
		name->said_ms = now_ms;
		say(LOG_LEVEL_WARN, "a name goes back and forth between two addresses: do two machines report it?",
		    name);
	}
}

void flapping_sweep(struct flapping *flapping, int64_t now_ms)
{
	pthread_mutex_lock(&flapping->lock);
	for (size_t i = 0; i < flapping->count; i++) {
		if (now_ms - flapping->names[i].last_ms < FLAPPING_WINDOW_MS)
			continue;
		say(LOG_LEVEL_INFO, "a name is at rest again", &flapping->names[i]);
		flapping->names[i--] = flapping->names[--flapping->count];
	}
	pthread_mutex_unlock(&flapping->lock);
}

/* --- changes as they come ----------------------------------------------------------------------------------------- */

static uint64_t hash(const struct flapping *flapping, const void *data, size_t len)
{
	uint64_t value;

	crypto_shorthash_siphash24((unsigned char *)&value, data, len, flapping->key);
	return value ? value : 1;
}

/* Whether this was the third time within the window. */
static bool count_flip(struct flapping *flapping, const char *silo, const struct record *from, const struct record *to,
		       int64_t now_ms)
{
	char text[SILO_ID_MAX + HOSTNAME_LEN_MAX + 3];

	snprintf(text, sizeof text, "%c%s %s", '0' + from->ip.family, silo, from->hostname);
	uint64_t name = hash(flapping, text, strlen(text));
	uint32_t pair = (uint32_t)(hash(flapping, &from->ip, sizeof from->ip) ^ hash(flapping, &to->ip, sizeof to->ip));
	uint32_t now_s = (uint32_t)(now_ms / 1000) + 1;
	struct slot *set = &flapping->slots[name % (FLAPPING_SLOTS / WAYS) * WAYS], *slot = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].name == name) {
			slot = &set[i];
			break;
		}
		if (set[i].at_s[0] < slot->at_s[0]) /* free, or at rest for longest */
			slot = &set[i];
	}
	if (slot->name != name || slot->pair != pair)
		*slot = (struct slot){.name = name, .pair = pair};
	memmove(slot->at_s + 1, slot->at_s, sizeof slot->at_s - sizeof slot->at_s[0]);
	slot->at_s[0] = now_s;
	uint32_t third = slot->at_s[FLAPPING_FLIPS - 1];
	return third && now_s - third <= FLAPPING_WINDOW_MS / 1000;
}

void flapping_note(struct flapping *flapping, const struct document *former, const struct change *change,
		   int64_t now_ms)
{
	_cleanup_(silo_release) struct silo before = {0};
	_cleanup_(silo_release) struct silo after = {0};
	const struct document *const sides[2] = {former, change->document};
	struct differences differences = {.count = 0};
	struct stretch stretch;

	/* (What is no canonical text was not written by a hub: it is left alone.) */
	if (!find_stretch(sides, &stretch) || !read_stretch(former->json, stretch.from, stretch.ends[0], &before) ||
	    !read_stretch(change->document->json, stretch.from, stretch.ends[1], &after) ||
	    silo_diff(&before, &after, add_difference, &differences))
		return;
	for (size_t i = 0; i < differences.count; i++) {
		const struct record *from = differences.items[i].record;
		const struct record *to = differences.items[i].removed ? successor(&differences, from) : NULL;
		if (!to)
			continue;
		bool fought = count_flip(flapping, change->subject, from, to, now_ms);
		pthread_mutex_lock(&flapping->lock);
		note_flip(flapping, change, from, to, fought, now_ms);
		pthread_mutex_unlock(&flapping->lock);
	}
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

size_t flapping_count(struct flapping *flapping)
{
	pthread_mutex_lock(&flapping->lock);
	size_t count = flapping->count;
	pthread_mutex_unlock(&flapping->lock);
	return count;
}

size_t flapping_list(struct flapping *flapping, const char *silo, struct flapping_name *ret_names, size_t max)
{
	size_t count = 0;

	pthread_mutex_lock(&flapping->lock);
	for (size_t i = 0; i < flapping->count && count < max; i++)
		if (!silo || strcmp(flapping->names[i].silo, silo) == 0)
			ret_names[count++] = flapping->names[i];
	pthread_mutex_unlock(&flapping->lock);
	return count;
}
