#include "common/hub/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define FILE_SIZE_MAX 8192

int status_path(const char *state_dir, const char *program, char ret_path[static PATH_MAX])
{
	int len = snprintf(ret_path, PATH_MAX, "%s/%s.json", state_dir, program);

	return len > 0 && len < PATH_MAX ? ERR_OK : ERR_TOO_LARGE;
}

static json_t *make_document(bool ok, uint64_t revision, const char *detail)
{
	char time[CLOCK_TEXT_MAX];
	json_t *text = json_string(detail ? detail : "");
	clock_format(clock_wall_us(), time);
	if (!text) /* not UTF-8 */
		text = json_string("?");
	return json_pack("{s:b, s:s, s:I, s:o}", "ok", (int)ok, "time", time, "revision", (json_int_t)revision,
			 "detail", text);
}

static int write_file(const char *path, const json_t *document)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	return fd < 0 || json_dumpfd(document, fd, JSON_COMPACT) < 0 ? ERR_SYSTEM : 0;
}

int status_write(const char *path, bool ok, uint64_t revision, const char *detail)
{
	char temporary[PATH_MAX];
	int n = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	json_auto_t *document = make_document(ok, revision, detail);
	if (!document || n < 0 || (size_t)n >= sizeof(temporary)) {
		errno = document ? ENAMETOOLONG : ENOMEM;
		return ERR_SYSTEM;
	}
	if (write_file(temporary, document) == 0 && rename(temporary, path) == 0)
		return 0;
	int saved = errno;
	unlink(temporary);
	errno = saved;
	return ERR_SYSTEM;
}

static json_t *read_document(const char *path, struct why *ret_why)
{
	char text[FILE_SIZE_MAX];
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	if (!file) {
		if (errno == ENOENT)
			why_set(ret_why, ERR_UNAVAILABLE, "",
				"there is no %s: the program has not got that far, or does not run", path);
		else
			why_set(ret_why, ERR_UNAVAILABLE, "", "%s cannot be read: %s", path, strerror(errno));
		return NULL;
	}
	size_t len = fread(text, 1, sizeof(text), file);
	json_t *document = NULL;
	int err = jsontext_parse(text, len, JSON_REJECT_DUPLICATES, &document, NULL);
	if (err < 0)
		why_set(ret_why, ERR_UNAVAILABLE, "",
			err == ERR_NOMEM ? "%s cannot be read: out of memory" : "%s is not a status file", path);
	return document;
}

int status_check(const char *path, int64_t max_age_ms, struct why *ret_why)
{
	json_auto_t *document = read_document(path, ret_why);
	int64_t then;
	if (!document)
		return ERR_UNAVAILABLE;
	const json_t *ok = json_object_get(document, "ok");
	const char *time = jsontext_member(document, "time"), *detail = jsontext_member(document, "detail");
	if (!json_is_boolean(ok) || !detail || !time || clock_parse(time, &then, NULL))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "%s is not a status file", path);
	int64_t age_ms = (clock_wall_us() - then) / 1000;
	if (age_ms > max_age_ms || age_ms < -max_age_ms) /* "later than now": the clock was set back */
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the last sign of life is of %s: %s", time, detail);
	if (!json_is_true(ok))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "not well: %s", detail);
	return 0;
}
