/*
 * The address of a network interface, and the local address of a route.
 */
#ifndef SILODNS_UPDATER_NETIF_H
#define SILODNS_UPDATER_NETIF_H

#include "common/net/ipaddr.h"

/*
 * Of several addresses of `family`: a global one before a unique local or private one, then the interface's first for
 * IPv4 (secondary ones come later); for IPv6 never one that is temporary (RFC 8981), deprecated, tentative or a
 * duplicate, then one set by hand before one made from a router's prefix, then the lowest. So the choice stays the same
 * as long as the address does. ERR_DETECT with a reason.
 */
int netif_address(const char *name, int family, struct ipaddr *ret_ip, struct why *ret_why);

/* The local address from which `host` would be reached over `family`; sends nothing. ERR_DETECT with a reason. */
int netif_route_address(const char *host, const char *port, int family, struct ipaddr *ret_ip, struct why *ret_why);

#endif
