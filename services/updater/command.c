#include "updater/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/lifecycle.h"

#define STOP_CHECK_MS 100

extern char **environ;

/* In a process group of its own, with ordinary signals, its output in the pipe. 0 or an errno. */
static int start_shell(const char *text, int out, pid_t *ret_pid)
{
	char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)text, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, ignored;

	sigemptyset(&none);
	sigemptyset(&ignored);
	sigaddset(&ignored, SIGPIPE); /* by lifecycle_init(); a pipeline in the command counts on it */
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &ignored);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	int failed = posix_spawn(ret_pid, "/bin/sh", &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return failed;
}

/* Until the other end is closed. */
static int read_output(int in, int64_t until, bool (*stopped)(void), struct buf *output)
{
	char chunk[1024];

	for (;;) {
		int64_t left = until - clock_mono_ms();
		if (stopped && stopped())
			return ERR_STOPPED;
		if (left <= 0)
			return ERR_TIMEOUT;
		struct pollfd readable = {.fd = in, .events = POLLIN};
		if (poll(&readable, 1, left < STOP_CHECK_MS ? (int)left : STOP_CHECK_MS) <= 0)
			continue;
		ssize_t got = read(in, chunk, sizeof chunk);
		if (got == 0)
			return ERR_OK;
		if (got < 0 && errno != EINTR)
			return ERR_SYSTEM;
		if (got > 0 && buf_append(output, chunk, (size_t)got))
			return output->err;
	}
}

/* The command may have closed its output and go on. */
static int reap(pid_t pid, int64_t until, bool (*stopped)(void), int err, int *ret_status)
{
	const struct timespec tick = {.tv_nsec = 5 * 1000000};

	while (!err && waitpid(pid, ret_status, WNOHANG) == 0) {
		if (stopped && stopped())
			err = ERR_STOPPED;
		else if (clock_mono_ms() >= until)
			err = ERR_TIMEOUT;
		else
			nanosleep(&tick, NULL);
	}
	if (err) {
		kill(-pid, SIGKILL);
		waitpid(pid, ret_status, 0);
	} else {
		kill(-pid, SIGKILL); /* what it may have left in the background */
	}
	return err;
}

int command_run(const char *text, long timeout_ms, bool (*stopped)(void), struct buf *output, struct why *ret_why)
{
	int64_t until = clock_mono_ms() + timeout_ms;
	int ends[2], status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return why_set(ret_why, ERR_SYSTEM, "", "pipe: %s", strerror(errno));
	_cleanup_close_ int in = ends[0];
	int failed = start_shell(text, ends[1], &pid);
	close(ends[1]);
	if (failed)
		return why_set(ret_why, ERR_SYSTEM, "", "/bin/sh: %s", strerror(failed));
	int err = reap(pid, until, stopped, read_output(in, until, stopped, output), &status);
	if (err == ERR_TIMEOUT)
		return why_set(ret_why, err, "", "the command did not end within %ld ms", timeout_ms);
	if (err)
		return why_set(ret_why, err, "",
			       err == ERR_TOO_LARGE ? "the command wrote more than %zu bytes"
						    : "the command was given up (limit %zu bytes)",
			       output->max);
	if (WIFSIGNALED(status))
		return why_set(ret_why, ERR_DETECT, "", "the command was ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return why_set(ret_why, ERR_DETECT, "", "the command ended with exit code %d", WEXITSTATUS(status));
	return ERR_OK;
}
