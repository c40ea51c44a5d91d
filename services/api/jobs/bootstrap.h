/*
 * What a hub begins with: its first admin, and the clients' tokens.
 *
 * A hub that has no admin gets the one of the settings, as soon as the database is there; until then it is not ready.
 *
 * The tokens are those of the clients beside the hub, whose secrets somebody chose before there was a hub:
 * docker-compose.yml and deploy/k8s put them into files, one for the hub and one for the client. So a whole system
 * comes up by itself, and no client holds more than it needs.
 *
 * The updater's may set its hostnames, the hostsyncs' may read, both in the silos of the settings, which are made,
 * empty, when they are not there. They are tokens of the admin as any others. As long as the settings name a secret,
 * its token is as the settings say: when the hub starts, one that is missing is made, and one with another secret or
 * scope is replaced. But each secret is taken once: one that was revoked is revoked, whatever the settings say. (The
 * two may be exchanged.)
 */
#ifndef SILODNS_API_JOBS_BOOTSTRAP_H
#define SILODNS_API_JOBS_BOOTSTRAP_H

#include <stdatomic.h>

#include "api/db/periodic.h"
#include "api/journal/queue.h"
#include "api/settings/settings.h"
#include "api/store/store.h"

#define BOOTSTRAP_EVERY_MS 100 /* while there is no database, or another hub is at it, too */

struct bootstrap {
	const struct settings *settings; /* ADMIN_USER's are the tokens, too; if it is no admin: any admin's */
	struct store *store;
	struct queue *queue;
	atomic_bool has_admin;
};

/* What the settings lack or have too much of. ERR_INVALID with the reason. */
int bootstrap_check(const struct settings *settings, struct why *ret_why);

/* Whether there is an admin, or none will be made. Any thread. */
bool bootstrap_has_admin(struct bootstrap *bootstrap);

/* The periodic job, which ends when all is as it should be; `bootstrap` is a struct bootstrap. */
int bootstrap_make(void *bootstrap, struct periodic_step *step);

#endif
