/*
 * Rows that several programs' tables of settings have: each stands for the fields of that name in its `struct
 * settings`.
 */
#ifndef SILODNS_CONF_CONF_ROWS_H
#define SILODNS_CONF_CONF_ROWS_H

#include <stddef.h>

#include "common/base/log.h"
#include "common/conf/conf.h"

#define CONF_FIELD(f) .offset = offsetof(struct settings, f)

/* clang-format off */

/* user, password, token */
#define CONF_ROWS_CREDENTIALS											       \
	{.name = "USER", .type = CONF_STRING, CONF_FIELD(user), .arg = "NAME", .help = "User at the hub."},	       \
	{.name = "PASSWORD", .type = CONF_SECRET, CONF_FIELD(password), .help = "The user's password."},	       \
	{.name = "TOKEN", .type = CONF_SECRET, CONF_FIELD(token), .help = "A token, instead of user and password."}

/* tls_ca, allow_plain_http, plain_http_host */
#define CONF_ROWS_WAY_TO_THE_HUB										       \
	{.name = "TLS_CA", .type = CONF_STRING, CONF_FIELD(tls_ca), .arg = "FILE",				       \
	 .help = "Certificates (PEM) to trust instead of the system's, for the hub."},				       \
	{.name = "ALLOW_PLAIN_HTTP", .type = CONF_BOOL, CONF_FIELD(allow_plain_http),				       \
	 .help = "Send credentials over http:// to a hub that is not on this machine."},			       \
	{.name = "PLAIN_HTTP_HOST", .type = CONF_STRING, CONF_FIELD(plain_http_host), .arg = "HOST",		       \
	 .help = "Send them over http:// to this host alone: the hub's name in a network that nobody else "	       \
		 "listens to."}

/* log_level, log_format */
#define CONF_ROWS_LOG												       \
	{.name = "LOG_LEVEL", .type = CONF_STRING, CONF_FIELD(log_level), .def = "info", .arg = "LEVEL",	       \
	 .check = log_level_check, .help = "debug, info, warn or error."},					       \
	{.name = "LOG_FORMAT", .type = CONF_STRING, CONF_FIELD(log_format), .def = "logfmt", .arg = "FORMAT",	       \
	 .check = log_format_check, .help = "logfmt or json."}

/* clang-format on */

#endif
