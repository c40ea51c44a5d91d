#include "common/conf/conf_internal.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#define ARGUMENT_MAX ((size_t)1 << 20) /* of all occurrences of one flag */
#define PROBLEMS_MAX ((size_t)64 << 10)

/* What Kubernetes puts into every container for a Service named silodns or silodns-…: nobody's typing error. */
#define SERVICE_LINK                                                                                                   \
	"^SILODNS_([A-Z0-9_]+_)?(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT=(tcp|udp|sctp)://"                     \
	"|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)"

enum action { ACTION_RUN, ACTION_HELP, ACTION_MARKDOWN, ACTION_VERSION };

struct flag_value { /* what the command line says about one option */
	struct buf text;
	const char *file; /* --name-file */
};

struct loader {
	const struct conf_program *program;
	struct flag_value *flags; /* one per option */
	enum action action;
	char **words; /* arguments that are no flags */
	int word_count;
	bool failed, starved; /* starved: for want of memory */
	struct buf problems;
};

struct target {
	const struct conf_option *option; /* NULL = no such name */
	bool file;                        /* its _FILE form */
};

extern char **environ;

static void loader_release(struct loader *loader)
{
	for (size_t i = 0; loader->flags && i < loader->program->option_count; i++)
		buf_release(&loader->flags[i].text);
	free(loader->flags);
	buf_release(&loader->problems);
}

static void problem(struct loader *loader, const char *name, int err, const struct why *why)
{
	char clean[CONF_NAME_SIZE];
	snprintf(clean, sizeof(clean), "%s", name);
	for (char *c = clean; *c; c++)
		*c = iscntrl((unsigned char)*c) ? '?' : *c;
	loader->failed = true;
	loader->starved |= err == ERR_NOMEM;
	loader->starved |= buf_append_fmt(&loader->problems, "%s: %s\n", clean, why->text) == ERR_NOMEM;
}

static struct target find_target(const struct conf_program *program, const char *name)
{
	for (size_t i = 0; i < program->option_count; i++) {
		const struct conf_option *option = &program->options[i];
		size_t len = strlen(option->name);
		if (strcmp(option->name, name) == 0)
			return (struct target){option, false};
		if (option->type == CONF_SECRET && strncmp(name, option->name, len) == 0 &&
		    strcmp(name + len, "_FILE") == 0)
			return (struct target){option, true};
	}
	return (struct target){NULL, false};
}

/* Levenshtein: how many letters to change, add or leave out. */
static size_t distance(const char *a, const char *b)
{
	size_t row[CONF_NAME_SIZE], len = strlen(b);
	if (len >= CONF_NAME_SIZE)
		return SIZE_MAX;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t j = 0; j < len; j++) {
			size_t best = diagonal + (a[i] != b[j]);
			diagonal = row[j + 1];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j + 1] = diagonal + 1 < best ? diagonal + 1 : best;
		}
	}
	return row[len];
}

typedef void (*name_fn)(const char *name, const char *suffix, char ret_name[static CONF_NAME_SIZE]);

static void unknown(struct loader *loader, const char *given, name_fn format)
{
	const struct conf_program *program = loader->program;
	char candidate[CONF_NAME_SIZE], closest[CONF_NAME_SIZE] = "";
	size_t best = SIZE_MAX;
	struct why why;
	for (size_t i = 0; i < 2 * program->option_count; i++) {
		const struct conf_option *option = &program->options[i / 2];
		bool file = i % 2 != 0, secret = option->type == CONF_SECRET;
		if (file ? !secret : secret && format == conf_flag_name)
			continue;
		format(option->name, file ? "_FILE" : "", candidate);
		size_t d = distance(given, candidate);
		if (d >= best)
			continue;
		best = d;
		memcpy(closest, candidate, sizeof(closest));
	}
	size_t prefix = format == conf_flag_name ? strlen("--") : strlen(CONF_PREFIX);
	if (closest[0] && best <= 1 + (strlen(given) - prefix) / 4)
		why_set(&why, ERR_INVALID, "", "unknown; did you mean %s?", closest);
	else
		why_set(&why, ERR_INVALID, "", "unknown; %s --help lists what there is", program->name);
	problem(loader, given, ERR_INVALID, &why);
}

