/*
 * Replaces the contents of the hosts file durably.
 *
 * - At every instant the file is the old one or the new one, whole: a temporary file in the same directory gets the
 *   owner, mode and extended attributes (ACLs, SELinux label) of the old one, is synced and renamed over it.
 * - A file that is itself a mount point (a container's /etc/hosts) cannot be renamed over and is written in place
 *   (inplace.h). Only that, EBUSY and EXDEV choose this way; every other failure leaves the file alone.
 * - A symbolic link is followed: its target is replaced, the link stays.
 * - What was written by somebody else since it was read is not overwritten (but for the instant of the rename itself).
 *
 * All failures come with a sentence in `ret_why`. One thread.
 */
#ifndef SILODNS_REPLACE_H
#define SILODNS_REPLACE_H

#include "hostsync/diskfile.h"

enum replace_way { REPLACE_BY_RENAME, REPLACE_IN_PLACE };

/* ERR_PRECONDITION: the file is no longer the one that `expected` says; read again. ERR_SYSTEM, ERR_NOMEM: not written.
 * A file that does not exist yet is made with mode 0644. */
int replace_write(const struct diskfile *target, const struct diskfile_stamp *expected,
		  const struct diskfile_texts *texts, enum replace_way *ret_way, struct why *ret_why);

#endif
