/*
 * How many connections each address has (IPv6: each /64). Memory for the addresses that have some, and only while they
 * do. Thread-safe.
 */
#ifndef SILODNS_API_HTTP_PEERCOUNT_H
#define SILODNS_API_HTTP_PEERCOUNT_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/net/ipaddr.h"

struct peercount;

int peercount_new(unsigned max, struct peercount **ret_count); /* ERR_NOMEM */
void peercount_free(struct peercount *count);

/* One more; false (and none more): it has `max` already, or there is no memory. */
bool peercount_add(struct peercount *count, const struct ipaddr *address);
/* One less, of those that were added. */
void peercount_drop(struct peercount *count, const struct ipaddr *address);

#endif
