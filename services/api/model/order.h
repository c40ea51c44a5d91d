/*
 * What one item of the journal's queue asks for: a change, with copies of all that it borrows.
 */
#ifndef SILODNS_API_MODEL_ORDER_H
#define SILODNS_API_MODEL_ORDER_H

#include "api/model/change.h"

struct order {
	enum change_kind kind;
	char subject[CHANGE_SUBJECT_MAX + 1];
	struct principal actor; /* with a reference to its token */
	struct ipaddr peer;
	struct precondition precondition;

	struct silo silo;      /* CHANGE_SILO_PUT */
	struct document *body; /* CHANGE_SILO_PUT: the document; owner and revision are set when decided */
	char owner[USER_NAME_MAX + 1];

	char password_hash[PASSWORD_HASH_MAX]; /* "" = unchanged */
	bool set_role, set_quota;
	enum role role;
	uint32_t quota;
	char former_hash[PASSWORD_HASH_MAX]; /* "" = whatever it is */

	struct token *token; /* CHANGE_TOKEN_PUT: a reference; owner and revision are set when decided */
	char note[96];       /* CHANGE_USER_PUT: the user for the log, when decided */
};

/* Copies `change` (its silo is taken) and renders the document. ERR_NOMEM. */
int order_init_take(struct order *order, struct change *change);
void order_release(struct order *order);

#endif
