/*
 * The text of a hosts file: pure text in, text out; no file is touched here.
 *
 * silodns owns one block, from a line "# BEGIN silodns…" to a line "# END silodns". Inside, "# silo ID" opens the part
 * of each silo, so that one silo can be replaced, or kept after a restart, without the others:
 *
 *     # BEGIN silodns: kept by silodns-hostsync, changes between these two lines are lost
 *     # silo silo1
 *     192.0.2.7	dbserver
 *     # END silodns
 *
 * Every byte outside the block is the owner's and comes out as it went in: CRLF, NUL bytes, very long lines. If the
 * last line of the file has no line break, the one that the block needs belongs to the block (a comment in it says so)
 * and goes away with it. Text is taken as bytes and as glibc reads it: a '#' or a NUL ends what counts in a line.
 */
#ifndef SILODNS_HOSTSFILE_H
#define SILODNS_HOSTSFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/hub/silo.h"

#define HOSTSFILE_MAX ((size_t)64 << 20) /* bytes; a longer file is refused */

struct hostsfile_block {
	bool found;
	size_t start, end; /* bytes [start, end) of the text; both its length when there is no block */
};

/* ERR_CONFLICT when the markers do not make exactly one block or none: the reason names the lines, and nothing may be
 * written. Never guesses which text is whose. */
int hostsfile_find(const char *text, size_t len, struct hostsfile_block *ret_block, struct why *ret_why);

/* What the block says, part by part; owns its silos. */
struct hostsfile_parts {
	struct silo *items;
	size_t count;
};

/* Lines that make no sense there (somebody edited the block) are skipped. ERR_NOMEM. */
int hostsfile_read_parts(const char *text, const struct hostsfile_block *block, struct hostsfile_parts *ret_parts);
const struct silo *hostsfile_find_part(const struct hostsfile_parts *parts, const char *id); /* or NULL */
void hostsfile_parts_release(struct hostsfile_parts *parts);

/* One line outside the block. */
struct hostsfile_line {
	unsigned long number; /* from 1 */
	const char *text;
	size_t len;          /* with its line break, if it has one */
	const char *address; /* NULL: the line gives no address a name */
	size_t address_len;
	const char *names, *names_end; /* what follows the address, up to a comment or the end */
};

struct hostsfile_cursor {
	const char *text;
	size_t len;
	const struct hostsfile_block *block; /* skipped */
	size_t at;
	unsigned long line;
};

#define HOSTSFILE_CURSOR(t, l, b) ((struct hostsfile_cursor){.text = (t), .len = (l), .block = (b)})

bool hostsfile_next_line(struct hostsfile_cursor *cursor, struct hostsfile_line *ret_line);
/* `*at` starts as line->names and moves on. Names come out as they are written, in any case. */
bool hostsfile_next_name(const struct hostsfile_line *line, const char **at, const char **ret_name, size_t *ret_len);

/* True: this name, outside the block, gives way to the block. */
typedef bool (*hostsfile_drop_fn)(void *arg, const char *name, size_t len);

/*
 * Appends the file as it shall be to `out`: the block with `parts` (NULL: without a block) where it stood, else at the
 * end. Names for which `drop` (may be NULL) says so are taken out of their lines; a line that is left without a name
 * goes too, but for its comment. ERR_NOMEM, ERR_TOO_LARGE.
 */
int hostsfile_rewrite(const char *text, size_t len, const struct hostsfile_block *block,
		      const struct hostsfile_parts *parts, hostsfile_drop_fn drop, void *arg, struct buf *out);

#endif
