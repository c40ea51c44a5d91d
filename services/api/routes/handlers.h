/*
 * The hub's handlers: one file per resource; what each answers is stated in docs/http.md, and who may call it in
 * routes.c. They read the store and submit to the journal, never the database. See call.h for the rules.
 */
#ifndef SILODNS_API_ROUTES_HANDLERS_H
#define SILODNS_API_ROUTES_HANDLERS_H

#include "api/model/change.h"
#include "api/routes/call.h"

handler_fn handle_index, handle_ping, handle_ip, handle_healthz, handle_readyz, handle_openapi; /* about.c */
handler_fn handle_silos_list, handle_silo_get, handle_silo_put, handle_silo_patch, handle_silo_delete, handle_hosts_get;
handler_fn handle_metrics, handle_watch;
handler_fn handle_history_get, handle_audit_get; /* history.c */
/* users.c */
handler_fn handle_users_list, handle_user_get, handle_user_put, handle_user_delete;
handler_fn handle_tokens_list, handle_token_get, handle_token_put, handle_token_delete;

/* openapi.json, which scripts/embed-file makes part of the program; with a final NUL, which is not counted. */
extern const char openapi_json[];
extern const size_t openapi_json_len;

/* What the handlers below /silos/{id} have in common (silos.c): the silo that the path names, if the caller may read
 * it; a reference of the caller's. ERR_NOT_FOUND, ERR_FORBIDDEN, with a reason. */
int silo_to_read(struct call *call, struct document **ret_silo);
/* For GET: sets ETag, Cache-Control (may be kept, but must be asked for again each time), and the status: 304 takes the
 * same way as 200, as the server leaves out the body. ERR_PRECONDITION, ERR_MALFORMED. */
int silo_condition(struct call *call, const struct document *silo);

/* If-Match and If-None-Match (RFC 9110, 13.1; precondition.c). The hub's entity tags are revisions, and strong whatever
 * a proxy makes of them. */
/* For changes: entity tags other than the hub's own simply do not match. Both headers given, not a list of tags, or
 * more than PRECONDITION_TAGS_MAX: ERR_MALFORMED. */
int precondition_read(struct request *request, struct precondition *ret_precondition);
/* For reads of what is at `revision`: 200, or 304 if If-None-Match names it; one that is malformed does not.
 * ERR_PRECONDITION: If-Match does not; ERR_MALFORMED. */
int precondition_status(struct request *request, uint64_t revision, int *ret_status);

#endif
