/*
 * The silos that the benchmark works on, and requests about them. Silo n is "s0000042", with two records, one of which
 * each change gives another address: its 24 low bits are the number of the change, by which an answer or an event is
 * known again.
 *
 * Requests are written by a template, not by a JSON library: what the load generator costs is taken from the server
 * that is measured, which runs on the same cores.
 */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRAFFIC_REQUEST_MAX 1024
#define TRAFFIC_CHANGES_MAX (1u << 24) /* numbers of changes */

struct traffic {
	char authorization[192]; /* value of the header */
};

void traffic_init(struct traffic *traffic, const char *user, const char *password);

/* Each writes one request and returns its length. */
size_t traffic_get(const struct traffic *traffic, unsigned silo, uint64_t if_none_match, /* 0: without */
		   char ret_request[static TRAFFIC_REQUEST_MAX]);
size_t traffic_put(const struct traffic *traffic, unsigned silo, unsigned change,
		   char ret_request[static TRAFFIC_REQUEST_MAX]);
/* All silos, or silo 0. */
size_t traffic_watch(const struct traffic *traffic, bool all, char ret_request[static TRAFFIC_REQUEST_MAX]);

/* Changes of different silos: each of `step` writers has its own, in turn, so that no two write to one at the same
 * time. */
unsigned traffic_own_silo(unsigned writer, long step, long silos, unsigned *turn);

/* Which silo and which change a document tells of (NUL-terminated). False: none of traffic_put()'s. */
bool traffic_parse(const char *json, unsigned *ret_silo, unsigned *ret_change);

#endif
