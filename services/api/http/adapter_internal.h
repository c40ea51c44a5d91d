/*
 * What the files of the adapter share. All of an exchange is done by its connection's thread.
 */
#ifndef SILODNS_API_HTTP_ADAPTER_INTERNAL_H
#define SILODNS_API_HTTP_ADAPTER_INTERNAL_H

#include "api/http/adapter.h"
#include "api/http/reply.h"
#include "api/http/request.h"

/* One request and its reply: Ulfius' request, made larger. (Ulfius only ever passes the pointer on, and frees it by
 * o_free().) */
struct exchange {
	struct _u_request base;
	struct MHD_Connection *mhd;
	struct connection *connection;
	int64_t started_us;
	const char *target_end; /* of the request line; only to be compared */
	bool begun, bad_target;
	bool needs_host;   /* HTTP/1.1 */
	bool known;        /* its credentials have been verified before; asked only when bodies are many */
	bool body_refused; /* is read to its end, and not kept */
	size_t room, held; /* for the body; of it */
	struct waiter waiter;
	struct request *request; /* owned; while one is at work, or waits for what it will finish with */
	struct reply *reply;     /* within answer() only */
	bool answered;
	bool last;
};

/* --- adapter.c: for adapter_start.c ------------------------------------------------------------------------------- */

/* For MHD_OPTION_URI_LOG_CALLBACK, MHD_OPTION_NOTIFY_CONNECTION, MHD_OPTION_NOTIFY_COMPLETED, and before Ulfius'
 * handler; the first argument is the adapter. */
void *adapter_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd);
void adapter_on_connection(void *arg, struct MHD_Connection *mhd, void **ret_context,
			   enum MHD_ConnectionNotificationCode code);
void adapter_on_completed(void *arg, struct MHD_Connection *mhd, void **info, enum MHD_RequestTerminationCode code);
enum MHD_Result adapter_on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *len, void **info);

/* --- adapter_body.c ----------------------------------------------------------------------------------------------- */

/* A part of the request's body: kept if it is within the limits. */
void adapter_take_body(struct adapter *adapter, struct exchange *exchange, const char *data, size_t len);
void adapter_drop_body(struct adapter *adapter, struct exchange *exchange); /* what is held of it */

/* --- adapter_reply.c ---------------------------------------------------------------------------------------------- */

/* Whether libmicrohttpd gets this reply directly; else Ulfius does. */
bool adapter_is_direct(const struct exchange *exchange);
/* Both take the body out of the reply. */
enum MHD_Result adapter_reply_directly(const struct adapter *adapter, struct exchange *exchange);
int adapter_on_request(const struct _u_request *request, struct _u_response *response, void *adapter); /* for Ulfius */

#endif
