/*
 * Release at end of scope: `_cleanup_(buf_release) struct buf b = …`. TAKE_PTR hands a pointer out of such a scope.
 */
#ifndef SILODNS_BASE_CLEANUP_H
#define SILODNS_BASE_CLEANUP_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

#define TAKE_PTR(p)                                                                                                    \
	__extension__({                                                                                                \
		__typeof__(p) *pp_ = &(p);                                                                             \
		__typeof__(p) taken_ = *pp_;                                                                           \
		*pp_ = NULL;                                                                                           \
		taken_;                                                                                                \
	})

/* Defines a function for _cleanup_() that releases what a variable points to, unless it is NULL:
 * DEFINE_CLEANUP(cleanup_thing, struct thing *, thing_free) */
#define DEFINE_CLEANUP(name, type, release)                                                                            \
	static inline void name(type *variable) /* NOLINT(bugprone-macro-parentheses) */                               \
	{                                                                                                              \
		if (*variable)                                                                                         \
			release(*variable);                                                                            \
	}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

DEFINE_CLEANUP(cleanup_fclose, FILE *, fclose)

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

#endif
