#include "api/model/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct document *document_new(const char *json, size_t len, uint32_t owner, uint64_t revision)
{
	struct document *body = malloc(sizeof *body + len + 1);

	if (!body)
		return NULL;
	atomic_init(&body->refs, 1);
	body->owner = owner;
	body->revision = revision;
	body->len = len;
	memcpy(body->json, json, len);
	body->json[len] = '\0';
	return body;
}

struct document *document_ref(struct document *body)
{
	atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
	return body;
}

void document_unref(struct document *body)
{
	if (body && atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) == 1)
		free(body);
}

/* {"id":"silo1",… An id has no character that JSON escapes. */
void document_id(const struct document *body, char ret_id[static SILO_ID_MAX + 1])
{
	const char *id = body->json + strlen("{\"id\":\"");

	snprintf(ret_id, SILO_ID_MAX + 1, "%.*s", (int)strcspn(id, "\""), id);
}
