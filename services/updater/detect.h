/*
 * Which address does this machine have? A text names the sources to ask; the table in detect.c knows them. What cannot
 * be told for sure is not told at all.
 */
#ifndef SILODNS_UPDATER_DETECT_H
#define SILODNS_UPDATER_DETECT_H

#include <stdbool.h>

#include "common/hub/hubclient.h"
#include "common/net/ipaddr.h"

struct detect_settings {
	struct hubclient *hub; /* for server and socket */
	bool allow_private;
	long timeout_ms; /* of a request to a url, and of a command */
	bool (*stopped)(void);
};

/* For the table of settings: is `text` a list of sources? */
int detect_check(const char *text, struct why *ret_why);
bool detect_is_off(const char *text);

/*
 * Asks every source that `text` names for the address of `family` (4 or 6). ERR_DETECT: none answered. ERR_DOUBTFUL:
 * they disagree, or the address must not be published. ERR_STOPPED. Always with a sentence.
 */
int detect_address(const struct detect_settings *settings, const char *text, int family, struct ipaddr *ret_ip,
		   struct why *ret_why);

/* May this address be published? ERR_DOUBTFUL and why not. */
int detect_judge(const struct ipaddr *ip, bool allow_private, struct why *ret_why);

#endif
