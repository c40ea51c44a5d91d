/*
 * What is told of the hub, and of each silo: once when it begins to fail and once when it is well again, not at every
 * attempt; the same whichever way the hub is asked (polling, watch). One thread.
 */
#ifndef SILODNS_HUBLOG_H
#define SILODNS_HUBLOG_H

#include "common/hub/hubclient.h"
#include "hostsync/silos.h"

struct hublog {
	bool away; /* and this has been told */
};

/* Failures of the hub as a whole: asking it for something else would only wait for the same. */
bool hublog_is_away(int err);

/* After an attempt to reach the hub; `err` 0 or one of the above. `attempts`: failed ones before this one. */
void hublog_hub(struct hublog *log, int err, const struct hubclient_failure *failure, uint32_t attempts);

/* The outcome of reading one silo, which becomes the silo's `err`. Call before silos_gone(). */
void hublog_silo(struct silo_state *state, int err, const struct hubclient_failure *failure);

#endif
