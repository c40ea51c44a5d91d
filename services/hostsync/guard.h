/*
 * Peace with other programs that rewrite the hosts file: the block is put back at once, but not for ever at full speed.
 * After GUARD_FREE repairs each further one waits twice as long as the one before. Pure: time comes in from outside.
 */
#ifndef SILODNS_GUARD_H
#define SILODNS_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#define GUARD_FREE 3                             /* repairs at once */
#define GUARD_FIRST_MS 1000                      /* wait before the next one; doubles */
#define GUARD_MAX_MS ((int64_t)5 * 60 * 1000)    /* the longest wait */
#define GUARD_QUIET_MS ((int64_t)10 * 60 * 1000) /* without a repair for so long: forgotten */

struct guard {
	uint32_t repairs;
	int64_t last_ms, not_before_ms;
};

int64_t guard_wait_ms(const struct guard *guard, int64_t now_ms); /* 0 = a repair may be done now */
/* A repair was done; returns how many there were in a row. */
uint32_t guard_repaired(struct guard *guard, int64_t now_ms);

#endif
