/*
 * What this system may ask: an http:// or https:// URL with a host and without credentials. Plain value, thread-safe.
 */
#ifndef SILODNS_NET_URL_H
#define SILODNS_NET_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct url {
	bool https;
	bool loopback;  /* "localhost", 127/8 or ::1: what is sent there does not leave the machine */
	bool has_query; /* or a fragment */
	char host[256]; /* IPv6 without brackets */
	char port[8];   /* the scheme's when none is given */
};

/* ERR_INVALID with a reason (which does not repeat the URL: somebody may have written a password into it). */
int url_parse(const char *text, struct url *ret_url, struct why *ret_why);

/* How many bytes of a URL may stand in a log: its query may hold a key. */
size_t url_shown_len(const char *text);

#endif
