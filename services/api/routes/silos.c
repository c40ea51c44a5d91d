#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/handlers.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#define LIST_MAX 10000
#define LIST_BYTES_MAX (8u << 20) /* a page ends before this is exceeded, whatever the limit says */

struct silo_page {
	struct document **bodies; /* owned, with one reference each */
	size_t count;
	bool more;
};

static void silo_page_release(struct silo_page *page)
{
	for (size_t i = 0; i < page->count; i++)
		document_unref(page->bodies[i]);
	free(page->bodies);
}

/* Writes the array; returns how many silos had room in it: at least one, so that reading on comes to an end. */
static size_t write_silos(const struct silo_page *page, struct buf *text)
{
	size_t used = 0;

	buf_append_str(text, "[");
	for (; used < page->count; used++) {
		if (used && text->len + page->bodies[used]->len + 2 > LIST_BYTES_MAX)
			break;
		if (used)
			buf_append_str(text, ",");
		buf_append(text, page->bodies[used]->json, page->bodies[used]->len);
	}
	buf_append_str(text, "]");
	return used;
}

/* Of a token for some silos, whose ids are in order. */
static int list_of_token(struct call *call, uint32_t owner, const char *after, size_t limit, struct silo_page *page)
{
	const struct token_names *silos = &call->principal.token->silos;

	page->bodies = calloc(silos->count, sizeof(struct document *));
	if (!page->bodies)
		return ERR_NOMEM;
	for (size_t i = 0; i < silos->count && !page->more; i++) {
		_cleanup_(document_cleanup) struct document *body = NULL;
		if ((after && strcmp(silos->items[i], after) <= 0) ||
		    store_get(call->hub->store, silos->items[i], &body) || (owner && body->owner != owner))
			continue;
		page->more = page->count == limit;
		if (!page->more)
			page->bodies[page->count++] = TAKE_PTR(body);
	}
	return ERR_OK;
}

static int list_silos(struct call *call, const char *after, size_t limit, struct silo_page *page)
{
	const struct principal *who = &call->principal;
	uint32_t owner = who->role == ROLE_ADMIN ? 0 : who->user_id;
	uint64_t revision;

	if (who->token && who->token->silos.count)
		return list_of_token(call, owner, after, limit, page);
	return store_list(call->hub->store, owner, after, limit, &page->bodies, &page->count, &page->more, &revision);
}

int handle_silos_list(struct call *call)
{
	_cleanup_(silo_page_release) struct silo_page page = {0};
	_cleanup_(buf_release) struct buf text = BUF_INIT(SIZE_MAX / 4);
	const char *after = NULL;
	uint64_t limit = LIST_MAX;
	char id[SILO_ID_MAX + 1];
	size_t len;
	int err = request_query_number(call->request, "limit", LIST_MAX, &limit);

	if (!err)
		err = request_query(call->request, "after", &after);
	if (!err)
		err = list_silos(call, after, limit, &page);
	if (err)
		return err;
	size_t used = write_silos(&page, &text);
	if (text.err)
		return text.err;
	if (page.more || used < page.count) {
		document_id(page.bodies[used - 1], id);
		err = request_link_next(call->request, call->reply, "after", id);
	}
	if (err)
		return err;
	char *body = buf_take(&text, &len);
	reply_body_take(call->reply, "application/json", body, len);
	return ERR_OK;
}
