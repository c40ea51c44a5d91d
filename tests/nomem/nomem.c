/*
 * Memory that is not there, when a test says so: linked into a silodns-api of its own
 * (tests/integration/test_nomem.py), by the linker's --wrap. So it stands before the calls of silodns' own code and, by
 * json_set_alloc_funcs(), jansson's; not before those that other libraries make for themselves.
 *
 * NOMEM_CONTROL names a file of two 64-bit numbers that both sides map: how many allocations from now the one is that
 * fails (0: none does), and how many have failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

struct control {
	_Atomic int64_t until, failed;
};

static struct control *control;

static bool fails(void)
{
	if (!control || atomic_load(&control->until) <= 0 || atomic_fetch_sub(&control->until, 1) != 1)
		return false;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return true;
}

#define WRAP(result, name, parameters, arguments)                                                                      \
	result __real_##name parameters;                                                                               \
	result __wrap_##name parameters;                                                                               \
	result __wrap_##name parameters                                                                                \
	{                                                                                                              \
		return fails() ? NULL : __real_##name arguments;                                                       \
	}

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *memory, size_t size), (memory, size))
WRAP(void *, reallocarray, (void *memory, size_t count, size_t size), (memory, count, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(char *, strndup, (const char *text, size_t len), (text, len))

int __wrap_asprintf(char **ret_text, const char *fmt, ...);
int __wrap___asprintf_chk(char **ret_text, int flag, const char *fmt, ...);

int __wrap_asprintf(char **ret_text, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int len = fails() ? -1 : vasprintf(ret_text, fmt, args);
	va_end(args);
	return len;
}

int __wrap___asprintf_chk(char **ret_text, int flag, const char *fmt, ...)
{
	va_list args;
	(void)flag;
	va_start(args, fmt);
	int len = fails() ? -1 : vasprintf(ret_text, fmt, args);
	va_end(args);
	return len;
}

__attribute__((constructor)) static void map_control(void)
{
	const char *path = getenv("NOMEM_CONTROL");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		perror("NOMEM_CONTROL");
		_exit(1);
	}
	close(fd);
	json_set_alloc_funcs(__wrap_malloc, free);
	control = mapped;
}
