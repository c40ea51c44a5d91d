/*
 * TLS of the HTTP server: the certificate that new connections are greeted with, its renewal from the files, and what
 * libmicrohttpd lacks: a handshake that waits for the other side keeps one of its threads busy at full speed
 * (0.9.75 and 1.0.1, epoll), so that a few strangers who stop half way would take the machine. Here such a connection
 * is suspended until bytes come or its time is over.
 *
 * tls_connection_… are called by the connection's own thread, tls_renew() by one thread, the others by any.
 */
#ifndef SILODNS_API_HTTP_TLS_H
#define SILODNS_API_HTTP_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>

#include "common/base/err.h"

/* For MHD_OPTION_HTTPS_PRIORITIES: TLS 1.2 and 1.3, forward secrecy, authenticated encryption. */
#define TLS_PRIORITIES                                                                                                 \
	"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-AES-128-CBC:-AES-256-CBC:-AES-128-CCM:-AES-256-CCM:"      \
	"%SERVER_PRECEDENCE"

struct tls;
struct tls_connection;

struct tls_settings {
	const char *cert_file, *key_file; /* borrowed until tls_free() */
	long handshake_timeout_ms;        /* from the connection's first byte to the end of its handshake */
};

/* Loads the certificate, and starts the thread in which handshakes wait. Errors as certificate_load(), with a sentence
 * for the operator. */
int tls_start(const struct tls_settings *settings, struct tls **ret_tls, struct why *ret_why);
/* From now on handshakes fail instead of waiting; before the HTTP server's end, which no suspended connection may see.
 */
void tls_stop(struct tls *tls);
void tls_free(struct tls *tls); /* after the last connection's end; NULL is allowed */

/* Loads the files anew if they have changed, or in any case if `asked`. What is refused is logged, and the certificate
 * stays as it was. Call it every second or so. */
void tls_renew(struct tls *tls, bool asked);
int64_t tls_expires_us(struct tls *tls); /* the certificate's end, wall clock */

/* For the notification of a new connection. NULL: out of memory; the connection is then of no use and ends. */
struct tls_connection *tls_connection_begin(struct tls *tls, struct MHD_Connection *connection);
void tls_connection_end(struct tls_connection *connection); /* NULL is allowed */

#endif
