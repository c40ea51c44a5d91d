/*
 * Authorization headers whose password was right: recognised by a keyed hash of their text (SipHash-2-4, 128 bits), so
 * that nothing has to be decoded, nor hashed at length, for each request of a client that is known. An entry counts
 * only as long as its user is as it was then: whatever changes of a user, its password above all, makes another
 * revision. A look into this memory tells no password. Thread-safe.
 */
#ifndef SILODNS_RECALL_H
#define SILODNS_RECALL_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

struct recall;

struct recall *recall_new(void);         /* NULL: out of memory */
void recall_free(struct recall *recall); /* NULL is allowed */

/* False: not known, or the user is another by now. */
bool recall_user(struct recall *recall, struct store *store, const char *header, struct user *ret_user);
void recall_put(struct recall *recall, const char *header, const struct user *user);

#endif
