/*
 * The ceiling of keeping a hosts file: write a temporary file, fsync it, rename it over the hosts file, fsync the
 * directory; again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "lib/histogram.h"
#include "lib/program.h"

static void must(int result, const char *what)
{
	if (result < 0)
		program_fail("%s: %s", what, strerror(errno));
}

static void replace(int directory, const char *text, size_t len)
{
	int fd = openat(directory, "hosts.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd, "open");
	must(write(fd, text, len) == (ssize_t)len ? 0 : -1, "write");
	must(fsync(fd), "fsync");
	must(close(fd), "close");
	must(renameat(directory, "hosts.new", directory, "hosts"), "rename");
	must(fsync(directory), "fsync");
}

int main(int argc, char **argv)
{
	static struct histogram latency;
	const char *directory = ".";
	long bytes = 400, duration_ms = 1000, pause_ms = 0;
	const struct flag flags[] = {
		{.name = "directory", .text = &directory},
		{.name = "bytes", .number = &bytes},
		{.name = "duration-ms", .number = &duration_ms},
		{.name = "pause-ms", .number = &pause_ms}, /* between two: as far apart as the changes compared with */
	};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (bytes < 1 || bytes > 1 << 24 || pause_ms < 0)
		program_fail("from 1 byte to 16 MiB");
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd, directory);
	char *text = malloc((size_t)bytes);
	if (!text)
		program_fail("out of memory");
	memset(text, '#', (size_t)bytes);
	const struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
	for (int64_t until = clock_mono_us() + duration_ms * 1000, now; (now = clock_mono_us()) < until;) {
		replace(fd, text, (size_t)bytes);
		histogram_add(&latency, clock_mono_us() - now);
		nanosleep(&pause, NULL);
	}
	free(text);
	close(fd);
	program_print_take(
		json_pack("{s:I, s:o}", "answers", (json_int_t)latency.count, "latency_us", histogram_json(&latency)));
	return 0;
}
