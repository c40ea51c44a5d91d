#include "api/model/order.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "common/base/cleanup.h"

int order_init_take(struct order *order, struct change *change)
{
	_cleanup_free_ char *json = NULL;
	size_t len;

	memset(order, 0, sizeof *order);
	order->kind = change->kind;
	order->actor = *change->actor;
	token_ref(order->actor.token);
	order->peer = change->peer;
	order->precondition = change->precondition;
	order->set_role = change->set_role;
	order->set_quota = change->set_quota;
	order->role = change->role;
	order->quota = change->quota;
	snprintf(order->subject, sizeof order->subject, "%s", change->subject);
	snprintf(order->owner, sizeof order->owner, "%s", change->owner ? change->owner : "");
	snprintf(order->password_hash, sizeof order->password_hash, "%s",
		 change->password_hash ? change->password_hash : "");
	snprintf(order->former_hash, sizeof order->former_hash, "%s", change->former_hash ? change->former_hash : "");
	order->token = token_ref(change->token);
	if (change->kind != CHANGE_SILO_PUT)
		return ERR_OK;

	order->silo = *change->silo;
	memset(change->silo, 0, sizeof *change->silo);
	int err = silo_to_json(&order->silo, &json, &len);
	if (!err && !(order->body = document_new(order->subject, json, len, 0, 0)))
		err = ERR_NOMEM;
	if (err)
		order_release(order);
	return err;
}

void order_release(struct order *order)
{
	if (!order)
		return;
	silo_release(&order->silo);
	document_unref(order->body);
	token_unref(order->token);
	token_unref(order->actor.token);
	sodium_memzero(order, sizeof *order);
}
