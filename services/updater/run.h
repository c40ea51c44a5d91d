/*
 * The updater's work: detect, publish, wait; once or for ever.
 */
#ifndef SILODNS_UPDATER_RUN_H
#define SILODNS_UPDATER_RUN_H

#include "updater/settings.h"

/* Until done or asked to stop. Logs its failures. */
enum exit_code run_updater(const struct settings *settings);

/* --check: looks at the status that a running updater keeps. */
enum exit_code run_check(const struct settings *settings);

#endif
