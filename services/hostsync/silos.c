#include "hostsync/silos.h"

#include <stdlib.h>
#include <string.h>

static struct silo_state *find_silo(struct silos *silos, const char *id)
{
	for (size_t i = 0; i < silos->count; i++)
		if (strcmp(silos->items[i].silo.id, id) == 0)
			return &silos->items[i];
	return NULL;
}

int silos_init(struct silos *silos, const struct conf_list *ids)
{
	*silos = (struct silos){.items = calloc(ids->count + 1, sizeof(struct silo_state))};
	if (!silos->items)
		return ERR_NOMEM;
	for (size_t i = 0; i < ids->count; i++)
		if (!find_silo(silos, ids->items[i]))
			snprintf(silos->items[silos->count++].silo.id, sizeof(silos->items->silo.id), "%s",
				 ids->items[i]);
	return 0;
}

void silos_release(struct silos *silos)
{
	if (!silos)
		return;
	for (size_t i = 0; i < silos->count; i++)
		silo_release(&silos->items[i].silo);
	free(silos->items);
	*silos = (struct silos){0};
}

static void replace_records(struct silo *to, struct silo *from)
{
	memcpy(from->id, to->id, sizeof(from->id));
	silo_release(to);
	*to = *from;
	*from = (struct silo){0};
}

void silos_take(struct silo_state *state, struct silo *silo, const char *etag)
{
	replace_records(&state->silo, silo);
	snprintf(state->etag, sizeof(state->etag), "%s", etag);
	state->revision = hubclient_etag_revision(etag);
	state->origin = SILO_FROM_HUB;
	state->announced = false;
}

void silos_gone(struct silo_state *state)
{
	struct silo empty = {0};
	replace_records(&state->silo, &empty);
	state->etag[0] = '\0';
	state->revision = 0;
	state->origin = SILO_GONE;
}

int silos_adopt(struct silos *silos, const struct hostsfile_parts *parts)
{
	for (size_t i = 0; i < parts->count; i++) {
		const struct silo *part = &parts->items[i];
		struct silo_state *state = find_silo(silos, part->id);
		struct silo copy = {0};
		int err = 0;
		if (!state || state->origin != SILO_UNKNOWN)
			continue;
		for (size_t r = 0; r < part->count && err == 0; r++)
			err = silo_add(&copy, part->records[r].hostname, &part->records[r].ip);
		if (err == 0) {
			replace_records(&state->silo, &copy);
			state->origin = SILO_FROM_FILE;
		}
		silo_release(&copy);
		if (err < 0)
			return err;
	}
	return 0;
}

bool silo_known(const struct silo_state *state)
{
	return state->origin == SILO_FROM_FILE || state->origin == SILO_FROM_HUB;
}

uint64_t silos_revision(const struct silos *silos)
{
	uint64_t highest = 0;
	for (size_t i = 0; i < silos->count; i++)
		if (silos->items[i].revision > highest)
			highest = silos->items[i].revision;
	return highest;
}
