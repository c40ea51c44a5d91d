/*
 * A silo's finished document at one revision: immutable and counted, so that readers share it without a lock. Released
 * by the last document_unref(). Thread-safe.
 *
 * The store keeps documents in trees whose links are part of the document: a silo costs one allocation, and whatever is
 * put into the store has its place already. The same struct, without text, is the store's mark for a silo that is gone.
 */
#ifndef SILODNS_API_MODEL_DOCUMENT_H
#define SILODNS_API_MODEL_DOCUMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bsd/sys/tree.h>

#include "common/base/err.h"
#include "common/hub/silo.h"

enum document_kind {
	DOCUMENT_SILO,
	DOCUMENT_DELETED,   /* a mark: the silo was deleted, and not made again since */
	DOCUMENT_GIVEN_AWAY /* a mark: it is not `owner`'s any more, whatever became of it */
};

struct document {
	atomic_uint refs;
	uint32_t owner;    /* user id */
	uint64_t revision; /* at which it became so */
	struct {           /* guarded by the store's lock; nobody else's business */
		RB_ENTRY(document) by_id, by_owner, by_revision, by_owner_revision;
	} places;
	uint32_t len;
	uint8_t kind;   /* enum document_kind */
	uint8_t id_len; /* bytes */
	bool id_inside; /* the id is where a hub writes it in `json`, not behind the final NUL */
	char json[];    /* canonical document, with a final NUL that is not counted */
};

/* Copies. A text that does not begin with the id, as no hub writes one, is kept all the same. NULL: no memory. */
struct document *document_new(const char *id, const char *json, size_t len, uint32_t owner, uint64_t revision);
struct document *document_ref(struct document *body);
void document_unref(struct document *body);    /* NULL is allowed */
void document_cleanup(struct document **body); /* for _cleanup_() */

/* The silo that the document is. ERR_NOMEM; ERR_MALFORMED, ERR_INVALID: a person wrote it, not a hub. */
int document_read(const struct document *body, struct silo *ret_silo);
/* Both of them (NULL: a silo without records, left as it is), but without most of the records that both have: what
 * silo_diff() finds is the same. Errors as document_read(); what is set is to be released then, too. */
int document_read_difference(const struct document *before, const struct document *after, struct silo *ret_before,
			     struct silo *ret_after);
void document_id(const struct document *body, char ret_id[static SILO_ID_MAX + 1]);
/* <0, 0, >0: by the ids' bytes. */
int document_compare_id(const struct document *a, const struct document *b);

/* A document on the stack that has an id and an owner and is good for comparisons. */
union document_key {
	struct document document;
	char room[sizeof(struct document) + SILO_ID_MAX + 2]; /* its text is empty */
};
/* Of a text that is no id: the part before it that could be one. */
struct document *document_key(union document_key *key, const char *id, uint32_t owner);

#endif
