/*
 * Asks the hub for each silo in turn, with the ETag of what is known, and writes the answers into the silos. It is one
 * way to keep them current, watch is the other; the keeper of the file depends on neither. Logs when a silo or the hub
 * becomes unreadable and when it is well again, not every attempt. One thread.
 */
#ifndef SILODNS_POLLING_H
#define SILODNS_POLLING_H

#include <stdint.h>

#include "common/base/backoff.h"
#include "common/hub/hubclient.h"
#include "hostsync/hublog.h"
#include "hostsync/settings.h"
#include "hostsync/silos.h"

struct polling {
	struct hubclient *client; /* borrowed */
	struct hublog *log;       /* borrowed */
	struct backoff backoff;
	uint32_t interval_ms;
};

struct polling_result {
	int err;          /* the first failure of the round, 0 = every silo was answered for */
	uint32_t wait_ms; /* until the next round */
};

void polling_init(struct polling *polling, const struct settings *settings, struct hubclient *client,
		  struct hublog *log);

struct polling_result polling_round(struct polling *polling, struct silos *silos);

#endif
