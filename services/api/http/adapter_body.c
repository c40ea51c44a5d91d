#include "api/http/adapter_internal.h"

#include <string.h>

/* One byte more than a body may have, by which the handler knows; what comes behind is let go of. */
static size_t part_to_keep(const struct adapter *adapter, const struct exchange *exchange, size_t len)
{
	size_t room = adapter->body_max + 1 - exchange->held;

	return len < room ? len : room;
}

static bool has_room(struct adapter *adapter, size_t max, size_t len)
{
	if (atomic_fetch_add(&adapter->counters->body_bytes, len) + len <= max)
		return true;
	atomic_fetch_sub(&adapter->counters->body_bytes, len);
	return false;
}

/* Half of the memory is for those whose credentials are known: strangers cannot keep them from changing anything. */
static bool reserve(struct adapter *adapter, struct exchange *exchange, size_t len)
{
	if (has_room(adapter, exchange->known ? adapter->bodies_max : adapter->bodies_max / 2, len))
		return true;
	if (exchange->known)
		return false;
	exchange->known = adapter->handler->is_known(
		adapter->handler->arg, MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, "Authorization"));
	return exchange->known && has_room(adapter, adapter->bodies_max, len);
}

static bool append(struct exchange *exchange, const char *data, size_t len)
{
	size_t have = exchange->base.binary_body_length, need = have + len;

	if (need > exchange->room) {
		/* It comes in pieces: of a few bytes each, where the headers leave little room. */
		size_t room = have ? need + need / 4 : need;
		char *body = o_realloc(exchange->base.binary_body, room);
		if (!body)
			return false;
		exchange->base.binary_body = body;
		exchange->room = room;
	}
	memcpy((char *)exchange->base.binary_body + have, data, len);
	exchange->base.binary_body_length = need;
	return true;
}

void adapter_drop_body(struct adapter *adapter, struct exchange *exchange)
{
	atomic_fetch_sub(&adapter->counters->body_bytes, exchange->held);
	o_free(exchange->base.binary_body);
	exchange->base.binary_body = NULL;
	exchange->base.binary_body_length = exchange->room = exchange->held = 0;
}

void adapter_take_body(struct adapter *adapter, struct exchange *exchange, const char *data, size_t len)
{
	size_t kept = part_to_keep(adapter, exchange, len);

	if (exchange->body_refused || !kept)
		return;
	exchange->body_refused = !reserve(adapter, exchange, kept);
	if (!exchange->body_refused) {
		exchange->held += kept;
		exchange->body_refused = !append(exchange, data, kept);
	}
	if (exchange->body_refused)
		adapter_drop_body(adapter, exchange);
}
