#include "api/model/document.h"

#include <stdlib.h>
#include <string.h>

/* {"id":"silo1",… An id has no character that JSON escapes, and ends with one that is smaller than all it may have. */
static const char prefix[] = "{\"id\":\"";
#define PREFIX_LEN (sizeof prefix - 1)
#define ID_END '"'

static bool begins_with_id(const char *json, size_t len, const char *id, size_t id_len)
{
	return len > PREFIX_LEN + id_len && memcmp(json, prefix, PREFIX_LEN) == 0 &&
	       memcmp(json + PREFIX_LEN, id, id_len) == 0 && json[PREFIX_LEN + id_len] == ID_END;
}

struct document *document_new(const char *id, const char *json, size_t len, uint32_t owner, uint64_t revision)
{
	size_t id_len = strlen(id);
	bool inside = begins_with_id(json, len, id, id_len);
	struct document *body =
		len <= UINT32_MAX / 8 ? malloc(sizeof *body + len + 1 + (inside ? 0 : id_len + 1)) : NULL;

	if (!body)
		return NULL;
	atomic_init(&body->refs, 1);
	body->owner = owner;
	body->revision = revision;
	body->len = (uint32_t)len;
	body->kind = DOCUMENT_SILO;
	memcpy(body->json, json, len);
	body->json[len] = '\0';
	body->id_at = inside ? PREFIX_LEN : (unsigned)len + 1;
	if (!inside) {
		memcpy(body->json + body->id_at, id, id_len);
		body->json[body->id_at + id_len] = ID_END;
	}
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

void document_id(const struct document *body, char ret_id[static SILO_ID_MAX + 1])
{
	char *end = memccpy(ret_id, body->json + body->id_at, ID_END, SILO_ID_MAX + 1);

	(end ? end - 1 : ret_id + SILO_ID_MAX)[0] = '\0';
}

int document_compare_id(const struct document *a, const struct document *b)
{
	const unsigned char *x = (const unsigned char *)a->json + a->id_at;
	const unsigned char *y = (const unsigned char *)b->json + b->id_at;

	for (; *x == *y && *x != ID_END; x++, y++)
		;
	return *x - *y;
}

struct document *document_key(union document_key *key, const char *id, uint32_t owner)
{
	char *text = key->room + offsetof(struct document, json);
	size_t len = 0;

	for (; len <= SILO_ID_MAX && (unsigned char)id[len] > ID_END; len++)
		text[len] = id[len];
	text[len] = ID_END;
	key->document.id_at = 0;
	key->document.owner = owner;
	return &key->document;
}

int document_read(const struct document *body, struct silo *ret_silo)
{
	int err = silo_read_canonical(body->json, ret_silo);

	/* Not written by a hub: a person's repair of the log, perhaps. */
	return err == ERR_MALFORMED ? silo_parse(body->json, body->len, NULL, NULL, ret_silo, NULL) : err;
}
