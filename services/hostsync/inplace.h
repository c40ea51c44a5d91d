/*
 * Replaces a file's contents without replacing the file, for a hosts file that is a mount point.
 *
 * Before the first byte changes, the old and the new text lie durably in the state directory and the space is reserved.
 * Then the new bytes are written, padded with line breaks to the old length so that no reader sees a short file or half
 * an old line, and the padding is cut off last. Who is interrupted in between is found and finished by
 * inplace_recover(). Failures come with a sentence in `ret_why`.
 */
#ifndef SILODNS_INPLACE_H
#define SILODNS_INPLACE_H

#include "hostsync/diskfile.h"

/* As replace_write(). A failure in the middle puts the old bytes back. */
int inplace_write(const struct diskfile *target, const struct diskfile_stamp *expected,
		  const struct diskfile_texts *texts, struct why *ret_why);

enum inplace_found {
	INPLACE_NOTHING,
	INPLACE_FINISHED, /* a write had been interrupted: the file is now the new one */
	INPLACE_FOREIGN /* it had, but somebody else has changed the file since: it is left as it is, and the text from
			 * before the write is kept, `ret_why` says where */
};

/* Call at start, before the file is read. */
int inplace_recover(const struct diskfile *target, enum inplace_found *ret_found, struct why *ret_why);

#endif
