/*
 * The inside of conf: shared by conf.c (where values come from), conf_value.c (what they mean), conf_names.c and
 * conf_help.c.
 */
#ifndef SILODNS_CONF_CONF_INTERNAL_H
#define SILODNS_CONF_CONF_INTERNAL_H

#include "common/conf/conf.h"

#define CONF_PREFIX "SILODNS_"
#define CONF_NAME_SIZE 80 /* of a variable or flag, with prefix, suffix and the final NUL */
#define CONF_LIST_SEPARATORS ", \t\r\n"
#define CONF_SECRET_MAX 4096 /* bytes of a secret from a file, without its final newline */

/* "SILODNS_HOSTS_FILE" and "--hosts-file" of "HOSTS_FILE"; `suffix` is "" or "_FILE". */
void conf_variable_name(const char *name, const char *suffix, char ret_name[static CONF_NAME_SIZE]);
void conf_flag_name(const char *name, const char *suffix, char ret_name[static CONF_NAME_SIZE]);

/* Whether some program of silodns has a setting of this name (or NAME_FILE): one environment serves all of them. */
bool conf_is_known(const char *name);

/* Checks `text` and stores it in the option's field of `settings`. ERR_INVALID, ERR_NOMEM and a reason. */
int conf_store(const struct conf_option *option, const char *text, void *settings, struct why *ret_why);

/* The file's bytes without a final newline, terminated; the caller wipes them. */
int conf_read_secret(const char *path, char ret_secret[static CONF_SECRET_MAX + 1], struct why *ret_why);

/* What a value may be, for people: "100ms to 1d", "1 to 65535"; "" = no limit. */
void conf_format_range(const struct conf_option *option, char ret_text[static CONF_NAME_SIZE]);

void conf_print_help(const struct conf_program *program, FILE *out);

#endif
