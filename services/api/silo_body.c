#include "silo_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct silo_body *silo_body_new(const char *json, size_t len, uint32_t owner, uint64_t revision)
{
	struct silo_body *body = malloc(sizeof *body + len + 1);

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

struct silo_body *silo_body_ref(struct silo_body *body)
{
	atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
	return body;
}

void silo_body_unref(struct silo_body *body)
{
	if (body && atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) == 1)
		free(body);
}

/* {"id":"silo1",… An id has no character that JSON escapes. */
void silo_body_id(const struct silo_body *body, char ret_id[static SILO_ID_MAX + 1])
{
	const char *id = body->json + strlen("{\"id\":\"");

	snprintf(ret_id, SILO_ID_MAX + 1, "%.*s", (int)strcspn(id, "\""), id);
}
