#include "updater/netif.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/cleanup.h"

/* Not /proc/net, which is hidden where /proc shows processes only (systemd's ProcSubset=pid). */
#define INET6_FILE "/proc/self/net/if_inet6"

#define UNUSABLE (IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED)

/* Lower is better; -1: not to be used. */
static int rank_scope(const struct ipaddr *ip)
{
	switch (ipaddr_scope(ip)) {
	case IPADDR_GLOBAL:
		return 0;
	case IPADDR_PRIVATE:
	case IPADDR_CGNAT:
		return 2;
	case IPADDR_LINK_LOCAL:
	case IPADDR_LOOPBACK:
	case IPADDR_UNSPECIFIED:
	case IPADDR_MULTICAST:
	case IPADDR_BROADCAST:
		return -1;
	default: /* documentation and the like: somebody has set it, so let it be seen, and refused by name */
		return 4;
	}
}

struct choice {
	struct ipaddr ip; /* family 0: none */
	int rank;
	unsigned unusable; /* addresses that were passed over */
};

static void choose4(const char *name, struct choice *choice)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return;
	for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
		struct ipaddr ip;
		if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || strcmp(at->ifa_name, name) != 0 ||
		    ipaddr_from_sockaddr(at->ifa_addr, &ip))
			continue;
		int rank = rank_scope(&ip);
		choice->unusable += rank < 0;
		if (rank >= 0 && (!choice->ip.family || rank < choice->rank))
			*choice = (struct choice){ip, rank, choice->unusable};
	}
	freeifaddrs(all);
}

/* One line of if_inet6: address, index, prefix length, scope, flags (their low byte), name. */
static bool parse_inet6(const char *line, const char *name, struct ipaddr *ret_ip, unsigned *ret_flags)
{
	char digits[33], device[64];
	unsigned index, prefix, scope, byte;

	if (sscanf(line, "%32s %x %x %x %x %63s", digits, &index, &prefix, &scope, ret_flags, device) != 6 ||
	    strlen(digits) != 32 || strcmp(device, name) != 0)
		return false;
	*ret_ip = (struct ipaddr){.family = 6};
	for (size_t i = 0; i < 16; i++) {
		if (sscanf(digits + 2 * i, "%2x", &byte) != 1)
			return false;
		ret_ip->bytes[i] = (uint8_t)byte;
	}
	return true;
}

static int choose6(const char *name, struct choice *choice)
{
	_cleanup_fclose_ FILE *file = fopen(INET6_FILE, "re");
	char line[256];
	struct ipaddr ip;
	unsigned flags;

	if (!file)
		return ERR_SYSTEM;
	while (fgets(line, sizeof line, file)) {
		if (!parse_inet6(line, name, &ip, &flags))
			continue;
		int rank = flags & UNUSABLE ? -1 : rank_scope(&ip);
		choice->unusable += rank < 0;
		if (rank < 0)
			continue;
		rank += !(flags & IFA_F_PERMANENT);
		bool better = !choice->ip.family || rank < choice->rank ||
			      (rank == choice->rank && ipaddr_compare(&ip, &choice->ip) < 0);
		if (better)
			*choice = (struct choice){ip, rank, choice->unusable};
	}
	return ERR_OK;
}

int netif_address(const char *name, int family, struct ipaddr *ret_ip, struct why *ret_why)
{
	struct choice choice = {0};

	if (!if_nametoindex(name))
		return why_set(ret_why, ERR_DETECT, "", "there is no interface %.16s", name);
	if (family == 4)
		choose4(name, &choice);
	else if (choose6(name, &choice))
		return why_set(ret_why, ERR_DETECT, "", "this machine tells of no IPv6 addresses: %s: %s", INET6_FILE,
			       strerror(errno));
	if (!choice.ip.family)
		return why_set(ret_why, ERR_DETECT, "",
			       "interface %s has no usable IPv%d address (%u passed over: link-local%s)", name, family,
			       choice.unusable, family == 6 ? ", temporary, deprecated or tentative" : "");
	*ret_ip = choice.ip;
	return ERR_OK;
}

static void free_info(struct addrinfo **info)
{
	if (*info)
		freeaddrinfo(*info);
}

int netif_route_address(const char *host, const char *port, int family, struct ipaddr *ret_ip, struct why *ret_why)
{
	const struct addrinfo hints = {.ai_family = family == 4 ? AF_INET : AF_INET6, .ai_socktype = SOCK_DGRAM};
	_cleanup_(free_info) struct addrinfo *info = NULL;
	struct sockaddr_storage local;
	socklen_t len = sizeof local;
	int failed = getaddrinfo(host, port, &hints, &info);

	if (failed)
		return why_set(ret_why, ERR_DETECT, "", "%s has no IPv%d address: %s", host, family,
			       gai_strerror(failed));
	/* Connecting a datagram socket only looks up the route. */
	_cleanup_close_ int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, info->ai_addr, info->ai_addrlen) ||
	    getsockname(fd, (struct sockaddr *)&local, &len) || ipaddr_from_sockaddr((struct sockaddr *)&local, ret_ip))
		return why_set(ret_why, ERR_DETECT, "", "there is no route to %s over IPv%d: %s", host, family,
			       strerror(errno));
	return ERR_OK;
}
