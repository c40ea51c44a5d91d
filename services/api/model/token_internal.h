/*
 * What a token may do, from and to the JSON that requests, answers, the table and the log have: docs/http.md, Tokens.
 */
#ifndef SILODNS_API_MODEL_TOKEN_INTERNAL_H
#define SILODNS_API_MODEL_TOKEN_INTERNAL_H

#include <jansson.h>

#include "api/model/token.h"
#include "common/base/err.h"

/* Sets the members of a token that has none yet. ERR_INVALID with the member's name as field, ERR_NOMEM: then some are
 * set. */
int token_scope_read(const json_t *document, struct token *token, struct why *ret_why);
/* In its canonical form; the caller's, by free(). NULL: no memory. */
char *token_scope_write(const struct token *token);

/* Whether the name is one of these; none at all stand for every name. */
bool token_scope_has(const struct token_names *names, const char *name);

#endif
