/*
 * A silo's finished document at one revision: immutable and counted, so that readers share it without a lock. Released
 * by the last document_unref(). Thread-safe.
 */
#ifndef SILODNS_API_MODEL_DOCUMENT_H
#define SILODNS_API_MODEL_DOCUMENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/hub/silo.h"

struct document {
	atomic_uint refs;
	uint32_t owner;    /* user id */
	uint64_t revision; /* at which it became so */
	size_t len;
	char json[]; /* canonical document, with a final NUL that is not counted */
};

struct document *document_new(const char *json, size_t len, uint32_t owner, uint64_t revision); /* NULL: no memory */
struct document *document_ref(struct document *body);
void document_unref(struct document *body); /* NULL is allowed */

/* The id that the document begins with. */
void document_id(const struct document *body, char ret_id[static SILO_ID_MAX + 1]);

#endif
