/*
 * The inside of decide: shared by decide.c (the transaction, silos) and decide_account.c (users, tokens).
 */
#ifndef SILODNS_API_JOURNAL_DECIDE_INTERNAL_H
#define SILODNS_API_JOURNAL_DECIDE_INTERNAL_H

#include "api/journal/decide.h"

/* The change is made: gives it the next revision. `former_owner` may be the same, or 0. */
void transaction_add(struct transaction *transaction, struct change *change, uint32_t owner, uint32_t former_owner);

/* As transaction_decide(); `actor` is as the store has it now. */
int decide_user(struct transaction *transaction, struct change *change, const struct user *actor,
		struct outcome *outcome);
int decide_token(struct transaction *transaction, struct change *change, const struct user *actor,
		 struct outcome *outcome);

#endif
