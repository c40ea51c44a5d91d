/*
 * What the files of the adapter share. All of an exchange is done by its connection's thread.
 */
#ifndef SILODNS_API_HTTP_ADAPTER_INTERNAL_H
#define SILODNS_API_HTTP_ADAPTER_INTERNAL_H

#include "api/http/adapter.h"
#include "api/http/reply.h"
#include "api/http/request.h"
#include "common/base/buf.h"

/* A request until its reply is with libmicrohttpd: nothing of it is left while a stream goes on, for hours perhaps. */
struct exchange {
	struct MHD_Connection *mhd;
	struct request request;
	struct waiter waiter;
	struct buf body; /* of the request */
	bool known;      /* its credentials have been verified before; asked only when bodies are many */
	const char *end; /* of the target within the request line; only to be compared */
	const char *version;
	char target[];
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

/* --- adapter_reply.c ---------------------------------------------------------------------------------------------- */

/* Takes the body out of the reply. MHD_NO: it could not, and the connection ends. */
enum MHD_Result adapter_reply(struct adapter *adapter, const struct exchange *exchange, struct reply *reply);
int adapter_on_request(const struct _u_request *request, struct _u_response *response, void *arg); /* for Ulfius */

#endif
