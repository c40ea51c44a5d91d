/*
 * The loop: hears what the hub says (watch, or poll where that is asked for or watch is not possible), brings the hosts
 * file in line, and waits until the hub tells something or is due again, the file was touched, or a signal came. For
 * ever, or once. The file is looked at every interval, too.
 */
#ifndef SILODNS_FOLLOW_H
#define SILODNS_FOLLOW_H

#include <stdint.h>

#include "hostsync/settings.h"

/* Runs what the settings ask for (follow, once or print) until done or asked to stop. Logs its failures. */
enum exit_code follow_run(const struct settings *settings);

/* How old the status file may be while all is well. */
int64_t follow_status_max_age_ms(const struct settings *settings);

#endif
