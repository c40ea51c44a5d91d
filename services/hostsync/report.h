/*
 * Says which of the hub's names were not set and why: each once, when it begins; again only after it had ceased. A hub
 * that sends thousands of them gets REPORT_LINES_MAX lines and a count.
 */
#ifndef SILODNS_REPORT_H
#define SILODNS_REPORT_H

#include "hostsync/plan.h"

#define REPORT_LINES_MAX 20

struct report_entry; /* opaque */

struct report {
	struct report_entry *said; /* hash by what was said */
};

void report_refused(struct report *report, const struct plan *plan, const struct silos *silos);
void report_release(struct report *report);

#endif
