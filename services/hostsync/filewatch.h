/*
 * Notices that somebody writes, replaces or removes one file, by inotify on its directory (a replaced file is another
 * inode) and on itself (a mount point's own directory is elsewhere). Only a hint: the caller looks at the file itself.
 * One thread.
 */
#ifndef SILODNS_FILEWATCH_H
#define SILODNS_FILEWATCH_H

#include <stdbool.h>

#include "common/base/err.h"

struct filewatch {
	int fd; /* to wait on for readability; -1 = not available */
	int dir, file;
};

void filewatch_open(struct filewatch *watch);
void filewatch_close(struct filewatch *watch);
/* Call whenever the file may be another inode than before. `path` may be a symbolic link. Best effort. */
void filewatch_aim(struct filewatch *watch, const char *path);
/* Takes what has happened; true if some of it concerns the file. */
bool filewatch_touched(struct filewatch *watch, const char *path);

#endif
