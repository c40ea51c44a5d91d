/*
 * The hub's handlers: one file per resource; what each answers is stated in docs/http.md, and who may call it in
 * routes.c. They read the store and submit to the journal, never the database. See call.h for the rules.
 */
#ifndef SILODNS_API_ROUTES_HANDLERS_H
#define SILODNS_API_ROUTES_HANDLERS_H

#include "api/routes/call.h"

handler_fn handle_index, handle_ping, handle_healthz, handle_readyz, handle_openapi; /* about.c */
handler_fn handle_ip, handle_metrics, handle_watch;
handler_fn handle_silos_list, handle_silo_get, handle_silo_put, handle_silo_patch, handle_silo_delete;
handler_fn handle_hosts_get;
handler_fn handle_history_get, handle_audit_get; /* history.c */
handler_fn handle_users_list, handle_user_get, handle_user_put, handle_user_delete;
handler_fn handle_tokens_list, handle_token_get, handle_token_put, handle_token_delete;

/* What the handlers below /silos/{id} have in common (silo.c): the silo that the path names, if the caller may read it;
 * a reference of the caller's. ERR_NOT_FOUND, ERR_FORBIDDEN, with a reason. */
int silo_to_read(struct call *call, struct document **ret_silo);
/* For GET: sets ETag, Cache-Control (may be kept, but must be asked for again each time), and the status: 304 takes the
 * same way as 200, as the server leaves out the body. ERR_PRECONDITION, ERR_MALFORMED. */
int silo_condition(struct call *call, const struct document *silo);

#endif
