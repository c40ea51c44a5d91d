#include "hostsync/report.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->not_added = true)
#include <uthash.h>

struct report_entry {
	bool not_added, still; /* still: it holds in this round, too */
	UT_hash_handle hh;
	char key[]; /* "silo hostname verdict" */
};

struct round {
	struct report *report;
	unsigned lines;
	unsigned long unsaid;
};

static void speak(struct round *round, const struct silo *silo, const char *hostname, enum verdict verdict,
		  unsigned long line)
{
	const char *reason = verdict_reason(verdict);
	if (round->lines == REPORT_LINES_MAX) {
		round->unsaid++;
		return;
	}
	round->lines++;
	if (line)
		log_warn("hostname not set", LOG_STR("silo", silo->id), LOG_STR("hostname", hostname),
			 LOG_STR("reason", reason), LOG_U64("line", line));
	else
		log_warn("hostname not set", LOG_STR("silo", silo->id), LOG_STR("hostname", hostname),
			 LOG_STR("reason", reason));
}

static void refused(void *arg, const struct silo *silo, const char *hostname, enum verdict verdict, unsigned long line)
{
	struct round *round = arg;
	struct report_entry *entry;
	char key[SILO_ID_MAX + HOSTNAME_LEN_MAX + 32];
	int n = snprintf(key, sizeof(key), "%s %s %d", silo->id, hostname, (int)verdict);
	size_t len = n > 0 && (size_t)n < sizeof(key) ? (size_t)n : 0;
	HASH_FIND(hh, round->report->said, key, len, entry);
	if (entry) {
		entry->still = true;
		return;
	}
	speak(round, silo, hostname, verdict, line);
	entry = calloc(1, sizeof(*entry) + len + 1);
	if (!entry) /* then it is said once more next time */
		return;
	memcpy(entry->key, key, len);
	entry->still = true;
	HASH_ADD(hh, round->report->said, key, len, entry);
	if (entry->not_added)
		free(entry);
}

static void forget(struct report *report, bool everything)
{
	struct report_entry *entry, *next;
	HASH_ITER (hh, report->said, entry, next) {
		bool still = entry->still;
		entry->still = false;
		if (still && !everything)
			continue;
		HASH_DEL(report->said, entry);
		free(entry);
	}
}

void report_refused(struct report *report, const struct plan *plan, const struct silos *silos)
{
	struct round round = {.report = report};
	plan_each_refused(plan, silos, refused, &round);
	if (round.unsaid)
		log_warn("more hostnames not set", LOG_U64("count", round.unsaid));
	forget(report, false);
}

void report_release(struct report *report)
{
	forget(report, true);
}
