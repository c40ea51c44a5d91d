#include "hostsync/policy.h"

#include <resolv.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"

/* Names that every machine gives to itself; what lies under "localhost" belongs to them as well (RFC 6761, 6.3). */
static const char *const reserved[] = {
	"localhost",        "localhost.localdomain",
	"localhost4",       "localhost4.localdomain4",
	"localhost6",       "localhost6.localdomain6",
	"ip6-localhost",    "ip6-loopback",
	"ip6-localnet",     "ip6-mcastprefix",
	"ip6-allnodes",     "ip6-allrouters",
	"ip6-allhosts",     "ipv6-localhost",
	"ipv6-loopback",    "ipv6-localnet",
	"ipv6-mcastprefix", "ipv6-allnodes",
	"ipv6-allrouters",  "ipv6-allhosts",
	"broadcasthost",    "loopback",
};

static const char *const reasons[VERDICT_COUNT_] = {
	[VERDICT_SET] = "set",
	[VERDICT_NOT_WANTED] = "not among SILODNS_HOSTNAMES",
	[VERDICT_RESERVED] = "the hub may never set a name that stands for this machine itself, such as localhost",
	[VERDICT_OWN_NAME] = "the hub may never set this machine's own name",
	[VERDICT_DENIED] = "SILODNS_DENY forbids it",
	[VERDICT_NOT_ALLOWED] = "it is not under a suffix of SILODNS_ALLOW_SUFFIXES",
	[VERDICT_OTHER_SILO] = "a silo that stands earlier in SILODNS_SILOS has the same hostname",
	[VERDICT_OUTSIDE_BLOCK] = "it stands in the hosts file outside silodns's block, and SILODNS_CONFLICT is keep",
};

const char *verdict_reason(enum verdict verdict)
{
	return reasons[verdict];
}

static void add_own(struct policy *policy, const char *name, size_t len)
{
	char parsed[HOSTNAME_LEN_MAX + 1];
	if (hostname_parse(name, len, parsed, NULL) < 0)
		return;
	for (size_t i = 0; i < policy->own_count; i++)
		if (strcmp(policy->own[i], parsed) == 0)
			return;
	if (policy->own_count < POLICY_OWN_MAX)
		memcpy(policy->own[policy->own_count++], parsed, sizeof(parsed));
}

static void add_own_with_domains(struct policy *policy, const char *name)
{
	size_t len = strcspn(name, "\n\r \t"), label = strcspn(name, ".\n\r \t");
	struct __res_state resolver = {0};
	add_own(policy, name, len);
	add_own(policy, name, label);
	if (res_ninit(&resolver) < 0)
		return;
	for (size_t i = 0; i < MAXDNSRCH && resolver.dnsrch[i]; i++) {
		char full[2 * HOSTNAME_LEN_MAX];
		int n = snprintf(full, sizeof(full), "%.*s.%s", (int)label, name, resolver.dnsrch[i]);
		if (n > 0 && (size_t)n < sizeof(full))
			add_own(policy, full, (size_t)n);
	}
	res_nclose(&resolver);
}

void policy_init(struct policy *policy, const struct conf_list *wanted, const struct conf_list *deny,
		 const struct conf_list *allow_suffixes, const char *hosts_file)
{
	char name[HOSTNAME_LEN_MAX + 2] = "", path[4096];
	const char *slash = strrchr(hosts_file, '/');
	*policy = (struct policy){.wanted = wanted, .deny = deny, .allow_suffixes = allow_suffixes};
	if (gethostname(name, sizeof(name) - 1) == 0)
		add_own_with_domains(policy, name);
	int n = snprintf(path, sizeof(path), "%.*shostname", slash ? (int)(slash - hosts_file) + 1 : 0, hosts_file);
	_cleanup_fclose_ FILE *file = n > 0 && (size_t)n < sizeof(path) ? fopen(path, "re") : NULL;
	if (file && fgets(name, sizeof(name), file))
		add_own_with_domains(policy, name);
}

static bool is_reserved(const char *hostname)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (strcmp(reserved[i], hostname) == 0)
			return true;
	return hostname_under(hostname, "localhost");
}

static bool is_under(const struct conf_list *suffixes, const char *hostname)
{
	for (size_t i = 0; i < suffixes->count; i++)
		if (hostname_under(hostname, suffixes->items[i] + (suffixes->items[i][0] == '.')))
			return true;
	return false;
}

static bool is_own(const struct policy *policy, const char *name, size_t len)
{
	for (size_t i = 0; i < policy->own_count; i++)
		if (strlen(policy->own[i]) == len && strncasecmp(policy->own[i], name, len) == 0)
			return true;
	return false;
}

static bool is_listed(const struct conf_list *list, const char *hostname)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], hostname) == 0)
			return true;
	return false;
}

enum verdict policy_judge(const struct policy *policy, const char *hostname)
{
	if (policy->wanted->count > 0 && !is_listed(policy->wanted, hostname))
		return VERDICT_NOT_WANTED;
	if (is_reserved(hostname))
		return VERDICT_RESERVED;
	if (is_own(policy, hostname, strlen(hostname)))
		return VERDICT_OWN_NAME;
	if (is_under(policy->deny, hostname))
		return VERDICT_DENIED;
	if (policy->allow_suffixes->count > 0 && !is_under(policy->allow_suffixes, hostname))
		return VERDICT_NOT_ALLOWED;
	return VERDICT_SET;
}

bool policy_own_line(const struct policy *policy, const struct hostsfile_line *line)
{
	static const char debian[] = "127.0.1.1";
	const char *at = line->names, *name;
	size_t len;
	if (line->address_len == strlen(debian) && memcmp(line->address, debian, strlen(debian)) == 0)
		return true;
	while (hostsfile_next_name(line, &at, &name, &len))
		if (is_own(policy, name, len))
			return true;
	return false;
}

int policy_check_suffix(const char *value, struct why *ret_why)
{
	char parsed[HOSTNAME_LEN_MAX + 1];
	value += value[0] == '.';
	return hostname_parse(value, strlen(value), parsed, ret_why);
}
