/*
 * A silo's finished document at one revision: immutable and counted, so that readers share it without a lock. Released
 * by the last silo_body_unref(). Thread-safe.
 */
#ifndef SILODNS_SILO_BODY_H
#define SILODNS_SILO_BODY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "silo.h"

struct silo_body {
	atomic_uint refs;
	uint32_t owner;    /* user id */
	uint64_t revision; /* at which it became so */
	size_t len;
	char json[]; /* canonical document, with a final NUL that is not counted */
};

struct silo_body *silo_body_new(const char *json, size_t len, uint32_t owner, uint64_t revision); /* NULL: no memory */
struct silo_body *silo_body_ref(struct silo_body *body);
void silo_body_unref(struct silo_body *body); /* NULL is allowed */

/* The id that the document begins with. */
void silo_body_id(const struct silo_body *body, char ret_id[static SILO_ID_MAX + 1]);

#endif
