/*
 * One wanted change and what became of it: the values that handlers hand to the journal. Plain data.
 */
#ifndef SILODNS_API_MODEL_CHANGE_H
#define SILODNS_API_MODEL_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/model/document.h"
#include "api/model/principal.h"
#include "common/base/err.h"
#include "common/hub/silo.h"
#include "common/net/ipaddr.h"

/* If-Match / If-None-Match as parsed; all zero = none. */
#define PRECONDITION_TAGS_MAX 8
enum precondition_kind { PRECONDITION_NONE, PRECONDITION_MATCH, PRECONDITION_NONE_MATCH };
struct precondition {
	enum precondition_kind kind;
	bool any; /* "*" */
	uint64_t revisions[PRECONDITION_TAGS_MAX];
	size_t count;
};

/* Positions in the ENUM of change_log.kind. */
enum change_kind {
	CHANGE_SILO_PUT = 1,
	CHANGE_SILO_DELETE,
	CHANGE_USER_PUT,
	CHANGE_USER_DELETE, /* and its tokens */
	CHANGE_TOKEN_PUT,
	CHANGE_TOKEN_DELETE,
	CHANGE_LAST_ = CHANGE_TOKEN_DELETE
};
#define CHANGE_SUBJECT_MAX TOKEN_SUBJECT_MAX

/* Pointers are borrowed until journal_submit() returns. Rights, ownership, quotas and preconditions are decided by the
 * journal, against the state that the change would meet. */
struct change {
	enum change_kind kind;
	const char *subject;              /* silo id, user name, or user "/" token; valid already */
	const struct principal *actor;    /* who asks */
	struct ipaddr peer;               /* from where; family 0: the command line */
	struct precondition precondition; /* of users only "does not exist yet" (NONE_MATCH, any) counts */

	struct silo *silo; /* CHANGE_SILO_PUT; its records are taken: it is empty afterwards */
	const char *owner; /* CHANGE_SILO_PUT: name of the new owner (an admin's right), or NULL */

	const char *password_hash; /* CHANGE_USER_PUT: NULL = unchanged (required for a new user) */
	bool set_role, set_quota;  /* CHANGE_USER_PUT: which of the two are given */
	enum role role;
	uint32_t quota;
	const char *former_hash; /* CHANGE_USER_PUT: only if this is the password's hash still; or NULL */

	struct token *token; /* CHANGE_TOKEN_PUT: new, with its subject and hash set; the journal sets the rest */
};

struct outcome {
	uint64_t revision; /* of the silo or user now; after ERR_PRECONDITION: the current one, 0 if there is none */
	bool created, changed;
	size_t records;        /* CHANGE_SILO_PUT: of the silo now */
	struct document *body; /* CHANGE_SILO_PUT: the silo as it is now; document_unref() */
	struct why why;        /* on failure: the reason, for people */
};

#endif
