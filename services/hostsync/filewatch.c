#include "hostsync/filewatch.h"

#include <limits.h>
#include <string.h>
#include <sys/inotify.h>

#include "common/base/cleanup.h"
#include "hostsync/replace.h"

#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)

void filewatch_open(struct filewatch *watch)
{
	*watch = (struct filewatch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .dir = -1, .file = -1};
}

void filewatch_close(struct filewatch *watch)
{
	cleanup_close(&watch->fd);
	watch->fd = -1;
}

void filewatch_aim(struct filewatch *watch, const char *path)
{
	struct diskfile target;
	if (watch->fd < 0 || diskfile_resolve(path, NULL, &target, NULL) < 0)
		return;
	watch->dir = inotify_add_watch(watch->fd, target.dir, EVENTS);
	watch->file = inotify_add_watch(watch->fd, target.path, IN_CLOSE_WRITE);
}

static bool concerns(const struct filewatch *watch, const struct inotify_event *event, const char *base)
{
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	if (event->wd == watch->file)
		return (event->mask & IN_CLOSE_WRITE) != 0;
	return event->len > 0 && strcmp(event->name, base) == 0;
}

bool filewatch_touched(struct filewatch *watch, const char *path)
{
	_Alignas(struct inotify_event) char events[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
	struct diskfile target;
	ssize_t len = read(watch->fd, events, sizeof(events));
	if (len <= 0)
		return false;
	bool touched = diskfile_resolve(path, NULL, &target, NULL) < 0;
	for (; len > 0; len = read(watch->fd, events, sizeof(events))) {
		for (ssize_t at = 0; at < len;) {
			const struct inotify_event *event = (const void *)(events + at);
			touched = touched || concerns(watch, event, target.base);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
	return touched;
}
