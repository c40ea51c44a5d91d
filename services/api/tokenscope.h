/*
 * What a token may do, from and to the JSON that requests, answers, the table and the log have: docs/http.md, Tokens.
 */
#ifndef SILODNS_TOKENSCOPE_H
#define SILODNS_TOKENSCOPE_H

#include <jansson.h>

#include "err.h"
#include "token.h"

/* Sets the members of a token that has none yet. ERR_INVALID with the member's name as field, ERR_NOMEM: then some are
 * set. */
int tokenscope_read(const json_t *document, struct token *token, struct why *ret_why);
/* In its canonical form; the caller's, by free(). NULL: no memory. */
char *tokenscope_write(const struct token *token);

/* Whether the name is one of these; none at all stand for every name. */
bool tokenscope_has(const struct token_names *names, const char *name);

#endif
