/*
 * One HTTP request by libcurl, with every limit set: connect and total time-out, size of the answer, redirects (none),
 * protocols (http and https only), TLS verification. One struct http serves one thread and keeps its connections alive
 * between requests. Credentials are never logged and never sent to another host.
 *
 * Proxies: https_proxy, all_proxy and no_proxy of the environment are honoured for https:// (the proxy sees only the
 * tunnel); http:// and loopback are never sent through a proxy, which would read the credentials. Names are resolved
 * for every new connection: a program about addresses that change keeps no cache of them.
 */
#ifndef SILODNS_NET_HTTP_H
#define SILODNS_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct http; /* opaque */

enum http_family { HTTP_FAMILY_ANY, HTTP_FAMILY_4, HTTP_FAMILY_6 };

struct http_settings {
	const char *user, *password;         /* Basic; borrowed until http_open() returns; NULL = none */
	const char *token;                   /* Bearer; wins over user and password */
	const char *ca_file;                 /* PEM; NULL = the system's store */
	long connect_timeout_ms, timeout_ms; /* 0 = 10 s and 30 s */
	size_t answer_max;                   /* bytes; 0 = 1 MiB */
	bool allow_plain;                    /* credentials may go over http:// to hosts other than loopback */
	const char *plain_host;              /* or to this one alone; borrowed as the others; NULL = none */
	/* Of a machine that looks whether its own server answers, under an address that is in no certificate. Not with
	 * credentials. */
	bool any_certificate;
};

struct http_request {
	const char *method; /* "GET", "PUT" */
	const char *url;
	const char *if_match, *if_none_match; /* header values as they are (with quotes), or NULL */
	const char *accept;                   /* or NULL */
	const char *body;                     /* application/json; NULL = none */
	size_t body_len;
	enum http_family family; /* force the connection's address family */
};

struct http_answer {
	long status;
	char etag[80];           /* "" = none */
	char content_type[80];   /* "" = none */
	uint32_t retry_after_ms; /* 0 = none */
	struct buf body;         /* released by http_answer_release() */
};

/* Call http_global_init() once, before threads. */
int http_global_init(void);
void http_global_release(void);

/* ERR_INVALID: a credential with control characters, a user with ':', credentials for `any_certificate`. ERR_NOMEM. */
int http_open(const struct http_settings *settings, struct http **ret_http);
void http_close(struct http *http); /* NULL is allowed */

/* What http_send() would refuse about this URL, without sending anything: ERR_INVALID. */
int http_check(const struct http *http, const char *url, struct why *ret_why);

/*
 * ERR_OK whenever an HTTP answer arrived, whatever its status. Else ERR_TIMEOUT, ERR_NETWORK, ERR_TLS, ERR_TOO_LARGE,
 * ERR_PROTOCOL (what came is not HTTP), ERR_STOPPED, ERR_NOMEM, ERR_INVALID (URL; or credentials that would go over
 * plain http) with a sentence in `ret_why->text` that names host and cause, never a credential.
 */
int http_send(struct http *http, const struct http_request *request, struct http_answer *ret_answer,
	      struct why *ret_why);
void http_answer_release(struct http_answer *answer);

/* After a failed http_send(): false only if the other side has certainly not seen any of the request. */
bool http_was_sent(const struct http *http);

/* Aborts a running http_send() of another thread or of a callback soon: returns ERR_STOPPED. The flag is borrowed. */
void http_set_stop(struct http *http, bool (*stopped)(void));

#endif
