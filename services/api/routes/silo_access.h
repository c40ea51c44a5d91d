/*
 * What the handlers below /silos/{id} have in common: which silo, and may it be read.
 */
#ifndef SILODNS_API_ROUTES_SILO_ACCESS_H
#define SILODNS_API_ROUTES_SILO_ACCESS_H

#include "api/routes/call.h"

/* The silo that the path names, if the caller may read it; a reference of the caller's. ERR_INVALID, ERR_NOT_FOUND,
 * ERR_FORBIDDEN, with a reason. */
int silo_to_read(struct call *call, struct document **ret_silo);

/* For GET: sets ETag, Cache-Control (may be kept, but must be asked for again each time), and the status: 304 takes the
 * same way as 200, as the server leaves out the body. ERR_PRECONDITION, ERR_MALFORMED. */
int silo_condition(struct call *call, struct reply *reply, const struct document *silo);

static inline void document_cleanup(struct document **body)
{
	document_unref(*body);
}

#endif
