/*
 * The hub as a client sees it: read a silo, put it back on condition, ask which address the hub sees. Knows the hub's
 * paths, conditions and problem+json answers, nothing of what callers do with them. One struct hubclient per thread.
 */
#ifndef SILODNS_HUB_HUBCLIENT_H
#define SILODNS_HUB_HUBCLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/hub/silo.h"
#include "common/net/http.h"
#include "common/net/ipaddr.h"

struct hubclient;

#define ETAG_MAX 80

struct hubclient_failure {
	long status;             /* HTTP status, 0 when no answer came */
	uint32_t retry_after_ms; /* 0 = none asked for */
	struct why why;          /* for people: what the hub or the network said */
};

/* `url` is the hub's base ("https://hub.example.net", a path prefix is allowed, a final slash does not matter). All
 * strings are copied. ERR_INVALID with a reason if the URL cannot be used, or if credentials would travel over plain
 * http (loopback excepted). */
int hubclient_open(const char *url, const struct http_settings *settings, struct hubclient **ret_client,
		   struct why *ret_why);
void hubclient_close(struct hubclient *client);
void hubclient_set_stop(struct hubclient *client, bool (*stopped)(void));

/* The last call's failure; valid until the next call. */
const struct hubclient_failure *hubclient_failure(const struct hubclient *client);

/*
 * GET /silos/{id}. `known_etag` (or NULL) is sent as If-None-Match: ERR_NOT_MODIFIED then means that it is still
 * current. ERR_NOT_FOUND, ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_RATE, ERR_UNAVAILABLE, ERR_PROTOCOL or an error of
 * http_send() otherwise. err_info(err)->retryable tells whether to try again.
 */
int hubclient_get_silo(struct hubclient *client, const char *id, const char *known_etag, struct silo *ret_silo,
		       char ret_etag[static ETAG_MAX]);

/* PUT /silos/{id} on condition that the hub still has `if_match` (NULL: only if the silo does not exist yet,
 * If-None-Match: *). ERR_PRECONDITION: somebody else was faster, read again. ERR_UNKNOWN_OUTCOME: it may have landed,
 * read again. */
int hubclient_put_silo(struct hubclient *client, const struct silo *silo, const char *if_match,
		       char ret_etag[static ETAG_MAX]);

/* GET /ip over IPv4 or IPv6: the address that the hub sees. */
int hubclient_my_ip(struct hubclient *client, enum http_family family, struct ipaddr *ret_ip);

/* The revision inside an ETag of the hub ("1042" with quotes), 0 if it is none. */
uint64_t hubclient_etag_revision(const char *etag);

/* The hub's host and port, to find the route to it (borrowed, valid as long as the client). */
const char *hubclient_host(const struct hubclient *client);
const char *hubclient_port(const struct hubclient *client);

#endif
