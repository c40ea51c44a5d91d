#include "hostsync/hostsfile.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/base/cleanup.h"

#define MARK_BEGIN "# BEGIN silodns"
#define MARK_END "# END silodns"
#define MARK_SILO "# silo "
#define MARK_BREAK "# the line break before this block belongs to it"

#define BEGIN_LINE MARK_BEGIN ": kept by silodns-hostsync, changes between these two lines are lost\n"
#define END_LINE MARK_END "\n"
#define BREAK_LINE MARK_BREAK "\n"

enum mark { MARK_NONE, MARK_IS_BEGIN, MARK_IS_END };

struct marker {
	size_t start, end;
	unsigned long line; /* 0 = not seen */
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Length of the line at `text`, line break included. */
static size_t line_length(const char *text, size_t len)
{
	const char *newline = memchr(text, '\n', len);
	return newline ? (size_t)(newline - text) + 1 : len;
}

static bool starts_with(const char *line, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

/* The word must end there: "# BEGIN silodns2" is somebody else's. */
static bool is_mark(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);
	return starts_with(line, len, word) && (len == n || is_blank(line[n]) || line[n] == ':');
}

static enum mark line_mark(const char *line, size_t len)
{
	if (is_mark(line, len, MARK_BEGIN))
		return MARK_IS_BEGIN;
	return is_mark(line, len, MARK_END) ? MARK_IS_END : MARK_NONE;
}

static int refuse_begin(const struct marker *begin, const struct marker *end, unsigned long line, struct why *why)
{
	if (end->line)
		return why_set(
			why, ERR_CONFLICT, "",
			"two silodns blocks: the first from line %lu to line %lu, the second from line %lu; remove one",
			begin->line, end->line, line);
	return why_set(why, ERR_CONFLICT, "",
		       "\"" MARK_BEGIN "\" in line %lu and again in line %lu, without \"" MARK_END "\" between them",
		       begin->line, line);
}

static int refuse_end(const struct marker *end, unsigned long line, struct why *why)
{
	if (end->line)
		return why_set(why, ERR_CONFLICT, "", "\"" MARK_END "\" in line %lu and again in line %lu", end->line,
			       line);
	return why_set(why, ERR_CONFLICT, "", "\"" MARK_END "\" in line %lu without \"" MARK_BEGIN "\" before it",
		       line);
}

/* The break before the block is ours only while the block is the file's end: with text behind it, taking the break away
 * would join two of the owner's lines. */
static bool owns_break(const char *text, size_t len, const struct marker *begin, const struct marker *end)
{
	size_t note = begin->end;
	return end->end == len && begin->start > 0 && note < end->start &&
	       is_mark(text + note, line_length(text + note, len - note), MARK_BREAK);
}

int hostsfile_find(const char *text, size_t len, struct hostsfile_block *ret_block, struct why *ret_why)
{
	struct marker begin = {0}, end = {0};
	unsigned long line = 1;
	for (size_t at = 0, n; at < len; at += n, line++) {
		n = line_length(text + at, len - at);
		switch (line_mark(text + at, n)) {
		case MARK_IS_BEGIN:
			if (begin.line)
				return refuse_begin(&begin, &end, line, ret_why);
			begin = (struct marker){at, at + n, line};
			break;
		case MARK_IS_END:
			if (!begin.line || end.line)
				return refuse_end(&end, line, ret_why);
			end = (struct marker){at, at + n, line};
			break;
		case MARK_NONE:
			break;
		}
	}
	if (begin.line && !end.line)
		return why_set(ret_why, ERR_CONFLICT, "",
			       "\"" MARK_BEGIN "\" in line %lu without \"" MARK_END "\" after it", begin.line);
	if (!begin.line)
		*ret_block = (struct hostsfile_block){.start = len, .end = len};
	else
		*ret_block = (struct hostsfile_block){
			.found = true, .start = begin.start - owns_break(text, len, &begin, &end), .end = end.end};
	return 0;
}

/* ---- the parts inside the block ---- */

static int open_part(struct hostsfile_parts *parts, const char *id, size_t len, struct silo **ret_part)
{
	while (len > 0 && is_blank(id[len - 1]))
		len--;
	*ret_part = NULL;
	if (silo_id_check(id, len, NULL) < 0)
		return 0;
	struct silo *grown = realloc(parts->items, (parts->count + 1) * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	parts->items = grown;
	*ret_part = &grown[parts->count++];
	**ret_part = (struct silo){0};
	memcpy((*ret_part)->id, id, len);
	return 0;
}

static int add_record(struct silo *part, const struct hostsfile_line *line)
{
	struct ipaddr ip;
	char hostname[HOSTNAME_LEN_MAX + 1];
	const char *at = line->names, *name;
	size_t len;
	if (!line->address || ipaddr_parse(line->address, line->address_len, &ip, NULL) < 0)
		return 0;
	while (hostsfile_next_name(line, &at, &name, &len)) {
		if (hostname_parse(name, len, hostname, NULL) < 0)
			continue;
		int err = silo_add(part, hostname, &ip);
		if (err == ERR_NOMEM)
			return err;
	}
	return 0;
}

int hostsfile_read_parts(const char *text, const struct hostsfile_block *block, struct hostsfile_parts *ret_parts)
{
	_cleanup_(hostsfile_parts_release) struct hostsfile_parts parts = {0};
	struct silo *part = NULL;
	struct hostsfile_line line;
	const struct hostsfile_block nothing = {.start = block->end - block->start, .end = block->end - block->start};
	struct hostsfile_cursor cursor = HOSTSFILE_CURSOR(text + block->start, nothing.start, &nothing);
	while (block->found && hostsfile_next_line(&cursor, &line)) {
		int err = 0;
		if (starts_with(line.text, line.len, MARK_SILO))
			err = open_part(&parts, line.text + strlen(MARK_SILO), line.len - strlen(MARK_SILO), &part);
		else if (part)
			err = add_record(part, &line);
		if (err < 0)
			return err;
	}
	for (size_t i = 0; i < parts.count; i++)
		silo_sort(&parts.items[i]);
	*ret_parts = parts;
	parts = (struct hostsfile_parts){0};
	return 0;
}

const struct silo *hostsfile_find_part(const struct hostsfile_parts *parts, const char *id)
{
	for (size_t i = 0; i < parts->count; i++)
		if (strcmp(parts->items[i].id, id) == 0)
			return &parts->items[i];
	return NULL;
}

void hostsfile_parts_release(struct hostsfile_parts *parts)
{
	if (!parts)
		return;
	for (size_t i = 0; i < parts->count; i++)
		silo_release(&parts->items[i]);
	free(parts->items);
	*parts = (struct hostsfile_parts){0};
}

/* ---- the lines outside it ---- */

static bool is_address(const char *text, size_t len)
{
	char address[INET6_ADDRSTRLEN + 1];
	unsigned char bytes[sizeof(struct in6_addr)];
	const char *zone = memchr(text, '%', len); /* fe80::1%lo0: glibc reads these */
	if (zone)
		len = (size_t)(zone - text);
	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	return inet_pton(AF_INET6, address, bytes) == 1 || (!zone && inet_pton(AF_INET, address, bytes) == 1);
}

static bool next_token(const char **at, const char *end, const char **ret_token, size_t *ret_len)
{
	while (*at < end && is_blank(**at))
		(*at)++;
	const char *start = *at;
	while (*at < end && !is_blank(**at))
		(*at)++;
	*ret_token = start;
	*ret_len = (size_t)(*at - start);
	return *ret_len > 0;
}

static size_t counting_length(const char *line, size_t len)
{
	size_t n = 0;
	while (n < len && line[n] != '#' && line[n] != '\0' && line[n] != '\n')
		n++;
	return n;
}

bool hostsfile_next_line(struct hostsfile_cursor *cursor, struct hostsfile_line *ret_line)
{
	if (cursor->at == cursor->block->start && cursor->at < cursor->block->end) {
		for (; cursor->at < cursor->block->end; cursor->line++)
			cursor->at += line_length(cursor->text + cursor->at, cursor->block->end - cursor->at);
	}
	if (cursor->at >= cursor->len)
		return false;
	const char *text = cursor->text + cursor->at;
	size_t limit = cursor->at < cursor->block->start ? cursor->block->start : cursor->len;
	struct hostsfile_line line = {
		.number = ++cursor->line, .text = text, .len = line_length(text, limit - cursor->at)};
	cursor->at += line.len;
	const char *at = text, *end = text + counting_length(text, line.len);
	if (next_token(&at, end, &line.address, &line.address_len) && is_address(line.address, line.address_len)) {
		line.names = at;
		line.names_end = end;
	} else {
		line.address = NULL;
	}
	*ret_line = line;
	return true;
}

bool hostsfile_next_name(const struct hostsfile_line *line, const char **at, const char **ret_name, size_t *ret_len)
{
	return next_token(at, line->names_end, ret_name, ret_len);
}

/* ---- the file as it shall be ---- */

static void append_edited_line(struct buf *out, const struct hostsfile_line *line, hostsfile_drop_fn drop, void *arg)
{
	size_t before = out->len, kept = 0, dropped = 0, len;
	const char *at = line->names, *from = line->names, *name;
	if (!line->address) {
		buf_append(out, line->text, line->len);
		return;
	}
	buf_append(out, line->text, (size_t)(line->names - line->text));
	while (hostsfile_next_name(line, &at, &name, &len)) {
		bool drops = drop(arg, name, len);
		if (!drops) /* with the blanks before it */
			buf_append(out, from, (size_t)(at - from));
		kept += !drops;
		dropped += drops;
		from = at;
	}
	const char *end = line->text + line->len;
	if (kept > 0 || dropped == 0) {
		buf_append(out, from, (size_t)(end - from));
		return;
	}
	if (out->err < 0)
		return;
	out->len = before; /* no name is left: the line goes, but for what stands behind the names */
	out->data[before] = '\0';
	size_t rest = (size_t)(end - line->names_end);
	if (rest == 0 || *line->names_end == '\n')
		return;
	if (line_mark(line->names_end, rest) != MARK_NONE) /* at the line's beginning it would be one */
		buf_append_str(out, " ");
	buf_append(out, line->names_end, rest);
}

static void append_outside(struct buf *out, const char *text, size_t from, size_t to, hostsfile_drop_fn drop, void *arg)
{
	const struct hostsfile_block nothing = {.start = to, .end = to};
	struct hostsfile_cursor cursor = HOSTSFILE_CURSOR(text, to, &nothing);
	struct hostsfile_line line;
	cursor.at = from;
	if (!drop) {
		buf_append(out, text + from, to - from);
		return;
	}
	while (hostsfile_next_line(&cursor, &line))
		append_edited_line(out, &line, drop, arg);
}

static void append_block(struct buf *out, const struct hostsfile_parts *parts)
{
	bool needs_break = out->len > 0 && out->data[out->len - 1] != '\n';
	buf_append_str(out, needs_break ? "\n" BEGIN_LINE BREAK_LINE : BEGIN_LINE);
	for (size_t i = 0; i < parts->count; i++) {
		const struct silo *silo = &parts->items[i];
		buf_append_fmt(out, MARK_SILO "%s\n", silo->id);
		silo_append_hosts(silo, out);
	}
	buf_append_str(out, END_LINE);
}

int hostsfile_rewrite(const char *text, size_t len, const struct hostsfile_block *block,
		      const struct hostsfile_parts *parts, hostsfile_drop_fn drop, void *arg, struct buf *out)
{
	append_outside(out, text, 0, block->start, drop, arg);
	if (parts && out->err == 0)
		append_block(out, parts);
	append_outside(out, text, block->end, len, drop, arg);
	return out->err;
}
