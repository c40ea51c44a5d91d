/*
 * openapi.json, which scripts/embed-file makes part of the program: what GET /openapi.json answers.
 */
#ifndef SILODNS_API_ROUTES_OPENAPI_H
#define SILODNS_API_ROUTES_OPENAPI_H

#include <stddef.h>

extern const char openapi_json[]; /* with a final NUL, which is not counted */
extern const size_t openapi_json_len;

#endif
