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
	struct slot slots[FLAPPING_SLOTS]; /* the writer's alone */

	pthread_mutex_t lock; /* guards all below */
	size_t count;
	struct flapping_name names[FLAPPING_MAX];
};

struct flapping *flapping_new(void)
{
	struct flapping *flapping = calloc(1, sizeof *flapping);

	if (!flapping)
		return NULL;
	crypto_shorthash_keygen(flapping->key);
	pthread_mutex_init(&flapping->lock, NULL);
	return flapping;
}

void flapping_free(struct flapping *flapping)
{
	if (!flapping)
		return;
	pthread_mutex_destroy(&flapping->lock);
	free(flapping);
}

/* --- names that are fought over ----------------------------------------------------------------------------------- */

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
	struct slot *set = &flapping->slots[name % (FLAPPING_SLOTS / WAYS) * WAYS], *slot = set;

	for (struct slot *other = set; other < set + WAYS && slot->name != name; other++)
		if (other->name == name || other->at_s[0] < slot->at_s[0]) /* free, or at rest for longest */
			slot = other;
	if (slot->name != name || slot->pair != pair)
		*slot = (struct slot){.name = name, .pair = pair};
	memmove(slot->at_s + 1, slot->at_s, sizeof slot->at_s - sizeof slot->at_s[0]);
	slot->at_s[0] = now_s;
	uint32_t third = slot->at_s[FLAPPING_FLIPS - 1];
	return third && now_s - third <= FLAPPING_WINDOW_MS / 1000;
}

/* Where a new one has room: at the end, or in place of the one that rests longest. */
static struct flapping_name *add_name(struct flapping *flapping, const char *silo, const struct record *low,
				      const struct record *high, int64_t now_ms)
{
	struct flapping_name *name = &flapping->names[0];

	if (flapping->count < FLAPPING_MAX)
		name = &flapping->names[flapping->count++];
	else
		for (size_t i = 1; i < FLAPPING_MAX; i++)
			if (flapping->names[i].last_ms < name->last_ms)
				name = &flapping->names[i];
	*name = (struct flapping_name){.sides = {{.ip = low->ip}, {.ip = high->ip}},
				       .flips = FLAPPING_FLIPS - 1,
				       .since_us = clock_wall_us(),
				       .said_ms = now_ms - FLAPPING_REPEAT_MS};
	snprintf(name->silo, sizeof name->silo, "%.*s", SILO_ID_MAX, silo);
	snprintf(name->hostname, sizeof name->hostname, "%s", low->hostname);
	return name;
}

static void note_flip(struct flapping *flapping, const struct change *change, const struct record *from,
		      const struct record *to, int64_t now_ms)
{
	bool fought = count_flip(flapping, change->subject, from, to, now_ms),
	     up = ipaddr_compare(&from->ip, &to->ip) < 0;
	const struct record *low = up ? from : to, *high = up ? to : from;

	pthread_mutex_lock(&flapping->lock);
	struct flapping_name *name = find_name(flapping, change->subject, to->hostname, &low->ip, &high->ip);
	if (!name && fought)
		name = add_name(flapping, change->subject, low, high, now_ms);
	if (name) {
		struct flapping_side *side = &name->sides[up];
		side->at_us = clock_wall_us();
		side->peer = change->peer;
		snprintf(side->user, sizeof side->user, "%s", change->actor.name);
		name->flips++;
		name->last_ms = now_ms;
	}
	if (name && now_ms - name->said_ms >= FLAPPING_REPEAT_MS) {
		name->said_ms = now_ms;
		say(LOG_LEVEL_WARN, "a name goes back and forth between two addresses: do two machines report it?",
		    name);
	}
	pthread_mutex_unlock(&flapping->lock);
}

/* What has changed, by hostname and family. */
struct differences {
	struct {
		const struct record *came, *went; /* the last of each */
		size_t came_count, went_count;
	} names[DIFFERENCES];
	size_t name_count, record_count;
};

/* A silo_diff_fn: comes in the order of hostname and family. */
static int add_difference(void *arg, const struct record *record, bool removed)
{
	struct differences *differences = arg;
	size_t i = differences->name_count - (differences->name_count > 0);
	const struct record *last =
		differences->names[i].came ? differences->names[i].came : differences->names[i].went;

	if (differences->record_count++ == DIFFERENCES)
		return ERR_TOO_LARGE;
	if (!last || last->ip.family != record->ip.family || strcmp(last->hostname, record->hostname) != 0)
		i = differences->name_count++;
	*(removed ? &differences->names[i].went : &differences->names[i].came) = record;
	differences->names[i].went_count += removed;
	differences->names[i].came_count += !removed;
	return ERR_OK;
}

void flapping_note(struct flapping *flapping, const struct document *former, const struct change *change,
		   int64_t now_ms)
{
	_cleanup_(silo_release) struct silo before = {0};
	_cleanup_(silo_release) struct silo after = {0};
	struct differences differences = {.name_count = 0};

	if (document_read_difference(former, change->document, &before, &after) ||
	    silo_diff(&before, &after, add_difference, &differences))
		return;
	for (size_t i = 0; i < differences.name_count; i++)
		if (differences.names[i].went_count == 1 && differences.names[i].came_count == 1)
			note_flip(flapping, change, differences.names[i].went, differences.names[i].came, now_ms);
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
