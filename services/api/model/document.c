#include "api/model/document.h"

#include <stdlib.h>
#include <string.h>

/* {"id":"silo1",... An id has no character that JSON escapes. */
static const char prefix[] = "{\"id\":\"";
#define PREFIX_LEN (sizeof prefix - 1)

static bool begins_with_id(const char *json, size_t len, const char *id, size_t id_len)
{
	return len > PREFIX_LEN + id_len && memcmp(json, prefix, PREFIX_LEN) == 0 &&
	       memcmp(json + PREFIX_LEN, id, id_len) == 0 && json[PREFIX_LEN + id_len] == '"';
}

static const char *id_of(const struct document *body)
{
	return body->json + (body->id_inside ? PREFIX_LEN : body->len + 1);
}

struct document *document_new(const char *id, const char *json, size_t len, uint32_t owner, uint64_t revision)
{
	size_t id_len = strnlen(id, SILO_ID_MAX);
	bool inside = begins_with_id(json, len, id, id_len);
	struct document *body = len < UINT32_MAX ? malloc(sizeof *body + len + 1 + (inside ? 0 : id_len)) : NULL;

	if (!body)
		return NULL;
	atomic_init(&body->refs, 1);
	body->owner = owner;
	body->revision = revision;
	body->len = (uint32_t)len;
	body->kind = DOCUMENT_SILO;
	body->id_len = (uint8_t)id_len;
	body->id_inside = inside;
	memcpy(body->json, json, len);
	body->json[len] = '\0';
	if (!inside)
		memcpy(body->json + len + 1, id, id_len);
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

void document_cleanup(struct document **body)
{
	document_unref(*body);
}

void document_id(const struct document *body, char ret_id[static SILO_ID_MAX + 1])
{
	memcpy(ret_id, id_of(body), body->id_len);
	ret_id[body->id_len] = '\0';
}

int document_compare_id(const struct document *a, const struct document *b)
{
	int order = memcmp(id_of(a), id_of(b), a->id_len < b->id_len ? a->id_len : b->id_len);

	return order ? order : a->id_len - b->id_len;
}

struct document *document_key(union document_key *key, const char *id, uint32_t owner)
{
	char *text = key->room + offsetof(struct document, json) + 1;
	uint8_t len = 0;

	for (; len <= SILO_ID_MAX && (unsigned char)id[len] > '"'; len++)
		text[len] = id[len];
	key->document.len = 0;
	key->document.id_len = len;
	key->document.id_inside = false;
	key->document.owner = owner;
	return &key->document;
}

int document_read(const struct document *body, struct silo *ret_silo)
{
	return silo_read(body->json, body->len, ret_silo);
}

int document_read_difference(const struct document *before, const struct document *after, struct silo *ret_before,
			     struct silo *ret_after)
{
	int err = before && after ? silo_read_difference(before->json, before->len, after->json, after->len, ret_before,
							 ret_after)
				  : ERR_MALFORMED;

	if (err != ERR_MALFORMED)
		return err;
	err = before ? document_read(before, ret_before) : ERR_OK;
	return err || !after ? err : document_read(after, ret_after);
}
