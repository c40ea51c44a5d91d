/*
 * From a request of libmicrohttpd's to the reply on its connection: the one place that knows both what the library and
 * Ulfius hand out and what the handlers see. Bodies are counted, a request may wait without a thread, and a stream goes
 * out as it comes into being.
 */
#ifndef SILODNS_API_HTTP_ADAPTER_H
#define SILODNS_API_HTTP_ADAPTER_H

#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include <microhttpd.h>
#include <ulfius.h>

#include "api/http/arrivals.h"
#include "api/http/intercept.h"
#include "api/http/server.h"

/* What libmicrohttpd keeps for us with each connection: its "socket context". */
struct connection {
	struct arrival arrival;
	struct tls_connection *tls; /* owned; NULL: it speaks plain */
};

struct adapter {
	const struct server_handler *handler;
	struct server_counters *counters;
	struct arrivals *arrivals; /* borrowed */
	size_t body_max;           /* of one request */
	size_t bodies_max;         /* of all together */
	char hsts[40];             /* a header's value; "" = none */
	struct intercept intercept;
	atomic_bool draining; /* replies close their connections */
};

/* The address of a connection, or NULL. */
const struct sockaddr *adapter_peer(struct MHD_Connection *connection);

/* For MHD_OPTION_URI_LOG_CALLBACK, MHD_OPTION_NOTIFY_COMPLETED, the intercept's front, and Ulfius' default endpoint,
 * all with the exchange as their argument. */
void *adapter_on_uri(void *exchange, const char *uri, struct MHD_Connection *connection);
void adapter_on_completed(void *exchange, struct MHD_Connection *connection, void **info,
			  enum MHD_RequestTerminationCode code);
/* The connection is over. libmicrohttpd 0.9 does not tell of the end of a request whose query and headers had no room.
 */
void adapter_on_closed(struct adapter *exchange, struct MHD_Connection *connection);
enum MHD_Result adapter_on_access(void *exchange, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data, size_t *len, void **info);
int adapter_on_request(const struct _u_request *raw, struct _u_response *response, void *exchange);

#endif
