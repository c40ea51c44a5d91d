/*
 * Which names the hub may set on this machine. The hub is not trusted with the machine: localhost and its kin, the
 * machine's own names, what the operator denies and what lies outside the allowed suffixes stay as they are, whatever
 * the hub says. Addresses are not judged beyond what silo.h refuses; loopback and private ones are legitimate answers.
 *
 * Borrows the lists of the settings. Read-only after policy_init(), except for policy_own_line().
 */
#ifndef SILODNS_POLICY_H
#define SILODNS_POLICY_H

#include <stdbool.h>

#include "common/conf/conf.h"
#include "common/net/hostname.h"
#include "hostsync/hostsfile.h"

#define POLICY_OWN_MAX 32

struct policy {
	const struct conf_list *wanted, *deny, *allow_suffixes; /* in lower case */
	char own[POLICY_OWN_MAX][HOSTNAME_LEN_MAX + 1];         /* the machine's own names, lower case */
	size_t own_count;
};

/* Why a record of the hub is, or is not, in the block. */
enum verdict {
	VERDICT_SET,
	VERDICT_NOT_WANTED, /* SILODNS_HOSTNAMES does not ask for it: no reason to speak about */
	VERDICT_RESERVED,
	VERDICT_OWN_NAME,
	VERDICT_DENIED,
	VERDICT_NOT_ALLOWED,
	VERDICT_OTHER_SILO,
	VERDICT_OUTSIDE_BLOCK,
	VERDICT_COUNT_
};

const char *verdict_reason(enum verdict verdict); /* one sentence */

/*
 * The machine's own names: gethostname(), its first label, both with each search domain of the resolver, and the name
 * in the file "hostname" beside the hosts file: a container that keeps the host's file has another hostname than the
 * host.
 */
void policy_init(struct policy *policy, const struct conf_list *wanted, const struct conf_list *deny,
		 const struct conf_list *allow_suffixes, const char *hosts_file);

/* `hostname` in lower case. Only the verdicts up to VERDICT_NOT_ALLOWED. */
enum verdict policy_judge(const struct policy *policy, const char *hostname);

/* True if this line of the hosts file names the machine itself (one of its own names stands there, or it is Debian's
 * 127.0.1.1): then its other names are the machine's as well. */
bool policy_own_line(const struct policy *policy, const struct hostsfile_line *line);

/* For the settings' tables: a hostname or suffix, a leading dot allowed. */
int policy_check_suffix(const char *value, struct why *ret_why);

#endif
