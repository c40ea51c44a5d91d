#include "common/conf/conf_internal.h"

#include <string.h>

#include "common/base/cleanup.h"

#define WIDTH 80
#define INDENT "      "

/* Breaks `text` between words. */
static void print_wrapped(const char *text, FILE *out)
{
	size_t column = 0;
	for (const char *s = text; *s;) {
		size_t len = strcspn(s, " ");
		bool fits = column + 1 + len <= WIDTH;
		if (column == 0 || !fits)
			column = (size_t)fprintf(out, "%s%s", column ? "\n" : "", INDENT) - (column ? 1 : 0);
		else
			column += (size_t)fprintf(out, " ");
		column += (size_t)fprintf(out, "%.*s", (int)len, s);
		s += len + strspn(s + len, " ");
	}
	fprintf(out, "\n");
}

static void print_option(const struct conf_option *option, FILE *out)
{
	char flag[CONF_NAME_SIZE], range[CONF_NAME_SIZE];
	bool secret = option->type == CONF_SECRET;
	conf_flag_name(option->name, secret ? "_FILE" : "", flag);
	conf_format_range(option, range);
	fprintf(out, "  ");
	if (option->shortflag)
		fprintf(out, "-%c, ", option->shortflag);
	fprintf(out, "%s", flag);
	if (secret || option->arg)
		fprintf(out, " %s", secret ? "FILE" : option->arg);
	fprintf(out, "\n");
	print_wrapped(option->help, out);
	if (secret)
		fprintf(out, INDENT "Or the secret itself in %s%s.\n", CONF_PREFIX, option->name);
	if (option->required)
		fprintf(out, INDENT "Required.\n");
	if (option->def)
		fprintf(out, INDENT "Default: %s\n", option->def);
	if (range[0])
		fprintf(out, INDENT "Allowed: %s\n", range);
}

static void print_usage(const struct conf_program *program, FILE *out)
{
	const char *prefix = "usage:";
	for (const char *line = program->usage ? program->usage : "[options]"; *line; prefix = "      ") {
		size_t len = strcspn(line, "\n");
		fprintf(out, "%s %s %.*s\n", prefix, program->name, (int)len, line);
		line += len + (line[len] == '\n');
	}
}

void conf_print_help(const struct conf_program *program, FILE *out)
{
	const char *last = program->epilog ? strrchr(program->epilog, '\n') : NULL;
	fprintf(out, "%s %s. %s\n\n", program->name, SILODNS_VERSION, program->summary);
	print_usage(program, out);
	fprintf(out, "\nEach setting is a flag and an environment variable of the same words: --log-level is\n"
		     "SILODNS_LOG_LEVEL. A flag wins. A list is separated by commas or spaces; a TIME is 250ms,\n"
		     "15s, 5m, 2h or 90d.\n\n");
	for (size_t i = 0; i < program->option_count; i++)
		print_option(&program->options[i], out);
	fprintf(out, "  -h, --help, --help=markdown, --version\n");
	if (program->epilog)
		fprintf(out, "\n%s%s", program->epilog, last && !last[1] ? "" : "\n");
}

/* A table's cell: "|" would end it, even inside of a code span. */
static void print_cell(const char *text, FILE *out)
{
	for (const char *s = text; *s; s++)
		fprintf(out, *s == '|' ? "\\%c" : "%c", *s);
}

static void print_row(const struct conf_option *option, FILE *out)
{
	char flag[CONF_NAME_SIZE], range[CONF_NAME_SIZE];
	bool secret = option->type == CONF_SECRET;
	conf_flag_name(option->name, secret ? "_FILE" : "", flag);
	conf_format_range(option, range);
	fprintf(out, "| `%s%s`", CONF_PREFIX, option->name);
	if (secret)
		fprintf(out, ", `%s%s_FILE`", CONF_PREFIX, option->name);
	fprintf(out, " | `%s", flag);
	if (secret || option->arg) {
		fprintf(out, " ");
		print_cell(secret ? "FILE" : option->arg, out);
	}
	fprintf(out, "` | ");
	if (option->def) {
		fprintf(out, "`");
		print_cell(option->def, out);
		fprintf(out, "` ");
	}
	fprintf(out, "| ");
	print_cell(option->help, out);
	fprintf(out, "%s%s%s%s |\n", option->required ? " Required." : "", range[0] ? " (" : "", range,
		range[0] ? ")" : "");
}

void conf_print_markdown(const struct conf_program *program, FILE *out)
{
	fprintf(out, "| variable | flag | default | |\n|---|---|---|---|\n");
	for (size_t i = 0; i < program->option_count; i++)
		print_row(&program->options[i], out);
}
