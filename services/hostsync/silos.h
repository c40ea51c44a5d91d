/*
 * What hostsync knows of each silo that it was told to follow, in the configured order. Whoever reads the hub (polling,
 * watch) writes it, the keeper of the file reads it; a silo that could not be read keeps its last good state. One
 * thread.
 */
#ifndef SILODNS_SILOS_H
#define SILODNS_SILOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf/conf.h"
#include "common/hub/hubclient.h"
#include "common/hub/silo.h"
#include "hostsync/hostsfile.h"

enum silo_origin {
	SILO_UNKNOWN,   /* nothing is known: it has no part in the block */
	SILO_FROM_FILE, /* the part that the block already had when hostsync started */
	SILO_FROM_HUB,
	SILO_GONE /* the hub said that there is no such silo: it has no part in the block */
};

struct silo_state {
	struct silo silo; /* owned; its id is always set */
	enum silo_origin origin;
	char etag[ETAG_MAX]; /* "" unless SILO_FROM_HUB */
	uint64_t revision;   /* as above, 0 */
	bool announced;      /* this revision has been logged as applied */
	int err;             /* of the last attempt to read it */
};

struct silos {
	struct silo_state *items; /* owned */
	size_t count;
};

/* One state per id, repeated ids once. ERR_NOMEM. */
int silos_init(struct silos *silos, const struct conf_list *ids);
void silos_release(struct silos *silos);

/* Takes over a silo that the hub answered with. */
void silos_take(struct silo_state *state, struct silo *silo, const char *etag);
void silos_gone(struct silo_state *state);
/* Copies from the file what the hub has not told yet. ERR_NOMEM. */
int silos_adopt(struct silos *silos, const struct hostsfile_parts *parts);

bool silo_known(const struct silo_state *state);    /* has a part in the block, empty though it may be */
uint64_t silos_revision(const struct silos *silos); /* the highest */

#endif