/* "--hosts-file" → "HOSTS_FILE", "-f" → the name of the option with that letter; "" if it cannot be one. */
static void flag_to_name(const struct conf_program *program, const char *flag, char ret_name[static CONF_NAME_SIZE])
{
	ret_name[0] = '\0';
	if (flag[1] != '-') {
		for (size_t i = 0; i < program->option_count; i++)
			if (program->options[i].shortflag == flag[1] && flag[1] && !flag[2])
				snprintf(ret_name, CONF_NAME_SIZE, "%s", program->options[i].name);
		return;
	}
	if (flag[2 + strspn(flag + 2, "abcdefghijklmnopqrstuvwxyz0123456789-")])
		return;
	snprintf(ret_name, CONF_NAME_SIZE, "%s", flag + 2);
	for (char *c = ret_name; *c; c++)
		*c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static void set_flag(struct loader *loader, struct target target, const char *value)
{
	struct flag_value *flag = &loader->flags[target.option - loader->program->options];
	if (target.file) {
		flag->file = *value ? value : NULL;
		return;
	}
	if (target.option->type == CONF_LIST && flag->text.len)
		buf_append_str(&flag->text, ",");
	else
		buf_clear(&flag->text);
	int err = buf_append_str(&flag->text, value);
	if (err < 0) {
		struct why why = {0};
		why_set(&why, err, "", err == ERR_NOMEM ? "out of memory" : "too long");
		problem(loader, target.option->name, err, &why);
	}
}

/* Takes the flag argv[i], perhaps with the argument after it; returns the last index that it used. */
static int take_flag(struct loader *loader, int argc, char **argv, int i)
{
	char flag[CONF_NAME_SIZE], name[CONF_NAME_SIZE];
	const char *equals = strchr(argv[i], '='), *value = equals ? equals + 1 : NULL;
	/* After a flag that is refused: the next argument may be its value, and a secret, so it is not talked about. */
	int skipped = !value && i + 1 < argc && argv[i + 1][0] != '-' ? i + 1 : i;
	struct why why;
	snprintf(flag, sizeof(flag), "%.*s", equals ? (int)(equals - argv[i]) : (int)sizeof(flag), argv[i]);
	flag_to_name(loader->program, flag, name);
	struct target target = find_target(loader->program, name);
	if (!target.option) {
		unknown(loader, flag, conf_flag_name);
		return skipped;
	}
	if (target.option->type == CONF_SECRET && !target.file) {
		why_set(&why, ERR_INVALID, "",
			"has no flag, everybody could read it in the process list; use SILODNS_%s or %s-file",
			target.option->name, flag);
		problem(loader, flag, ERR_INVALID, &why);
		return skipped;
	}
	if (!value && target.option->type == CONF_BOOL)
		value = "true";
	if (!value && i + 1 < argc)
		value = argv[++i];
	if (value) {
		set_flag(loader, target, value);
	} else {
		why_set(&why, ERR_INVALID, "", "needs a value");
		problem(loader, flag, ERR_INVALID, &why);
	}
	return i;
}

static void walk_arguments(struct loader *loader, int argc, char **argv)
{
	static const struct {
		const char *flag;
		enum action action;
	} actions[] = {{"--help", ACTION_HELP},
		       {"-h", ACTION_HELP},
		       {"--help=markdown", ACTION_MARKDOWN},
		       {"--version", ACTION_VERSION}};
	bool flags_over = false;
	for (int i = 1; i < argc; i++) {
		enum action action = ACTION_RUN;
		for (size_t k = 0; !flags_over && k < sizeof(actions) / sizeof(actions[0]); k++)
			if (strcmp(argv[i], actions[k].flag) == 0)
				action = actions[k].action;
		if (action != ACTION_RUN)
			loader->action = action;
		else if (flags_over || argv[i][0] != '-' || !argv[i][1])
			loader->words[loader->word_count++] = argv[i];
		else if (strcmp(argv[i], "--") == 0)
			flags_over = true;
		else
			i = take_flag(loader, argc, argv, i);
	}
}

static void check_environment(struct loader *loader)
{
	regex_t link;
	if (regcomp(&link, SERVICE_LINK, REG_EXTENDED | REG_NOSUB) != 0) {
		loader->failed = loader->starved = true;
		return;
	}
	for (char **variable = environ; *variable; variable++) {
		char name[CONF_NAME_SIZE];
		const char *equals = strchr(*variable, '=');
		if (strncmp(*variable, CONF_PREFIX, strlen(CONF_PREFIX)) != 0 || !equals || !equals[1])
			continue;
		int len = (int)(equals - *variable);
		snprintf(name, sizeof(name), "%.*s", len, *variable);
		const char *bare = name + strlen(CONF_PREFIX);
		if (!find_target(loader->program, bare).option && !conf_is_known(bare) &&
		    regexec(&link, *variable, 0, NULL, 0) != 0)
			unknown(loader, name, conf_variable_name);
	}
	regfree(&link);
}

/* NULL when unset or empty. */
static char *variable(const char *name, const char *suffix)
{
	char full[CONF_NAME_SIZE];
	conf_variable_name(name, suffix, full);
	char *value = getenv(full);
	return value && *value ? value : NULL;
}

/* NULL, too, when it says nothing; a list says nothing with separators alone. */
static const char *unless_empty(const struct conf_option *option, const char *value)
{
	size_t blank = value && option->type == CONF_LIST ? strspn(value, CONF_LIST_SEPARATORS) : 0;
	return value && value[blank] ? value : NULL;
}

/* Stores a secret from where it is; false if it is nowhere. */
static bool resolve_secret(struct loader *loader, const struct conf_option *option, const struct flag_value *flag,
			   void *settings)
{
	char name[CONF_NAME_SIZE], secret[CONF_SECRET_MAX + 1];
	const char *file = flag->file ? flag->file : variable(option->name, "_FILE"),
		   *value = flag->file ? NULL : variable(option->name, "");
	struct why why = {0};
	int err = 0;
	conf_variable_name(option->name, file ? "_FILE" : "", name);
	if (flag->file)
		conf_flag_name(option->name, "_FILE", name);
	if (file && value)
		err = why_set(&why, ERR_INVALID, "", "set as well as %s%s; only one of them can be meant", CONF_PREFIX,
			      option->name);
	else if (file && (err = conf_read_secret(file, secret, &why)) == 0)
		value = strcmp(secret, CONF_NO_SECRET) != 0 ? secret : (file = NULL);
	if (err == 0 && value)
		err = conf_store(option, value, settings, &why);
	if (err < 0)
		problem(loader, name, err, &why);
	sodium_memzero(secret, sizeof(secret));
	return file || value;
}

static bool resolve_plain(struct loader *loader, const struct conf_option *option, const struct flag_value *flag,
			  void *settings)
{
	char name[CONF_NAME_SIZE];
	const char *by_flag = unless_empty(option, flag->text.data), *value = by_flag;
	struct why why = {0};
	if (!value)
		value = unless_empty(option, variable(option->name, ""));
	if (!value)
		value = option->def;
	if (!value)
		return false;
	conf_variable_name(option->name, "", name);
	if (by_flag)
		conf_flag_name(option->name, "", name);
	int err = conf_store(option, value, settings, &why);
	if (err < 0)
		problem(loader, name, err, &why);
	return true;
}

static void resolve(struct loader *loader, void *settings)
{
	const struct conf_program *program = loader->program;
	for (size_t i = 0; i < program->option_count; i++) {
		const struct conf_option *option = &program->options[i];
		char name[CONF_NAME_SIZE];
		struct why why;
		bool is_set = option->type == CONF_SECRET ? resolve_secret(loader, option, &loader->flags[i], settings)
							  : resolve_plain(loader, option, &loader->flags[i], settings);
		if (is_set || !option->required)
			continue;
		conf_variable_name(option->name, "", name);
		if (option->type == CONF_SECRET)
			why_set(&why, ERR_INVALID, "", "required (or %s_FILE)", name);
		else
			why_set(&why, ERR_INVALID, "", "required");
		problem(loader, name, ERR_INVALID, &why);
	}
}

/* What has been read is neither for the programs that this one starts nor for `ps e`. */
static void wipe_environment(const struct conf_program *program)
{
	for (size_t i = 0; i < program->option_count; i++) {
		const struct conf_option *option = &program->options[i];
		char name[CONF_NAME_SIZE], *value = option->type == CONF_SECRET ? variable(option->name, "") : NULL;
		if (!value)
			continue;
		sodium_memzero(value, strlen(value));
		conf_variable_name(option->name, "", name);
		unsetenv(name);
	}
}

static void print_action(const struct conf_program *program, enum action action)
{
	if (action == ACTION_VERSION)
		printf("%s %s\n", program->name, SILODNS_VERSION);
	else if (action == ACTION_MARKDOWN)
		conf_print_markdown(program, stdout);
	else
		conf_print_help(program, stdout);
	fflush(stdout);
}

int conf_load(const struct conf_program *program, int argc, char **argv, FILE *err_stream, void *ret_settings,
	      enum conf_outcome *ret_outcome, int *ret_argc)
{
	_cleanup_(loader_release) struct loader loader = {
		.program = program, .words = argv + 1, .problems = BUF_INIT(PROBLEMS_MAX)};
	loader.flags = calloc(program->option_count + 1, sizeof(*loader.flags));
	if (!loader.flags) {
		fputs("out of memory\n", err_stream);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < program->option_count; i++)
		loader.flags[i].text = BUF_INIT(ARGUMENT_MAX);
	walk_arguments(&loader, argc, argv);
	if (loader.action != ACTION_RUN) {
		print_action(program, loader.action);
		*ret_outcome = CONF_EXIT;
		return 0;
	}
	for (int i = 0; !ret_argc && i < loader.word_count; i++) {
		struct why why;
		why_set(&why, ERR_INVALID, "", "\"%s\" is not a flag; %s takes no arguments", loader.words[i],
			program->name);
		problem(&loader, "argument", ERR_INVALID, &why);
	}
	check_environment(&loader);
	resolve(&loader, ret_settings);
	if (loader.failed) {
		fprintf(err_stream, "%s%s", loader.problems.data ? loader.problems.data : "",
			loader.starved ? "out of memory\n" : "");
		conf_release(program, ret_settings);
		return loader.starved ? ERR_NOMEM : ERR_INVALID;
	}
	wipe_environment(program);
	*ret_outcome = CONF_RUN;
	if (ret_argc)
		*ret_argc = loader.word_count;
	return 0;
}
