/*
 * What hubclient.c and hubwatch.c share. For them only.
 */
#ifndef SILODNS_HUB_HUBCLIENT_INTERNAL_H
#define SILODNS_HUB_HUBCLIENT_INTERNAL_H

#include <stdbool.h>

#include "common/hub/hubclient.h"
#include "common/net/url.h"

struct hubclient {
	struct http *http;
	struct url url;
	char *base; /* without final slash */
	struct hubclient_failure failure;
};

/* The error that an answer other than the wanted one stands for; fills `failure`. `is_change`: what broke on the way
 * may have been done all the same. */
int hubclient_refused(const struct hubclient *client, const struct http_answer *answer, bool is_change,
		      struct hubclient_failure *failure);

#endif
