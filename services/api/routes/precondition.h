/*
 * If-Match and If-None-Match (RFC 9110, 13.1) of a request. The hub's entity tags are revisions.
 */
#ifndef SILODNS_API_ROUTES_PRECONDITION_H
#define SILODNS_API_ROUTES_PRECONDITION_H

#include <stdbool.h>
#include <stdint.h>

#include "api/http/request.h"
#include "api/model/change.h"

/* For changes: entity tags other than the hub's own simply do not match. Both headers given, not a list of tags, or
 * more than PRECONDITION_TAGS_MAX: ERR_MALFORMED. */
int precondition_read(struct request *request, struct precondition *ret_precondition);
/* For reads: does If-None-Match name `revision`? (Weak comparison, RFC 9110 13.1.2.) */
bool precondition_has_revision(const struct request *request, uint64_t revision);

#endif
