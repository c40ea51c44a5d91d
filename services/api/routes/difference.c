#include "api/routes/difference.h"

#include "common/base/err.h"
#include "common/net/ipaddr.h"

struct difference {
	json_t *added, *removed;
};

static int add_record(void *arg, const struct record *record, bool removed)
{
	const struct difference *difference = arg;
	char ip[IPADDR_TEXT_MAX];

	ipaddr_format(&record->ip, ip);
	return json_array_append_new(removed ? difference->removed : difference->added,
				     json_pack("{s:s, s:s}", "hostname", record->hostname, "ip", ip))
		       ? ERR_NOMEM
		       : ERR_OK;
}

int difference_set(json_t *json, const struct silo *before, const struct silo *after, bool before_known)
{
	json_auto_t *added = json_array();
	json_auto_t *removed = json_array();
	struct difference difference = {added, removed};
	int err = added && removed ? silo_diff(before, after, add_record, &difference) : ERR_NOMEM;

	if (!err &&
	    (json_object_set(json, "added", added) || (before_known && json_object_set(json, "removed", removed))))
		err = ERR_NOMEM;
	return err;
}
