/*
 * Settings: one const table per program is the only place that knows a setting's names, type, limits, default and help
 * text. Each setting is an environment variable SILODNS_NAME and a flag --name of the same words (SILODNS_HOSTS_FILE,
 * --hosts-file); a secret is also read from the file that SILODNS_NAME_FILE (--name-file) names. A flag wins over the
 * environment. Secrets have no flag of their own: they would stand in the process list.
 *
 * Everything that is wrong is reported at once: an unknown flag, a SILODNS_ variable that no program of silodns has, a
 * value out of range, a missing required one, NAME and NAME_FILE both given. (What is empty, a variable, a flag's value
 * or a list of separators alone, counts as not given, as compose passes unset variables that way; a secret's file with
 * CONF_NO_SECRET, too, as systemd has no other way to leave out a credential. An empty file is an error: it may be one
 * that is still to be written.)
 *
 * Not thread-safe; called once at start.
 */
#ifndef SILODNS_CONF_CONF_H
#define SILODNS_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/err.h"

enum conf_type {
	CONF_STRING,   /* char *; owned by the struct, NULL when not set and without default */
	CONF_SECRET,   /* char *; also from NAME_FILE (one final newline dropped); wiped by conf_release() */
	CONF_LIST,     /* struct conf_list; values separated by commas or white space; the flag may be repeated */
	CONF_INT,      /* long; decimal, min..max */
	CONF_DURATION, /* long, milliseconds; "250ms", "15s", "5m", "2h", "90d", a bare number is seconds; min..max in
			  ms */
	CONF_BOOL      /* bool; true/false/yes/no/1/0/on/off; the bare flag means true */
};

#define CONF_NO_SECRET "-"

struct conf_list {
	char **items; /* owned */
	size_t count;
};

struct conf_option {
	const char *name; /* upper case, without SILODNS_: "HOSTS_FILE" */
	enum conf_type type;
	size_t offset;   /* of the field in the program's struct */
	const char *def; /* default as text; NULL = none */
	long min, max;   /* CONF_INT, CONF_DURATION; both 0 = no limit */
	bool required;
	char shortflag;   /* 0 = none */
	const char *arg;  /* for --help: "URL", "FILE"; "keep|replace": nothing else is allowed */
	const char *help; /* one or two sentences */
	/* Optional check of the value as given; ERR_INVALID and a reason refuse it. Lists: called per item. */
	int (*check)(const char *value, struct why *ret_why);
};

struct conf_program {
	const char *name;    /* "silodns-updater" */
	const char *summary; /* one sentence */
	const char *usage;   /* after the name: "[options]"; may have several lines */
	const char *epilog;  /* exit codes and so on, for --help; may be NULL */
	const struct conf_option *options;
	size_t option_count;
};

enum conf_outcome { CONF_RUN, CONF_EXIT }; /* CONF_EXIT: --help or --version was asked for and has been printed */

/*
 * Fills `ret_settings` (zeroed by the caller) from `environ` and argv. Non-flag arguments are moved, in order, to the
 * front of argv[1…] and counted in `*ret_argc` when `ret_argc` is not NULL; otherwise they are refused. On ERR_INVALID,
 * or ERR_NOMEM, every reason has been printed to `err_stream`, one line each ("SILODNS_PORT: …"); nothing of
 * `ret_settings` needs release then. Only what is invalid is no use to be tried again.
 */
int conf_load(const struct conf_program *program, int argc, char **argv, FILE *err_stream, void *ret_settings,
	      enum conf_outcome *ret_outcome, int *ret_argc);

/* Frees every owned field and wipes the secrets. */
void conf_release(const struct conf_program *program, void *settings);

/* The settings as a Markdown table (for the README; a test keeps them equal): "--help=markdown". */
void conf_print_markdown(const struct conf_program *program, FILE *out);

/* What the clients say to both at once: a program that chose one of them silently might take the wrong one. */
#define CONF_TOKEN_OR_PASSWORD                                                                                         \
	"SILODNS_TOKEN: stands for user and password, and is not given beside them: leave SILODNS_USER and "           \
	"SILODNS_PASSWORD (and their files) out, or this"

/* For checks in tables. */
int conf_check_url(const char *value, struct why *ret_why); /* http:// or https://, a host, no credentials in it */
int conf_check_cidr(const char *value, struct why *ret_why);
int conf_check_hostname(const char *value, struct why *ret_why);

#endif
