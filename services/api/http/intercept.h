/*
 * A handler before Ulfius'. Ulfius gives libmicrohttpd a function of its own, which takes in whole bodies before
 * anybody is asked, and in which a request cannot wait without its thread. It starts the daemon by MHD_start_daemon();
 * intercept.c has a function of that name, which the dynamic linker prefers, and which puts ours in front.
 * tests/integration/hub/test_limits.py would notice if it did not work; intercept_start() does, too.
 */
#ifndef SILODNS_API_HTTP_INTERCEPT_H
#define SILODNS_API_HTTP_INTERCEPT_H

#include <microhttpd.h>
#include <ulfius.h>

#include "common/base/err.h"

struct intercept {
	MHD_AccessHandlerCallback front; /* gets `front_arg` as its first argument */
	void *front_arg;
	MHD_AccessHandlerCallback back; /* out: Ulfius'; to be called with `back_arg` */
	void *back_arg;
};

/* As ulfius_start_framework_with_mhd_options(). ERR_SYSTEM, ERR_INTERNAL. One at a time. */
int intercept_start(struct intercept *intercept, struct _u_instance *ulfius, unsigned flags,
		    struct MHD_OptionItem *options);

#endif
