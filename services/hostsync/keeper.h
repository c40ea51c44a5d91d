/*
 * Keeps the block of one hosts file as the silos say: reads the file, plans, and replaces it if anything differs. Knows
 * nothing of where the silos come from. Logs what it does to the file; its failures are returned. One thread.
 */
#ifndef SILODNS_KEEPER_H
#define SILODNS_KEEPER_H

#include <stdint.h>
#include <stdio.h>

#include "hostsync/guard.h"
#include "hostsync/policy.h"
#include "hostsync/replace.h"
#include "hostsync/report.h"
#include "hostsync/settings.h"
#include "hostsync/silos.h"

struct keeper {
	const struct settings *settings; /* borrowed */
	struct policy policy;
	struct report report;
	struct guard guard;
	char *block; /* as it was last seen in order; NULL = never */
	size_t block_len;
	bool waits;      /* a repair is due later, see keeper_wait_ms() */
	bool recovered;  /* keeper_recover() has succeeded */
	uint64_t writes; /* so far */
};

void keeper_init(struct keeper *keeper, const struct settings *settings);
void keeper_release(struct keeper *keeper);

/* Before the file is used: removes what a killed hostsync left behind and finishes a write in place that it had begun.
 * keeper_apply() tries it again until it has succeeded once: half a text must not pass for the owner's. An error of
 * replace.h. */
int keeper_recover(struct keeper *keeper, struct why *ret_why);

/* Brings the file in line with the silos, and gives silos that the hub has not told yet the part that the file has.
 * Writes nothing if nothing differs. ERR_CONFLICT: the markers are not as they were written; or an error of replace.h.
 */
int keeper_apply(struct keeper *keeper, struct silos *silos, struct why *ret_why);

/* Milliseconds until keeper_apply() wants to be called for the file's sake, -1 = only when something changes. */
int64_t keeper_wait_ms(const struct keeper *keeper);

/* Writes the whole file as keeper_apply() would make it to `out`, and nothing to the file. */
int keeper_print(struct keeper *keeper, struct silos *silos, FILE *out, struct why *ret_why);

/* Takes the block out. */
int keeper_remove(struct keeper *keeper, struct why *ret_why);

#endif
