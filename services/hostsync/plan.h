/*
 * From what the hub says, the policy and the text of the hosts file to what the block shall say. Pure: no file, no hub.
 *
 * One hostname belongs to one silo: the first in the configured order that has it, with all its addresses there. A
 * hostname that stands outside the block is left to the owner of the file (`replace` false), or taken out there and set
 * in the block (true); a line that names the machine itself is never touched.
 */
#ifndef SILODNS_PLAN_H
#define SILODNS_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "hostsync/hostsfile.h"
#include "hostsync/policy.h"
#include "hostsync/silos.h"

struct plan_name; /* opaque */

struct plan {
	struct hostsfile_parts parts; /* what the block shall say: one per known silo, in the configured order */
	size_t records;
	struct plan_name *names; /* hash by hostname; borrows from the silos */
};

/* `ret_plan` is valid as long as `silos` does not change. ERR_NOMEM. */
int plan_build(const struct silos *silos, const struct policy *policy, const char *text, size_t len,
	       const struct hostsfile_block *block, bool replace, struct plan *ret_plan);
void plan_release(struct plan *plan);

/* For hostsfile_rewrite(): the block sets this name. `arg` is the plan. */
bool plan_sets(void *arg, const char *name, size_t len);

/* One call per hostname and silo that is wanted but not set. `line`: where it stands outside the block, else 0. */
typedef void (*plan_refused_fn)(void *arg, const struct silo *silo, const char *hostname, enum verdict verdict,
				unsigned long line);
void plan_each_refused(const struct plan *plan, const struct silos *silos, plan_refused_fn fn, void *arg);

#endif
