/*
 * The exit codes of silodns-api's subcommands, as --help states them.
 */
#ifndef SILODNS_API_SETTINGS_EXITCODE_H
#define SILODNS_API_SETTINGS_EXITCODE_H

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DATABASE = 3 };

#endif
