#include "api/model/user.h"

#include <stdbool.h>
#include <string.h>

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int user_name_check(const char *name, size_t len, struct why *ret_why)
{
	if (len < 1 || len > USER_NAME_MAX)
		return why_set(ret_why, ERR_INVALID, "name", "a name has 1 to %d characters, this one has %zu",
			       USER_NAME_MAX, len);
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(name[i]) && (i == 0 || !name[i] || !strchr("._@-", name[i])))
			return why_set(ret_why, ERR_INVALID, "name",
				       "a name has letters, digits, '.', '_', '@' and '-' and begins with a "
				       "letter or digit; character %zu is something else",
				       i + 1);
	return ERR_OK;
}
