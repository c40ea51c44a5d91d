/*
 * Asks the hub for each silo in turn, with the ETag of what is known, and writes the answers into the silos. It is one
 * way to keep them current; the loop that calls it (follow) and the keeper of the file do not depend on it. Logs when a
 * silo or the hub becomes unreadable and when it is well again, not every attempt. One thread.
 */
#ifndef SILODNS_POLL_H
#define SILODNS_POLL_H

#include <stdint.h>

#include "backoff.h"
#include "hubclient.h"
#include "settings.h"
#include "silos.h"

struct poll {
	struct hubclient *client; /* owned */
	struct backoff backoff;
	uint32_t interval_ms;
	bool away; /* and this has been logged */
};

struct poll_result {
	int err;          /* the first failure of the round, 0 = every silo was answered for */
	uint32_t wait_ms; /* until the next round */
};

/* ERR_INVALID with a reason: the URL, or credentials over plain http. */
int poll_open(const struct settings *settings, struct poll *ret_poll, struct why *ret_why);
void poll_close(struct poll *poll);

struct poll_result poll_round(struct poll *poll, struct silos *silos);

#endif
