/*
 * An address out of what a web service or a command said, as text or as JSON. Pure.
 */
#ifndef SILODNS_UPDATER_EXTRACT_H
#define SILODNS_UPDATER_EXTRACT_H

#include <stddef.h>

#include "common/net/ipaddr.h"

/* The one address of `family` (4 or 6) in `text`. In JSON only the strings count, wherever they stand; elsewhere an
 * address stands between any characters that cannot be part of one. ERR_DETECT: there is none; ERR_DOUBTFUL: there are
 * several different ones. ERR_NOMEM. */
int extract_address(const char *text, size_t len, int family, struct ipaddr *ret_ip, struct why *ret_why);

#endif
