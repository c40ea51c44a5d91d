/*
 * Memory for Ulfius when there is none. Ulfius and orcania (2.7.13, 2.3.2) follow pointers that an allocation has
 * failed to give them, or answer 404 for a silo that is there. So what they ask for comes out of a spare when malloc()
 * has failed: blocks of two sizes, enough for all that a pool of threads has in hand. While much of it is taken no
 * request begins, so that those that have begun come to their end. Untouched, it costs no memory. Thread-safe.
 */
#ifndef SILODNS_API_HTTP_SPARE_H
#define SILODNS_API_HTTP_SPARE_H

#include <stdbool.h>
#include <stddef.h>

#define SPARE_SMALL ((size_t)1 << 10)
#define SPARE_SMALL_COUNT 6144
#define SPARE_LARGE ((size_t)128 << 10) /* bytes of the largest allocation that is helped */
#define SPARE_LARGE_COUNT 128

/* Before anything of Ulfius is called: from now on orcania allocates by these. */
void spare_begin(void);

/* A quarter is taken, of one size or the other. */
bool spare_is_low(void);

void *spare_malloc(size_t size);
void *spare_realloc(void *memory, size_t size);
void spare_free(void *memory); /* also what malloc() itself has given */

#endif
