/*
 * What one state of a silo has that another had not, as members of a JSON object.
 */
#ifndef SILODNS_API_ROUTES_DIFFERENCE_H
#define SILODNS_API_ROUTES_DIFFERENCE_H

#include <stdbool.h>

#include <jansson.h>

#include "common/hub/silo.h"

/* Sets "added" and, if it is known what was before, "removed": arrays of records. ERR_NOMEM. */
int difference_set(json_t *json, const struct silo *before, const struct silo *after, bool before_known);

#endif
