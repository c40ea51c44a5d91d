/*
 * If-Match and If-None-Match (RFC 9110, 13.1) of a request. The hub's entity tags are revisions, and strong
 * whatever a proxy makes of them.
 */
#ifndef SILODNS_API_ROUTES_PRECONDITION_H
#define SILODNS_API_ROUTES_PRECONDITION_H

#include <stdint.h>

#include "api/http/request.h"
#include "api/model/change.h"

/* For changes: entity tags other than the hub's own simply do not match. Both headers given, not a list of tags, or
 * more than PRECONDITION_TAGS_MAX: ERR_MALFORMED. */
int precondition_read(struct request *request, struct precondition *ret_precondition);
/* For reads of what is at `revision`: 200, or 304 if If-None-Match names it; one that is malformed does not.
 * ERR_PRECONDITION: If-Match does not; ERR_MALFORMED. */
int precondition_status(struct request *request, uint64_t revision, int *ret_status);

#endif
