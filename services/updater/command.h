/*
 * A command of the operator's, run by /bin/sh, with limits: time, output, and nothing of it left behind.
 */
#ifndef SILODNS_UPDATER_COMMAND_H
#define SILODNS_UPDATER_COMMAND_H

#include <stdbool.h>

#include "common/base/buf.h"

/* Its standard output into `output` (at most output->max bytes; more is ERR_TOO_LARGE), nothing on its standard input.
 * Past `timeout_ms`, or when `stopped` says so, its whole process group is killed: ERR_TIMEOUT, ERR_STOPPED. An exit
 * code but 0: ERR_DETECT. ERR_SYSTEM. With a reason. */
int command_run(const char *text, long timeout_ms, bool (*stopped)(void), struct buf *output, struct why *ret_why);

#endif
