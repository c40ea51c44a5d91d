/*
 * What a request handler may use: the rooms of one running hub. Everything is borrowed and outlives the server.
 */
#ifndef SILODNS_HUB_H
#define SILODNS_HUB_H

#include <stdatomic.h>
#include <stdbool.h>

#include "access.h"
#include "audit.h"
#include "history.h"
#include "ipaddr.h"
#include "journal.h"
#include "limits.h"
#include "metrics.h"
#include "peer.h"
#include "retention.h"
#include "store.h"
#include "tls.h"
#include "watch.h"

struct hub {
	struct store *store;     /* to read */
	struct journal *journal; /* to write */
	struct watch *watch;     /* who follows the store */
	struct access *access;
	struct limits *limits;
	struct history *history;     /* to read what was */
	struct audit *audit;         /* what was refused */
	struct retention *retention; /* NULL: everything is kept */
	struct tls *tls;             /* NULL: HTTP without TLS */
	struct peer_trust trust;
	size_t body_max;    /* bytes */
	size_t records_max; /* of a silo */
	struct metrics metrics;
	bool metrics_for_anyone; /* /metrics needs no credentials */
	atomic_bool draining;    /* set once SIGTERM came: /readyz says no */
};

#endif
