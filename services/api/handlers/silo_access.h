/*
 * What the handlers below /silos/{id} have in common: which silo, and may it be read.
 */
#ifndef SILODNS_HANDLERS_SILO_ACCESS_H
#define SILODNS_HANDLERS_SILO_ACCESS_H

#include "../request.h"

/* The silo that the path names, if the caller may read it; a reference of the caller's. ERR_INVALID, ERR_NOT_FOUND,
 * ERR_FORBIDDEN, with a reason. */
int silo_to_read(struct request *request, struct silo_body **ret_silo);

static inline void silo_body_cleanup(struct silo_body **body)
{
	silo_body_unref(*body);
}

#endif
