#include "../../unit.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "api/auth/password.h"

#define PASSWORD "the-right-password"

static int set_up(void **state)
{
	return sodium_init() < 0;
}

static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* In a process that can get `bytes` more: 0, and whether it is right; or 2 if that is not known. */
static int verify_within(rlim_t bytes, const char *hash, const char *password)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct rlimit limit = {address_space() + bytes, RLIM_INFINITY};
		bool right = false;
		int err = setrlimit(RLIMIT_AS, &limit) ? ERR_SYSTEM
						       : password_verify(hash, password, strlen(password), &right);
		_exit(err == ERR_NOMEM ? 2 : err ? 3 : right);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_a_right_password_is_not_wrong_for_want_of_memory(void **state)
{
	char hash[PASSWORD_HASH_MAX];

	assert_int_equal(password_hash(PASSWORD, strlen(PASSWORD), hash), ERR_OK);
	assert_int_equal(verify_within(2 * PASSWORD_MEMLIMIT, hash, PASSWORD), 1);
	assert_int_equal(verify_within(2 * PASSWORD_MEMLIMIT, hash, "a-wrong-password"), 0);
	assert_int_equal(verify_within(PASSWORD_MEMLIMIT / 2, hash, PASSWORD), 2);
	assert_int_equal(verify_within(PASSWORD_MEMLIMIT / 2, hash, "a-wrong-password"), 2);
}

#define GROUP_SET_UP set_up
