#include "common/base/lifecycle.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/clock.h"

static int signal_fd = -1;
/* Wakes the waiting thread when another one took the signal out of signal_fd, or asked for a stop itself. */
static int wake_fd = -1;
static sigset_t mask_before;
static atomic_bool stop, reload;

void lifecycle_keep_secrets(void)
{
	/* The limit alone does not keep a core from a program that core_pattern pipes it to. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	prctl(PR_SET_DUMPABLE, 0);
}

int lifecycle_init(void)
{
	sigset_t mask;
	if (signal_fd >= 0)
		return 0;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return ERR_SYSTEM;
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0)
		return ERR_SYSTEM;
	signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd >= 0 && sigprocmask(SIG_BLOCK, &mask, &mask_before) == 0)
		return 0;
	if (signal_fd >= 0)
		close(signal_fd);
	close(wake_fd);
	signal_fd = wake_fd = -1;
	return ERR_SYSTEM;
}

static void wake(void)
{
	const uint64_t one = 1;
	if (wake_fd >= 0)
		while (write(wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

static void take_signals(void)
{
	struct signalfd_siginfo info;
	int saved = errno;
	while (signal_fd >= 0 && read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
		atomic_store(info.ssi_signo == SIGHUP ? &reload : &stop, true);
		wake();
	}
	errno = saved;
}

bool lifecycle_stop_requested(void)
{
	/* Looks at the signals itself, so that a request under way in the only thread notices one. */
	if (!atomic_load(&stop))
		take_signals();
	return atomic_load(&stop);
}

void lifecycle_request_stop(void)
{
	atomic_store(&stop, true);
	wake();
}

/* Until `deadline` (-1: none), one of the two descriptors above or one of `own`. True if one of those is readable. */
static bool wait_readable(int64_t deadline, const int *own, size_t count)
{
	struct pollfd fds[2 + LIFECYCLE_FDS_MAX] = {{signal_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
	int64_t left = deadline < 0 ? -1 : deadline - clock_mono_ms();
	uint64_t wakes;
	bool readable = false;
	if (deadline >= 0 && left < 0)
		left = 0;
	for (size_t i = 0; i < count; i++)
		fds[2 + i] = (struct pollfd){own[i], POLLIN, 0};
	if (poll(fds, 2 + count, left > INT_MAX ? INT_MAX : (int)left) <= 0)
		return false;
	if (fds[1].revents && read(wake_fd, &wakes, sizeof(wakes)) < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		readable = readable || fds[2 + i].revents != 0;
	return readable;
}

enum lifecycle_wake lifecycle_wait_any(int64_t timeout_ms, const int *fds, size_t count)
{
	int64_t now = clock_mono_ms();
	int64_t deadline = timeout_ms < 0 ? -1 : timeout_ms > INT64_MAX - now ? INT64_MAX : now + timeout_ms;
	bool readable = false;
	if (count > LIFECYCLE_FDS_MAX)
		count = LIFECYCLE_FDS_MAX;
	for (bool polled = false;; polled = true) {
		if (lifecycle_stop_requested())
			return LIFECYCLE_STOP;
		if (atomic_exchange(&reload, false))
			return LIFECYCLE_RELOAD;
		if (readable)
			return LIFECYCLE_READABLE;
		if (polled && deadline >= 0 && clock_mono_ms() >= deadline)
			return LIFECYCLE_TIMEOUT;
		readable = wait_readable(deadline, fds, count);
	}
}

enum lifecycle_wake lifecycle_wait(int64_t timeout_ms, int fd)
{
	return lifecycle_wait_any(timeout_ms, &fd, 1);
}

void lifecycle_child(void)
{
	if (signal_fd < 0)
		return;
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	signal(SIGPIPE, SIG_DFL);
}
