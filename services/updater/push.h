/*
 * Brings the hub's silo in line with what was detected: reads it, changes this machine's own records and no others, and
 * puts it back on the condition that nobody changed it meanwhile. The hub is what is compared with, never a memory of
 * one's own: so whatever went wrong before is repaired.
 */
#ifndef SILODNS_UPDATER_PUSH_H
#define SILODNS_UPDATER_PUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf/conf.h"
#include "common/hub/hubclient.h"
#include "common/net/ipaddr.h"

struct push_result {
	bool changed;      /* something was published */
	uint64_t revision; /* of the silo now */
	unsigned attempts; /* conditional PUTs that were sent */
};

/*
 * Each of `hostnames` gets exactly the address ips[i] for each family that is there (family 0: that entry says
 * nothing). Records of a family that is not there stay as they are. A silo that does not exist is created.
 * ERR_PRECONDITION: others kept being faster. Else as hubclient.h; `ret_why` says what happened.
 */
int push_publish(struct hubclient *hub, const char *silo, const struct conf_list *hostnames, const struct ipaddr ips[2],
		 bool (*stopped)(void), struct push_result *ret_result, struct why *ret_why);

/* The silo as it is to be; pure. `ret_wanted` is to be released. ERR_NOMEM, ERR_TOO_LARGE. */
int push_plan(const struct silo *now, const struct conf_list *hostnames, const struct ipaddr ips[2],
	      struct silo *ret_wanted);

#endif
