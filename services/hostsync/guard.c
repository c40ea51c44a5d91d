#include "hostsync/guard.h"

int64_t guard_wait_ms(const struct guard *guard, int64_t now_ms)
{
	return guard->not_before_ms > now_ms ? guard->not_before_ms - now_ms : 0;
}

uint32_t guard_repaired(struct guard *guard, int64_t now_ms)
{
	if (now_ms - guard->last_ms > GUARD_QUIET_MS)
		guard->repairs = 0;
	guard->repairs++;
	guard->last_ms = now_ms;
	guard->not_before_ms = now_ms;
	if (guard->repairs >= GUARD_FREE) {
		int64_t wait = GUARD_FIRST_MS;
		for (uint32_t i = GUARD_FREE; i < guard->repairs && wait < GUARD_MAX_MS; i++)
			wait *= 2;
		guard->not_before_ms += wait < GUARD_MAX_MS ? wait : GUARD_MAX_MS;
	}
	return guard->repairs;
}
