/*
 * The silo document: a named group of DNS records (hostname, IP address).
 *
 * Invariants of a struct silo made by silo_parse(), or by silo_add() followed by silo_sort(): hostnames are valid and
 * in lower case, records are sorted by hostname, then IPv4 before IPv6, then by address, and no (hostname, address)
 * stands twice. So equal silos have equal JSON. A hostname may have several addresses.
 *
 * A struct silo owns its records; zero-initialised it is an empty silo without id. Not thread-safe; distinct silos are
 * independent.
 */
#ifndef SILODNS_HUB_SILO_H
#define SILODNS_HUB_SILO_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/net/hostname.h"
#include "common/net/ipaddr.h"

#define SILO_ID_MAX 64         /* bytes, without the final NUL */
#define SILO_RECORDS_MAX 10000 /* records in one silo */

struct record {
	char *hostname; /* owned by the silo */
	struct ipaddr ip;
};

struct silo {
	char id[SILO_ID_MAX + 1];
	struct record *records; /* owned */
	size_t count;
	size_t capacity;
};

/* 1 to 64 bytes of letters, digits, '.', '_', '-'; the first a letter or digit. Case matters. `ret_why->field` = "id".
 */
int silo_id_check(const char *id, size_t len, struct why *ret_why);
int silo_id_conf_check(const char *value, struct why *ret_why); /* the same for a row of settings (conf.h) */

/*
 * Strict JSON in: an object with "dnsrecords" (required, an array of objects with "hostname" (required) and "ip"
 * (optional if `default_ip` is not NULL, but refused if that has family 0: the caller's address is not known)) and "id"
 * (optional; if there, it must equal `id`). Unknown and duplicate members, wrong types, non-UTF-8, NUL bytes, trailing
 * bytes, deep nesting are refused: ERR_MALFORMED for what is not JSON, ERR_INVALID for what is not a silo (also: over
 * SILO_RECORDS_MAX records, a record twice, an unspecified, multicast or broadcast address). `ret_why->field` is a path
 * such as "dnsrecords[3].ip". `ret_silo` is to be released by silo_release().
 */
int silo_parse(const char *json, size_t len, const char *id, const struct ipaddr *default_ip, struct silo *ret_silo,
	       struct why *ret_why);

/* What the hub answered, read by a client: as silo_parse(), but the id is taken from the document and members that this
 * version does not know are ignored (a newer hub may say more). `id` may be NULL, else the document must carry it. */
int silo_parse_answer(const char *json, size_t len, const char *id, struct silo *ret_silo, struct why *ret_why);

/*
 * What PATCH says of a silo, as strictly: an object with "set" and "remove", or one of them, each an array of records
 * as in a silo. In "remove" a record without "ip" gets an address of family 0: all addresses of the hostname. Both
 * results are sorted, without an id. `ret_why` is required.
 */
int silo_parse_patch(const char *json, size_t len, const struct ipaddr *default_ip, struct silo *ret_set,
		     struct silo *ret_removed, struct why *ret_why);

/* Appends a copy; `hostname` must be valid already. ERR_NOMEM, ERR_TOO_LARGE. */
int silo_add(struct silo *silo, const char *hostname, const struct ipaddr *ip);
/* <0, 0, >0: the canonical order. */
int record_compare(const struct record *a, const struct record *b);
/* Sorts into the canonical order and drops exact repetitions. */
void silo_sort(struct silo *silo);

/* {"id":"a","dnsrecords":[{"hostname":"h","ip":"192.0.2.7"}]}, no white space, no final newline. free() the text. */
int silo_to_json(const struct silo *silo, char **ret_json, size_t *ret_len);
/* The document that silo_to_json() wrote, back again; many times faster than a JSON library. ERR_NOMEM; ERR_MALFORMED
 * for every other text, be it a silo or not. Id, hostnames and the kind of addresses are not checked. */
int silo_read_canonical(const char *json, size_t len, struct silo *ret_silo);
/* The same, or whatever a person may have made of it, as silo_parse() reads it. */
int silo_read(const char *json, size_t len, struct silo *ret_silo);
/* The records of two such documents of one silo, without most of those that both have: silo_diff() finds the same. It
 * takes a look at each byte, but reads only what lies between the first and the last that differ. */
int silo_read_difference(const char *before, size_t before_len, const char *after, size_t after_len,
			 struct silo *ret_before, struct silo *ret_after);

/* Appends the records as lines of a hosts file, "192.0.2.7<TAB>dbserver", one each. `out->err` tells of failure. */
void silo_append_hosts(const struct silo *silo, struct buf *out);

bool silo_equal(const struct silo *a, const struct silo *b); /* records only; the id does not count */

/* Walks two sorted silos and calls back for each record that only `before` has (removed = true) or only `after` has.
 * A non-zero return of the callback ends the walk and is returned. */
typedef int (*silo_diff_fn)(void *arg, const struct record *record, bool removed);
int silo_diff(const struct silo *before, const struct silo *after, silo_diff_fn fn, void *arg);

void silo_release(struct silo *silo); /* afterwards an empty silo; NULL is allowed */

#endif
