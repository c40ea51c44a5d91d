/*
 * Hostnames as RFC 1123 (2.1) allows them, and underscores: labels of letters, digits, underscores and inner hyphens, 1
 * to 63 bytes each, 253 in all, compared without case. Stored in lower case. Thread-safe, no allocation.
 *
 * Docker Compose names containers project_db_1, and services are _http._tcp (RFC 2782). So an underscore may stand
 * anywhere in a label: glibc and dnsmasq find such names in a hosts file.
 */
#ifndef SILODNS_NET_HOSTNAME_H
#define SILODNS_NET_HOSTNAME_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

#define HOSTNAME_LEN_MAX 253 /* bytes, without the final NUL */
#define HOSTNAME_LABEL_MAX 63

/*
 * Checks `len` bytes and writes the lower-case form. Refused with ERR_INVALID and a reason: empty, too long, empty
 * label (also a trailing dot), a label over 63, a leading or trailing hyphen, any other byte (space, slash, control,
 * non-ASCII: "write it in punycode, xn--…"), and a last label that is all digits or 0x… (it would read as an
 * IPv4 address).
 */
int hostname_parse(const char *text, size_t len, char ret_name[static HOSTNAME_LEN_MAX + 1], struct why *ret_why);

/* True if `name` is `suffix` or ends in "." suffix; both already in lower case, `suffix` without leading dot. */
bool hostname_under(const char *name, const char *suffix);

#endif
