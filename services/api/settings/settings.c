#include "api/settings/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/auth/password.h"
#include "api/model/token.h"
#include "common/base/log.h"
#include "common/conf/conf_rows.h"
#include "common/net/url.h"

static int check_admin_user(const char *value, struct why *ret_why)
{
	return user_name_check(value, strlen(value), ret_why);
}

static int check_password(const char *value, struct why *ret_why)
{
	return password_check(value, strlen(value), ret_why);
}

static int check_token(const char *value, struct why *ret_why)
{
	unsigned char hash[TOKEN_HASH_BYTES];

	return token_hash_secret(value, strlen(value), hash)
		       ? 0
		       : why_set(ret_why, ERR_INVALID, "",
				 "is no token: " TOKEN_PREFIX
				 " and 256 random bits in base64, as \"silodns-api secrets DIR "
				 "hostsync-token\" makes it");
}

static int check_proxy_header(const char *value, struct why *ret_why)
{
	return strcasecmp(value, "Forwarded") != 0 && strcasecmp(value, "X-Forwarded-For") != 0 &&
			       strcasecmp(value, "X-Real-IP") != 0
		       ? why_set(ret_why, ERR_INVALID, "", "is Forwarded, X-Forwarded-For or X-Real-IP")
		       : 0;
}

/* It is compared with what browsers send (RFC 6454, 6.2): what they never send must not stand there. */
static int check_origin(const char *value, struct why *ret_why)
{
	struct url url;
	char origin[sizeof url.host + sizeof url.port + sizeof "https://[]:"];

	if (strchr(value, '*'))
		return why_set(
			ret_why, ERR_INVALID, "",
			"takes no *, as pages that nobody thought of could read the hub then: write each origin, "
			"such as https://dash.example.net");
	int err = url_parse(value, &url, ret_why);
	if (err)
		return err;
	for (char *c = url.host; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	if (url.host[strspn(url.host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:")])
		return why_set(ret_why, ERR_INVALID, "",
			       "has no host that browsers send: write letters beyond a to z as xn--…");
	bool usual = strcmp(url.port, url.https ? "443" : "80") == 0, v6 = strchr(url.host, ':');
	snprintf(origin, sizeof origin, "http%s://%s%s%s%s%s", url.https ? "s" : "", v6 ? "[" : "", url.host,
		 v6 ? "]" : "", usual ? "" : ":", usual ? "" : url.port);
	return strcmp(value, origin) == 0
		       ? 0
		       : why_set(ret_why, ERR_INVALID, "", "is not as browsers send an origin: write %s", origin);
}

static int check_verb(const char *value, struct why *ret_why)
{
	return strcmp(value, "read") != 0 && strcmp(value, "update") != 0 && strcmp(value, "admin") != 0
		       ? why_set(ret_why, ERR_INVALID, "", "is read, update, admin, or several of them")
		       : 0;
}

static int check_mode(const char *value, struct why *ret_why)
{
	return strlen(value) != 4 || strspn(value, "01234567") != 4 || value[0] != '0'
		       ? why_set(ret_why, ERR_INVALID, "", "is a file mode of four octal digits, such as 0400")
		       : 0;
}

/* An empty setting would be its default. */
static int check_exempt(const char *value, struct why *ret_why)
{
	return strcmp(value, "none") == 0 ? 0 : conf_check_cidr(value, ret_why);
}

/* A row would be a block of ten lines. */
/* clang-format off */
static const struct conf_option options[] = {
	{.name = "LISTEN", .type = CONF_LIST, CONF_FIELD(listen), .def = "[::]:8080", .arg = "ADDRESS:PORT",
	 .help = "Where to answer. [::] means IPv6 and IPv4."},
	{.name = "TLS_CERT_FILE", .type = CONF_STRING, CONF_FIELD(tls_cert_file), .arg = "FILE",
	 .help = "Answer by TLS (1.2 or 1.3) only, with this certificate and those that lead to its CA (PEM). A "
		 "changed file is taken up within a second or so, and on SIGHUP, without cutting a connection."},
	{.name = "TLS_KEY_FILE", .type = CONF_STRING, CONF_FIELD(tls_key_file), .arg = "FILE",
	 .help = "The certificate's private key (PEM, without a passphrase)."},
	{.name = "HSTS", .type = CONF_DURATION, CONF_FIELD(hsts_ms), .def = "0ms", .max = 63072000000 /* two years */,
	 .arg = "TIME",
	 .help = "With TLS_CERT_FILE: browsers are told to use nothing but TLS to this host name for so long "
		 "(Strict-Transport-Security); 0 says nothing of it."},
	{.name = "TRUSTED_PROXIES", .type = CONF_LIST, CONF_FIELD(trusted_proxies), .arg = "CIDR",
	 .check = conf_check_cidr,
	 .help = "Proxies whose Forwarded and X-Forwarded-For headers are believed, or the one of "
		 "SILODNS_PROXY_HEADER."},
	{.name = "PROXY_HEADER", .type = CONF_STRING, CONF_FIELD(proxy_header), .arg = "NAME",
	 .check = check_proxy_header,
	 .help = "Which header these proxies write: Forwarded, X-Forwarded-For or X-Real-IP. The others, which most "
		 "of them hand on as a client wrote them, are not looked at. Without this, the first two are, and "
		 "neither is believed when they disagree."},
	{.name = "CORS_ORIGINS", .type = CONF_LIST, CONF_FIELD(cors_origins), .arg = "ORIGIN", .check = check_origin,
	 .help = "Pages from there, such as https://dash.example.net or http://localhost:3000, may read the hub (GET, "
		 "HEAD, with an Authorization header), which browsers refuse otherwise."},
	{.name = "DB_HOST", .type = CONF_LIST, CONF_FIELD(db.hosts), .def = "127.0.0.1", .arg = "HOST",
	 .help = "MariaDB's host. Several, such as the nodes of a Galera cluster, are tried in turn."},
	{.name = "DB_PORT", .type = CONF_INT, CONF_FIELD(db.port), .def = "3306", .min = 1, .max = 65535,
	 .arg = "PORT",
	 .help = "MariaDB's port, on each host."},
	{.name = "DB_SOCKET", .type = CONF_STRING, CONF_FIELD(db.socket), .arg = "FILE",
	 .help = "MariaDB's Unix socket; instead of host and port."},
	{.name = "DB_NAME", .type = CONF_STRING, CONF_FIELD(db.name), .def = "silodns", .arg = "NAME",
	 .help = "The database. It must exist; its tables are made by the hub."},
	{.name = "DB_USER", .type = CONF_STRING, CONF_FIELD(db.user), .def = "silodns", .arg = "NAME",
	 .help = "The user in MariaDB; needs all privileges on that database."},
	{.name = "DB_PASSWORD", .type = CONF_SECRET, CONF_FIELD(db.password),
	 .help = "Its password."},
	{.name = "DB_TLS_CA", .type = CONF_STRING, CONF_FIELD(db.tls_ca), .arg = "FILE",
	 .help = "Use TLS (1.2 or 1.3) to MariaDB, and verify by this CA (PEM) that its certificate is good and for "
		 "DB_HOST, of several for the one that is spoken to. Without it the connection may be plain: for one "
		 "machine, or a network that nobody else listens to."},
	{.name = "DB_TIMEOUT", .type = CONF_DURATION, CONF_FIELD(db.timeout_ms), .def = "3s", .min = 1000,
	 .max = 60000, .arg = "TIME",
	 .help = "A database that does not answer for so long counts as away."},
	{.name = "POLL", .type = CONF_DURATION, CONF_FIELD(poll_ms), .def = "25ms", .min = 5, .max = 60000,
	 .arg = "TIME",
	 .help = "How often to look for changes made through other hubs on the same database."},
	{.name = "HISTORY_AGE", .type = CONF_DURATION, CONF_FIELD(history_age_ms), .def = "90d", .min = 0,
	 .max = 315360000000 /* ten years */, .arg = "TIME",
	 .help = "Changes older than this are removed from the history; 0 keeps them for ever. The newest 100,000 "
		 "stay in any case."},
	{.name = "ADMIN_USER", .type = CONF_STRING, CONF_FIELD(admin_user), .def = "admin", .arg = "NAME",
	 .check = check_admin_user,
	 .help = "The first admin, made when the hub has no admin yet."},
	{.name = "ADMIN_PASSWORD", .type = CONF_SECRET, CONF_FIELD(admin_password), .check = check_password,
	 .help = "The first admin's password. Later changes of this setting change nothing: use user passwd."},
	{.name = "CLIENT_SILOS", .type = CONF_LIST, CONF_FIELD(client_silos), .arg = "LIST",
	 .check = silo_id_conf_check,
	 .help = "The silos of the clients beside the hub, for the next three. They are made, empty, with the tokens."},
	{.name = "CLIENT_HOSTNAMES", .type = CONF_LIST, CONF_FIELD(client_hostnames), .arg = "LIST",
	 .check = conf_check_hostname,
	 .help = "The hostnames of the updater beside the hub."},
	{.name = "UPDATER_TOKEN", .type = CONF_SECRET, CONF_FIELD(updater_token), .check = check_token,
	 .help = "The secret of a token that the hub makes when it starts: of the admin, by the name updater, for "
		 "SILODNS_CLIENT_HOSTNAMES in SILODNS_CLIENT_SILOS. As long as it stands here the token follows these "
		 "settings; once revoked, it wants another secret."},
	{.name = "HOSTSYNC_TOKEN", .type = CONF_SECRET, CONF_FIELD(hostsync_token), .check = check_token,
	 .help = "The same by the name hostsync, for reading SILODNS_CLIENT_SILOS."},
	{.name = "THREADS", .type = CONF_INT, CONF_FIELD(threads), .min = 2, .max = 1024, .arg = "N",
	 .help = "Threads that answer requests; by default as many as the machine has processors, at least 2. A "
		 "request that waits for the database or for its password's verification holds none."},
	{.name = "MAX_HEADERS", .type = CONF_INT, CONF_FIELD(headers_max), .def = "8192", .min = 4096, .max = 65536,
	 .arg = "BYTES",
	 .help = "Memory of a connection: request line and headers must fit, or are answered with 414 or 431; and so "
		 "must the answer's headers."},
	{.name = "MAX_BODY", .type = CONF_INT, CONF_FIELD(body_max), .def = "1048576", .min = 1024, .max = 16 << 20,
	 .arg = "BYTES",
	 .help = "Longest body of a request; more is answered with 413."},
	{.name = "MAX_BODIES", .type = CONF_INT, CONF_FIELD(bodies_max), .def = "67108864", .min = 4096,
	 .max = 1L << 40, .arg = "BYTES",
	 .help = "All bodies that are on their way at once; further ones are answered with 503. Half of it is for "
		 "known credentials only. At least four times SILODNS_MAX_BODY is taken."},
	{.name = "MAX_CONNECTIONS", .type = CONF_INT, CONF_FIELD(connections_max), .def = "12000", .min = 16,
	 .max = 1000000, .arg = "N",
	 .help = "Connections at a time; further ones are closed. Needs as many file descriptors."},
	{.name = "MAX_CONNECTIONS_PER_ADDRESS", .type = CONF_INT, CONF_FIELD(connections_per_address_max),
	 .def = "2000", .min = 0, .max = 1000000, .arg = "N",
	 .help = "The same for one address (IPv6: one /64); 0 means no limit. Not for SILODNS_LIMIT_EXEMPT and "
		 "SILODNS_TRUSTED_PROXIES."},
	{.name = "MAX_RECORDS", .type = CONF_INT, CONF_FIELD(records_max), .def = "10000", .min = 1,
	 .max = SILO_RECORDS_MAX, .arg = "N",
	 .help = "Records of a silo; a change to more is answered with 422."},
	{.name = "LIMIT_REQUESTS", .type = CONF_INT, CONF_FIELD(limits.address_rate), .def = "200", .min = 0,
	 .max = 1000000, .arg = "N",
	 .help = "Requests a second from one address (IPv6: one /64); more are answered with 429. 0 means no limit."},
	{.name = "LIMIT_REQUESTS_BURST", .type = CONF_INT, CONF_FIELD(limits.address_burst), .def = "2000",
	 .min = 1, .max = 1000000, .arg = "N",
	 .help = "So many may come at once, from who was quiet before."},
	{.name = "LIMIT_USER_REQUESTS", .type = CONF_INT, CONF_FIELD(limits.user_rate), .def = "1000", .min = 0,
	 .max = 1000000, .arg = "N",
	 .help = "Requests a second of one user, from wherever; 0 means no limit."},
	{.name = "LIMIT_USER_REQUESTS_BURST", .type = CONF_INT, CONF_FIELD(limits.user_burst),
	 .def = "20000", .min = 1, .max = 1000000, .arg = "N",
	 .help = "So many may come at once."},
	{.name = "LIMIT_LOGINS", .type = CONF_INT, CONF_FIELD(limits.logins), .def = "10", .min = 0, .max = 10000,
	 .arg = "N",
	 .help = "Different wrong passwords of one user from one address within ten minutes, or five times as many of "
		 "all users from it, lock it out (429). 0 means no limit."},
	{.name = "LOCKOUT", .type = CONF_DURATION, CONF_FIELD(limits.lockout_ms), .def = "30s", .min = 1000,
	 .max = 86400000, .arg = "TIME",
	 .help = "For how long at first; each further time twice as long."},
	{.name = "LOCKOUT_MAX", .type = CONF_DURATION, CONF_FIELD(limits.lockout_max_ms), .def = "1h", .min = 1000,
	 .max = 86400000, .arg = "TIME",
	 .help = "For how long at most; after as long without, it begins with SILODNS_LOCKOUT again."},
	{.name = "LIMIT_EXEMPT", .type = CONF_LIST, CONF_FIELD(limit_exempt), .def = "127.0.0.0/8,::1",
	 .arg = "CIDR", .check = check_exempt,
	 .help = "Addresses to which none of these limits apply; none: no address. Behind a trusted proxy the "
		 "client's address counts."},
	{.name = "IDLE_TIMEOUT", .type = CONF_DURATION, CONF_FIELD(idle_timeout_ms), .def = "30s", .min = 1000,
	 .max = 3600000, .arg = "TIME",
	 .help = "A connection on which nothing happens for so long is closed."},
	{.name = "REQUEST_TIMEOUT", .type = CONF_DURATION, CONF_FIELD(request_timeout_ms), .def = "60s",
	 .min = 1000, .max = 86400000, .arg = "TIME",
	 .help = "A request that is not there, whole, after so long is given up, though bytes of it still come; it "
		 "may take SILODNS_IDLE_TIMEOUT longer."},
	{.name = "DRAIN_TIMEOUT", .type = CONF_DURATION, CONF_FIELD(drain_timeout_ms), .def = "10s", .min = 0,
	 .max = 600000, .arg = "TIME",
	 .help = "After SIGTERM: how long to wait for requests under way."},
	{.name = "METRICS", .type = CONF_STRING, CONF_FIELD(metrics), .def = "admin", .arg = "admin|anyone",
	 .help = "Who may read /metrics."},
	{.name = "ROLE", .type = CONF_STRING, CONF_FIELD(role), .arg = "admin|common",
	 .help = "For user add and user set: the role; common if not given to user add."},
	{.name = "QUOTA", .type = CONF_INT, CONF_FIELD(quota), .def = "-1", .min = -1, .max = 1000000, .arg = "N",
	 .help = "For user add and user set: how many silos the user may own; 0 if not given to user add."},
	{.name = "NEW_PASSWORD", .type = CONF_SECRET, CONF_FIELD(new_password), .check = check_password,
	 .help = "For user add and user passwd; without it, it is asked for, or read from standard input."},
	{.name = "VERBS", .type = CONF_LIST, CONF_FIELD(verbs), .arg = "LIST", .check = check_verb,
	 .help = "For token add: what it may do, of read, update and admin."},
	{.name = "FOR_SILOS", .type = CONF_LIST, CONF_FIELD(for_silos), .arg = "LIST", .check = silo_id_conf_check,
	 .help = "For token add: only these silos."},
	{.name = "FOR_HOSTNAMES", .type = CONF_LIST, CONF_FIELD(for_hostnames), .arg = "LIST",
	 .check = conf_check_hostname,
	 .help = "For token add: it may change records of these hostnames only."},
	{.name = "FOR_FAMILY", .type = CONF_STRING, CONF_FIELD(for_family), .arg = "4|6",
	 .help = "For token add: it may change addresses of this family only."},
	{.name = "FROM_NETWORKS", .type = CONF_LIST, CONF_FIELD(from_networks), .arg = "CIDR",
	 .check = conf_check_cidr,
	 .help = "For token add: only from there."},
	{.name = "EXPIRES", .type = CONF_DURATION, CONF_FIELD(expires_ms), .min = 1000, .max = 315360000000,
	 .arg = "TIME",
	 .help = "For token add: for so long from now; for ever if not given."},
	{.name = "UNUSED", .type = CONF_DURATION, CONF_FIELD(unused_ms), .min = 3600000, .max = 315360000000,
	 .arg = "TIME",
	 .help = "For token add: until it is not used for so long."},
	{.name = "MODE", .type = CONF_STRING, CONF_FIELD(mode), .def = "0400", .arg = "MODE", .check = check_mode,
	 .help = "For secrets: the mode of the files that it makes."},
	CONF_ROWS_LOG,
};
/* clang-format on */

const struct conf_program settings_program = {
	.name = "silodns-api",
	.summary = "The silodns hub: keeps silos of DNS records in MariaDB and serves them over HTTP.",
	.usage = "[serve]                  answer requests (the default)\n"
		 "migrate                  bring the database's tables up to date, and exit\n"
		 "user list                all users\n"
		 "user add NAME            a new user; --role, --quota, --new-password-file\n"
		 "user set NAME            change --role or --quota\n"
		 "user passwd NAME         a new password\n"
		 "user remove NAME         only while it owns no silo\n"
		 "token list [USER]        all tokens, or a user's\n"
		 "token add USER NAME      a new token; its secret goes to standard output, this once\n"
		 "token remove USER NAME   it is refused from then on\n"
		 "secrets DIR [NAME...]    make the random secrets that DIR does not have yet: db-password and\n"
		 "                         admin-password, or those that are named (SUBDIRECTORY/NAME);\n"
		 "                         one whose name ends in token is a token's\n"
		 "check                    is the hub on this machine ready? For health checks",
	.epilog = "Exit codes: 0 done; 1 failed; 2 wrong settings or usage; 3 the database or the hub is not there.",
	.options = options,
	.option_count = sizeof options / sizeof options[0],
};

int settings_networks(const struct conf_list *list, struct cidr **ret_networks, size_t *ret_count)
{
	struct cidr *networks = calloc(list->count + 1, sizeof *networks);
	size_t count = 0;

	if (!networks)
		return ERR_NOMEM;
	for (size_t i = 0; i < list->count; i++) /* "none" is no network */
		count += !cidr_parse(list->items[i], strlen(list->items[i]), &networks[count], NULL);
	*ret_networks = networks;
	*ret_count = count;
	return ERR_OK;
}
