/*
 * Names that are fought over: the address of one record changes back and forth between two, three times within ten
 * minutes, as when a cloned machine goes on reporting as its original. Found out from the silos as they are put into
 * the store, whichever hub wrote them. It is a warning and nothing else: every change is taken as ever.
 *
 * Memory is bounded: FLAPPING_SLOTS names whose address changed last, by a hash, and FLAPPING_MAX that are fought over.
 * With more of either, what rested longest is forgotten.
 *
 * The log says it once, again every hour as long as it goes on, and once when it is over: after ten minutes of rest.
 * Who makes a change is kept of names that are fought over only: the first time, the log knows who made the third.
 * flapping_note() and flapping_sweep() are for one thread, the store's writer; the others for any.
 */
#ifndef SILODNS_API_STORE_FLAPPING_H
#define SILODNS_API_STORE_FLAPPING_H

#include <stdint.h>

#include "api/model/change.h"
#include "api/model/document.h"

#define FLAPPING_SLOTS 32768 /* 24 bytes each, used as they are needed */
#define FLAPPING_MAX 256
#define FLAPPING_CHANGED_MAX 64 /* names in one change; one with more is not looked at: machines have few names */
#define FLAPPING_FLIPS 3
#define FLAPPING_WINDOW_MS 600000
#define FLAPPING_REPEAT_MS 3600000

struct flapping;

struct flapping_side {
	struct ipaddr ip;
	int64_t at_us;                /* when it was last set to this; 0: before anybody looked */
	char user[USER_NAME_MAX + 1]; /* by whom, */
	struct ipaddr peer;           /* and from where; family 0: not known */
};

struct flapping_name {
	char silo[SILO_ID_MAX + 1], hostname[HOSTNAME_LEN_MAX + 1];
	struct flapping_side sides[2]; /* in the order of addresses */
	uint64_t flips;                /* that were noticed */
	int64_t since_us;
	int64_t last_ms, said_ms; /* clock_mono_ms() */
};

struct flapping *flapping_new(void); /* NULL: no memory */
void flapping_free(struct flapping *flapping);

/* The silo of `change` was `former` and has become what the change holds. `now_ms`: clock_mono_ms(). */
void flapping_note(struct flapping *flapping, const struct document *former, const struct change *change,
		   int64_t now_ms);
/* Ends what is over, and says it. Cheap: may be called at every turn. */
void flapping_sweep(struct flapping *flapping, int64_t now_ms);

size_t flapping_count(struct flapping *flapping);
/* The names of a silo (NULL: of all) that are fought over: up to `max` copies. */
size_t flapping_list(struct flapping *flapping, const char *silo, struct flapping_name *ret_names, size_t max);

#endif
