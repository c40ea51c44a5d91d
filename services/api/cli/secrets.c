#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "api/auth/password.h"
#include "api/cli/cmd.h"
#include "api/model/token.h"
#include "api/settings/exitcode.h"
#include "common/base/cleanup.h"

#define SECRET_LEN 32 /* characters of 32 letters: 160 bits */
#define NAME_LEN_MAX 40

static const char *const default_names[] = {"db-password", "admin-password"};

/* What a token is for stands in the hub's settings: here it is a secret like any other, in the form of a token's. */
static void make_text(const char *name, char ret_text[static TOKEN_SECRET_LEN + 1])
{
	static const char token[] = "token";
	unsigned char hash[TOKEN_HASH_BYTES];
	size_t len = strlen(name), ending = sizeof token - 1;

	if (len >= ending && !strcmp(name + len - ending, token))
		token_make_secret(ret_text, hash);
	else
		password_random(SECRET_LEN, ret_text);
}

/* Under a temporary name first: a secret that is half written would be used for ever. */
static int make_secret(int dir, const char *name, mode_t mode)
{
	char temporary[64], unique[9], secret[TOKEN_SECRET_LEN + 1];

	/* Others may be at it at the same moment, in other containers with the same process id. */
	password_random(sizeof unique - 1, unique);
	snprintf(temporary, sizeof temporary, ".%s.%s", name, unique);
	_cleanup_close_ int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return ERR_SYSTEM;
	make_text(name, secret);
	bool failed = dprintf(fd, "%s\n", secret) < 0 || fchmod(fd, mode) || fsync(fd);
	sodium_memzero(secret, sizeof secret);
	/* link() instead of rename(): two that start at once agree on the first one's secret. */
	if (!failed && linkat(dir, temporary, dir, name, 0))
		failed = errno != EEXIST;
	int error = errno; /* the caller's reason */
	unlinkat(dir, temporary, 0);
	errno = error;
	return failed || fsync(dir) ? ERR_SYSTEM : ERR_OK;
}

/* "db-password", or "updater/token" in a directory below, which has to be there. */
static bool is_path(const char *path)
{
	regex_t form;

	if (regcomp(&form, "^([a-z0-9-]{1,40}/)?[a-z0-9-]{1,40}$", REG_EXTENDED | REG_NOSUB))
		return false;
	bool is = regexec(&form, path, 0, NULL, 0) == 0;
	regfree(&form);
	return is;
}

/* 1: made, 0: there already, or an error. */
static int make_missing(int top, const char *path, mode_t mode)
{
	const char *slash = strchr(path, '/'), *name = slash ? slash + 1 : path;
	char below[NAME_LEN_MAX + 1] = ".";

	if (slash)
		snprintf(below, sizeof below, "%.*s", (int)(slash - path), path);
	_cleanup_close_ int dir = openat(top, below, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return ERR_SYSTEM;
	if (faccessat(dir, name, F_OK, 0) == 0)
		return 0;
	return make_secret(dir, name, mode) ? ERR_SYSTEM : 1;
}

int cmd_secrets(const struct settings *settings, const char *dir_path, char *const *given, int given_count)
{
	const char *const *names = given_count ? (const char *const *)given : default_names;
	size_t count = given_count ? (size_t)given_count : sizeof default_names / sizeof default_names[0];
	mode_t mode = (mode_t)strtoul(settings->mode, NULL, 8);
	_cleanup_close_ int dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return cmd_fail(EXIT_FAILED, "%s: %s", dir_path, strerror(errno));
	for (size_t i = 0; i < count; i++)
		if (!is_path(names[i]))
			return cmd_fail(EXIT_USAGE,
					"\"%s\" cannot be a secret's name: 1 to %d of a-z, 0-9 and -, perhaps after a "
					"directory and /",
					names[i], NAME_LEN_MAX);
	for (size_t i = 0; i < count; i++) {
		int made = make_missing(dir, names[i], mode);
		if (made < 0)
			return cmd_fail(EXIT_FAILED, "%s/%s: %s", dir_path, names[i], strerror(errno));
		if (made)
			printf("made %s/%s\n", dir_path, names[i]);
	}
	return 0;
}
