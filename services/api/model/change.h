/*
 * One change of the hub: what somebody wants, and what was decided of it. There is one shape of it, and one owner at a
 * time: a handler or command fills it in, it moves into the journal's queue, is decided, written to the log and the
 * tables, and applied to the store. What another hub made comes out of the log as a change, too.
 *
 *   struct change change = {.kind = CHANGE_SILO_DELETE, .subject = "silo1"};
 *   change_set_actor(&change, principal);
 *   err = queue_submit_take(queue, &change, …);     it is empty now
 *
 * A value without a lock. Zero-initialised it owns nothing.
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

/* Up to CHANGE_LAST_LOGGED_: positions in the ENUM of change_log.kind. */
enum change_kind {
	CHANGE_SILO_PUT = 1,
	CHANGE_SILO_DELETE,
	CHANGE_USER_PUT,
	CHANGE_USER_DELETE, /* and its tokens */
	CHANGE_TOKEN_PUT,
	CHANGE_TOKEN_DELETE,
	CHANGE_LAST_LOGGED_ = CHANGE_TOKEN_DELETE,
	CHANGE_SILO_PATCH /* stands in the log as the CHANGE_SILO_PUT that it comes to */
};
#define CHANGE_SUBJECT_MAX TOKEN_SUBJECT_MAX

struct change {
	enum change_kind kind;
	char subject[CHANGE_SUBJECT_MAX + 1]; /* silo id, user name, or user "/" token; valid already */
	struct principal actor;               /* who asks; owns a reference to its token */
	struct ipaddr peer;                   /* from where; family 0: the command line */
	struct precondition precondition;     /* of users only "does not exist yet" (NONE_MATCH, any) counts */

	/* CHANGE_SILO_PUT: `records` is the whole silo. CHANGE_SILO_PATCH: see below. */
	struct silo records, removed;
	size_t records_max;                /* CHANGE_SILO_PATCH: of the silo afterwards; 0: SILO_RECORDS_MAX */
	char new_owner[USER_NAME_MAX + 1]; /* CHANGE_SILO_PUT: an admin's right; "": as it is, or the actor */

	char password_hash[PASSWORD_HASH_MAX]; /* CHANGE_USER_PUT: "" = unchanged (required for a new user) */
	char former_hash[PASSWORD_HASH_MAX];   /* CHANGE_USER_PUT: only if this is the password's hash still; or "" */
	bool set_role, set_quota;              /* CHANGE_USER_PUT: which of the two are given */
	enum role role;
	uint32_t quota;

	struct token *token; /* CHANGE_TOKEN_PUT: new, a reference, with its subject and hash set */
	bool replace;        /* CHANGE_TOKEN_PUT: in place of the token of this name, and of the one with this secret */

	/* What was decided, or is in the log. */
	uint64_t revision;            /* 0: refused, or nothing changed */
	uint32_t owner, former_owner; /* of the silo, or the user itself; the former one if it changes hands, else 0 */
	struct silo patched;          /* CHANGE_SILO_PATCH: the whole silo that it comes to */
	struct document *document;    /* CHANGE_SILO_PUT and _PATCH: the silo afterwards; a reference */
	struct user user;             /* CHANGE_USER_PUT: the user afterwards (id 0: new); _DELETE: as it was */
	size_t tokens_gone;           /* that are removed by it */
	char note[96];                /* CHANGE_USER_PUT: the user for the log */
};

/*
 * A patch changes single records of a silo as it is when the change is decided, in one step. First, each of `removed`
 * goes: all addresses of its hostname, or only its own if its family is not 0; one that is not there is no error. Then,
 * for each hostname and address family that `records` names, all addresses of that family are replaced by those in
 * `records`. So a hostname's IPv6 addresses stay when its IPv4 address is set, and setting an address that changes
 * needs no removal; both lists together set some addresses of a hostname whatever it had. Rights, quota, history and
 * conditions are those of a CHANGE_SILO_PUT of the result: what comes to the same records changes nothing. There must
 * be a silo (ERR_NOT_FOUND).
 */

/* Who asks: copied, with a reference to its token. */
void change_set_actor(struct change *change, const struct principal *actor);
/* Renders the document of a CHANGE_SILO_PUT, which costs time: before others wait for it. ERR_NOMEM. */
int change_prepare(struct change *change);
/* ERR_INVALID (too many records), ERR_NOMEM. Fills `patched` and `document`. */
int change_apply_patch(struct change *change, const struct silo *before, struct why *ret_why);
void change_release(struct change *change); /* afterwards an empty one */

static inline bool change_is_of_silo(const struct change *change)
{
	return change->kind == CHANGE_SILO_PUT || change->kind == CHANGE_SILO_DELETE ||
	       change->kind == CHANGE_SILO_PATCH;
}

struct outcome {
	uint64_t revision; /* of the silo or user now; after ERR_PRECONDITION: the current one, 0 if there is none */
	bool created, changed;
	size_t records;        /* CHANGE_SILO_PUT, _PATCH: of the silo now */
	struct document *body; /* CHANGE_SILO_PUT, _PATCH: the silo as it is now; document_unref() */
	struct why why;        /* on failure: the reason, for people */
};

#endif
