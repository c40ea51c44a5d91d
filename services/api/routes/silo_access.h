/*
 * What the handlers below /silos/{id} have in common: which silo, and may it be read.
 */
#ifndef SILODNS_API_ROUTES_SILO_ACCESS_H
#define SILODNS_API_ROUTES_SILO_ACCESS_H

#include "api/routes/call.h"

/* The silo that the path names, if the caller may read it; a reference of the caller's. ERR_INVALID, ERR_NOT_FOUND,
 * ERR_FORBIDDEN, with a reason. */
int silo_to_read(struct call *call, struct document **ret_silo);

static inline void document_cleanup(struct document **body)
{
	document_unref(*body);
}

#endif
