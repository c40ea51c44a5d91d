/*
 * The hub's handlers: one file per resource; what each answers is stated in docs/http.md, and who may call it in
 * routes.c. They read the store and submit to the journal, never the database. See request.h for the rules.
 */
#ifndef SILODNS_API_ROUTES_HANDLERS_H
#define SILODNS_API_ROUTES_HANDLERS_H

#include "api/http/reply.h"
#include "api/routes/call.h"

int handle_index(struct call *call, struct reply *reply);
int handle_ping(struct call *call, struct reply *reply);
int handle_ip(struct call *call, struct reply *reply);
int handle_healthz(struct call *call, struct reply *reply);
int handle_readyz(struct call *call, struct reply *reply);
int handle_openapi(struct call *call, struct reply *reply);
int handle_metrics(struct call *call, struct reply *reply);

int handle_silos_list(struct call *call, struct reply *reply);
int handle_silo_get(struct call *call, struct reply *reply);
int handle_silo_put(struct call *call, struct reply *reply);
int handle_silo_patch(struct call *call, struct reply *reply);
int handle_silo_delete(struct call *call, struct reply *reply);

int handle_history_get(struct call *call, struct reply *reply);
int handle_hosts_get(struct call *call, struct reply *reply);
int handle_watch(struct call *call, struct reply *reply);

int handle_users_list(struct call *call, struct reply *reply);
int handle_user_get(struct call *call, struct reply *reply);
int handle_user_put(struct call *call, struct reply *reply);
int handle_user_delete(struct call *call, struct reply *reply);

int handle_audit_get(struct call *call, struct reply *reply);

int handle_tokens_list(struct call *call, struct reply *reply);
int handle_token_get(struct call *call, struct reply *reply);
int handle_token_put(struct call *call, struct reply *reply);
int handle_token_delete(struct call *call, struct reply *reply);

#endif
