/*
 * The hub's GET /watch as a client sees it: what each of the named silos is, and from then on what it becomes. Knows
 * the protocol, nothing of what callers do with it. Nothing here waits: the caller waits on a descriptor and calls
 * hubwatch_step(), as with http_stream.h. How long a silence may last is the caller's to say: hubwatch_heard_ms(). One
 * thread.
 *
 * Limits: HUBWATCH_SILOS_MAX silos; an event of at most HUBWATCH_EVENT_MAX bytes. A silo of 10,000 records takes about
 * 700 kB, with the longest names and addresses 3.2 MB.
 */
#ifndef SILODNS_HUB_HUBWATCH_H
#define SILODNS_HUB_HUBWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/hub/hubclient.h"

#define HUBWATCH_SILOS_MAX 64
#define HUBWATCH_EVENT_MAX ((size_t)8 << 20)
#define HUBWATCH_HUB_MAX 64 /* bytes of a hub's identity */

struct hubwatch; /* opaque */

enum hubwatch_kind {
	HUBWATCH_SILO,       /* what the silo is now */
	HUBWATCH_UNREADABLE, /* the same, but it makes no sense: `why` says what is wrong */
	HUBWATCH_DELETED,    /* there is no such silo */
	HUBWATCH_FORBIDDEN,  /* it is not the caller's to read */
	HUBWATCH_RESET,      /* all that follows until HUBWATCH_SYNCED is everything there is */
	HUBWATCH_SYNCED      /* all that there was is told */
};

struct hubwatch_event {
	enum hubwatch_kind kind;
	char id[SILO_ID_MAX + 1]; /* of the silo; else "" */
	struct silo silo;         /* HUBWATCH_SILO: may be taken over, leaving an empty one behind */
	uint64_t revision;
	char hub[HUBWATCH_HUB_MAX + 1]; /* RESET, SYNCED: the hub's identity; else "" */
	struct why why;                 /* UNREADABLE */
};

/* From where a stream goes on. */
struct hubwatch_position {
	char hub[HUBWATCH_HUB_MAX + 1]; /* "" = from nowhere: everything is told */
	uint64_t revision;
};

/* A negative return ends the stream and is what hubwatch_step() returns. */
typedef int (*hubwatch_fn)(void *arg, struct hubwatch_event *event);

enum hubwatch_state {
	HUBWATCH_CONNECTING,
	HUBWATCH_ASKED,  /* the request is sent, nothing of an event stream has come yet */
	HUBWATCH_STREAM, /* it is an event stream */
	HUBWATCH_ENDED   /* the hub has ended it in due form */
};

/* Begins to connect. `client` is borrowed until hubwatch_close(), and may be used for other calls meanwhile. `ids`: 1
 * to HUBWATCH_SILOS_MAX. ERR_NOMEM, ERR_SYSTEM, ERR_TOO_LARGE, ERR_INVALID. */
int hubwatch_open(struct hubclient *client, const char *const *ids, size_t count,
		  const struct hubwatch_position *position, hubwatch_fn fn, void *arg, struct hubwatch **ret_watch,
		  struct why *ret_why);
void hubwatch_close(struct hubwatch *watch); /* NULL is allowed; not from `fn` */

int hubwatch_fd(const struct hubwatch *watch);
int64_t hubwatch_wait_ms(const struct hubwatch *watch); /* -1 = the descriptor is enough */

/* Does what can be done now; `fn` is called for each event. Errors as hubclient_get_silo() (ERR_NOT_FOUND or
 * ERR_METHOD: a hub without /watch), ERR_PROTOCOL also for what is no event stream or no event, ERR_TOO_LARGE for an
 * event over the limit, or what `fn` returned. The stream is over then; hubwatch_failure() has the details. */
int hubwatch_step(struct hubwatch *watch);
enum hubwatch_state hubwatch_state(const struct hubwatch *watch); /* after a failure: when it failed */
const struct hubclient_failure *hubwatch_failure(const struct hubwatch *watch);

/* When something last came (clock_mono_ms(); the moment of the request or of the opening before that). */
int64_t hubwatch_heard_ms(const struct hubwatch *watch);
/* Up to which revision everything is told by the events so far; 0 = the hub has not said. */
uint64_t hubwatch_revision(const struct hubwatch *watch);
/* After how many milliseconds the hub wants to see the client again; -1 = it has not said. */
int64_t hubwatch_retry_ms(const struct hubwatch *watch);

#endif
