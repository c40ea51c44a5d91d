#include "api/http/intercept.h"

#include <stdarg.h>
#include <stddef.h>

static struct intercept *starting; /* only within intercept_start() */

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accepted,
				    void *accepted_arg, MHD_AccessHandlerCallback handler, void *handler_arg, ...)
{
	va_list options;

	if (starting) {
		starting->back = handler;
		starting->back_arg = handler_arg;
		handler = starting->front;
		handler_arg = starting->front_arg;
	}
	va_start(options, handler_arg);
	struct MHD_Daemon *daemon =
		MHD_start_daemon_va(flags, port, accepted, accepted_arg, handler, handler_arg, options);
	va_end(options);
	return daemon;
}

int intercept_start(struct intercept *intercept, struct _u_instance *ulfius, unsigned flags,
		    struct MHD_OptionItem *options)
{
	intercept->back = NULL;
	starting = intercept;
	int started = ulfius_start_framework_with_mhd_options(ulfius, flags, options);
	starting = NULL;
	if (started != U_OK)
		return ERR_SYSTEM;
	return intercept->back ? ERR_OK : ERR_INTERNAL;
}
