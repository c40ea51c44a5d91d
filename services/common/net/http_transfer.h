/*
 * What the files of the room http share: one request on its way through libcurl, with every limit, the credentials and
 * TLS set. http.c waits for its end, http_stream.c goes on step by step. For them only.
 */
#ifndef SILODNS_NET_HTTP_TRANSFER_H
#define SILODNS_NET_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "common/net/http.h"
#include "common/net/url.h"

struct http {
	CURL *easy; /* of http_send() */
	char *user, *password, *token, *ca_file;
	long connect_timeout_ms, timeout_ms;
	size_t answer_max;
	bool allow_plain;
	char *plain_host;
	bool any_certificate;
	bool (*stopped)(void);
	bool sent;
};

struct http_transfer {
	const struct http *http;    /* borrowed */
	CURL *easy;                 /* borrowed; keeps pointers to this struct, which must not move */
	struct curl_slist *headers; /* owned */
	struct url url;
	long timeout_ms; /* in total; 0 = none */
	size_t body_max; /* by the answer's own account; 0 = none, then the sink has to have one */
	int (*sink)(void *arg, const char *data, size_t len); /* gets the body; a negative return ends the transfer */
	void *sink_arg;
	int sink_err;
	char error[CURL_ERROR_SIZE];
};

/* True if `text` (or NULL) has a control character: such a value could end its header and begin another one. */
bool http_has_control(const char *text);

int http_check_url(const struct http *http, const char *text, struct url *ret_url, struct why *ret_why);

/* Prepares transfer->easy for the request, which is borrowed until the transfer's end. http, easy, limits, sink and
 * sink_arg are set already. Errors as http_send(). */
int http_transfer_prepare(struct http_transfer *transfer, const struct http_request *request, struct why *ret_why);
void http_transfer_release(struct http_transfer *transfer); /* after its easy handle is gone or reset */

/* What its end means: 0, or an error of http_send() with a sentence. */
int http_transfer_result(const struct http_transfer *transfer, CURLcode code, struct why *ret_why);

/* False only if the other side has certainly not seen any of the request. */
bool http_transfer_sent(const struct http_transfer *transfer);

/* Status and headers, once they are there. The body is left alone. */
void http_transfer_head(const struct http_transfer *transfer, struct http_answer *answer);

#endif
