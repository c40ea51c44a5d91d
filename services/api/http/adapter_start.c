#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <gnutls/abstract.h>
#include <yder.h>

#include "api/http/adapter_internal.h"
#include "api/http/tls.h"
#include "common/base/log.h"

static char tls_priorities[] = TLS_PRIORITIES;

/* --- before Ulfius ------------------------------------------------------------------------------------------------ */

static struct adapter *starting; /* only within adapter_start() */

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accepted,
				    void *accepted_arg, MHD_AccessHandlerCallback handler, void *handler_arg, ...)
{
	va_list options;

	if (starting) {
		starting->dispatch = handler;
		handler = adapter_on_access;
		handler_arg = starting;
	}
	va_start(options, handler_arg);
	struct MHD_Daemon *daemon =
		MHD_start_daemon_va(flags, port, accepted, accepted_arg, handler, handler_arg, options);
	va_end(options);
	return daemon;
}

/* --- what the libraries have to say: of interest when looking for a fault only ------------------------------------ */

static void log_mhd(void *arg, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void log_mhd(void *arg, const char *fmt, va_list args)
{
	char text[512];

	(void)arg;
	vsnprintf(text, sizeof text, fmt, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libmicrohttpd", LOG_STR("text", text));
}

static void log_ulfius(void *arg, const char *app, const time_t date, unsigned long level, const char *text)
{
	(void)arg, (void)app, (void)date, (void)level;
	log_debug("ulfius", LOG_STR("text", text));
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

static int make_instance(struct adapter *adapter)
{
	struct _u_instance *ulfius = &adapter->ulfius;

	y_init_logs("silodns-api", Y_LOG_MODE_CALLBACK, Y_LOG_LEVEL_NONE, NULL, NULL);
	y_set_logs_callback(log_ulfius, NULL, NULL);
	if (ulfius_init_instance(ulfius, 1 /* not used: there is no socket */, NULL, NULL) != U_OK)
		return ERR_NOMEM;
	adapter->made = true;
	ulfius->allowed_post_processor = U_POST_PROCESS_NONE;
	ulfius->check_utf8 = 0; /* its copies of header and query are not used */
	return ulfius_set_default_endpoint(ulfius, adapter_on_request, NULL) == U_OK ? ERR_OK : ERR_NOMEM;
}

/* libmicrohttpd wants one; but each session has had credentials of its own since tls_connection_begin(). */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
			  const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_certs,
			  unsigned *ret_count, gnutls_privkey_t *ret_key)
{
	(void)session, (void)authorities, (void)authority_count, (void)algorithms, (void)algorithm_count;
	(void)ret_certs, (void)ret_count, (void)ret_key;
	return -1;
}

int adapter_start(struct adapter *adapter)
{
	const struct server_settings *settings = &adapter->settings;
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC |
			       MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG |
			       (settings->tls ? MHD_USE_TLS : 0);
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_mhd, NULL}, /* first: it hears about the others */
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)adapter_on_completed, adapter},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)adapter_on_connection, adapter},
		{MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)adapter_on_uri, adapter},
		{MHD_OPTION_STRICT_FOR_CLIENT, MHD_VERSION >= 0x01000000, NULL}, /* see check_head() */
		{MHD_OPTION_CONNECTION_LIMIT, (intptr_t)UINT_MAX, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((settings->idle_timeout_ms + 999) / 1000), NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)settings->headers_max, NULL},
		{MHD_OPTION_THREAD_POOL_SIZE, settings->threads, NULL},
		{settings->tls ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, 0, tls_priorities},
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(intptr_t)no_certificate},
		{MHD_OPTION_END, 0, NULL},
	};
	int err = make_instance(adapter);

	if (err)
		return err;
	starting = adapter;
	int started = ulfius_start_framework_with_mhd_options(&adapter->ulfius, flags, options);
	starting = NULL;
	if (started != U_OK)
		return ERR_SYSTEM;
	return adapter->dispatch ? ERR_OK : ERR_INTERNAL;
}

void adapter_add_connection(struct adapter *adapter, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	MHD_add_connection(adapter->ulfius.mhd_daemon, fd, peer, peer_len); /* (closes it if that fails) */
}

void adapter_stop(struct adapter *adapter)
{
	if (adapter->ulfius.mhd_daemon)
		ulfius_stop_framework(&adapter->ulfius);
	if (adapter->made)
		ulfius_clean_instance(&adapter->ulfius);
	y_close_logs();
}
