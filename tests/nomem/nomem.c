/*
 * Memory that is not there, when a test says so: linked into a copy of each program (tests/lib/nomem.py). It
 * stands before every allocation of the process, its libraries' as well, and looks at who asks: the program, or one of
 * the libraries that it is linked with.
 *
 * NOMEM_CONTROL names a file that holds a struct control, which both sides map.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* tests/lib/nomem.py knows where what stands. */
struct control {
	_Atomic int64_t until;   /* how many allocations from now the one is that fails; 0: none does */
	_Atomic int64_t failed;  /* how many have */
	_Atomic int64_t lasting; /* not 0: all behind it fail as well */
	char whose[232];         /* only these count: how the names of their files begin, each with a space behind it */
};

#define PROGRAM "program" /* in `whose`; what it calls in the C library is the C library's */

static struct control *control;

#define JOIN(a, b) a##b
#define REAL_NAME(prefix, name) JOIN(prefix, name)
#define REAL(name) REAL_NAME(REAL_PREFIX, name)

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *memory, size_t size);

static bool is_listed(const char *file)
{
	for (const char *name = control->whose, *end; (end = strchr(name, ' ')); name = end + 1)
		if (strncmp(file, name, (size_t)(end - name)) == 0)
			return true;
	return false;
}

static bool counts(void *caller)
{
	struct dl_find_object found;

	if (_dl_find_object(caller, &found) < 0)
		return false;
	const char *path = found.dlfo_link_map->l_name, *slash = strrchr(path, '/');
	return is_listed(slash ? slash + 1 : *path ? path : PROGRAM);
}

static bool takes_its_turn(void)
{
	int64_t left = atomic_load(&control->until);

	while (left > 0 && !(left == 1 && control->lasting) &&
	       !atomic_compare_exchange_weak(&control->until, &left, left - 1))
		;
	return left == 1;
}

static bool fails(void *caller)
{
	if (!control || atomic_load(&control->until) <= 0 || !counts(caller) || !takes_its_turn())
		return false;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return true;
}

#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))

void *malloc(size_t size)
{
	return fails(CALLER) ? NULL : REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(CALLER) ? NULL : REAL(calloc)(count, size);
}

void *realloc(void *memory, size_t size)
{
	return fails(CALLER) ? NULL : REAL(realloc)(memory, size);
}

void *reallocarray(void *memory, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return fails(CALLER) ? NULL : REAL(realloc)(memory, bytes);
}

static char *copy(const char *text, size_t len)
{
	char *made = REAL(malloc)(len + 1);

	if (made) {
		memcpy(made, text, len);
		made[len] = '\0';
	}
	return made;
}

char *strdup(const char *text)
{
	return fails(CALLER) ? NULL : copy(text, strlen(text));
}

char *strndup(const char *text, size_t len)
{
	return fails(CALLER) ? NULL : copy(text, strnlen(text, len));
}

/* These two by the linker's --wrap, as the fortified header has a body for them. */
int __wrap_asprintf(char **ret_text, const char *fmt, ...);
int __wrap___asprintf_chk(char **ret_text, int flag, const char *fmt, ...);

int __wrap_asprintf(char **ret_text, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int len = fails(CALLER) ? -1 : vasprintf(ret_text, fmt, args);
	va_end(args);
	return len;
}

int __wrap___asprintf_chk(char **ret_text, int flag, const char *fmt, ...)
{
	va_list args;
	(void)flag;
	va_start(args, fmt);
	int len = fails(CALLER) ? -1 : vasprintf(ret_text, fmt, args);
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
	control = mapped;
}
