/* A signal ends every wait at once, whichever thread notices it first; none is lost. */
#include "../../unit.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/lifecycle.h"

#define LONG_MS 20000 /* a wait that must not last */

/* Stop cannot be taken back, so each test is a process of its own. */
static void in_child(bool (*test)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(lifecycle_init() == 0 && test() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool took_less_than(int64_t start, int64_t ms)
{
	return clock_mono_ms() - start < ms;
}

static bool check_stop_signals(void)
{
	int64_t start = clock_mono_ms();
	if (lifecycle_stop_requested())
		return false;
	kill(getpid(), SIGTERM);
	return lifecycle_wait(LONG_MS, -1) == LIFECYCLE_STOP && lifecycle_stop_requested() &&
	       lifecycle_wait(LONG_MS, -1) == LIFECYCLE_STOP && lifecycle_wait(-1, -1) == LIFECYCLE_STOP &&
	       took_less_than(start, LONG_MS / 2);
}

static bool check_interrupt(void)
{
	kill(getpid(), SIGINT);
	return lifecycle_wait(LONG_MS, -1) == LIFECYCLE_STOP;
}

static bool check_stop_is_seen_without_waiting(void)
{
	kill(getpid(), SIGTERM);
	return lifecycle_stop_requested();
}

static bool check_reload_once(void)
{
	kill(getpid(), SIGHUP);
	return lifecycle_wait(LONG_MS, -1) == LIFECYCLE_RELOAD && lifecycle_wait(0, -1) == LIFECYCLE_TIMEOUT &&
	       !lifecycle_stop_requested();
}

static bool check_reload_survives_a_look_for_stop(void)
{
	kill(getpid(), SIGHUP);
	return !lifecycle_stop_requested() && lifecycle_wait(LONG_MS, -1) == LIFECYCLE_RELOAD;
}

static bool check_stop_wins_over_reload(void)
{
	kill(getpid(), SIGHUP);
	kill(getpid(), SIGTERM);
	return lifecycle_wait(LONG_MS, -1) == LIFECYCLE_STOP;
}

static bool check_pipe_signal_ignored(void)
{
	int fds[2];
	if (pipe(fds) != 0 || close(fds[0]) != 0)
		return false;
	return write(fds[1], "x", 1) < 0;
}

static bool check_readable(void)
{
	int fds[2];
	int64_t start = clock_mono_ms();
	if (pipe(fds) != 0 || lifecycle_wait(30, fds[0]) != LIFECYCLE_TIMEOUT || took_less_than(start, 30))
		return false;
	if (write(fds[1], "x", 1) != 1)
		return false;
	return lifecycle_wait(LONG_MS, fds[0]) == LIFECYCLE_READABLE && lifecycle_wait(0, fds[0]) == LIFECYCLE_READABLE;
}

static bool check_child_has_its_signals_back(void)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		lifecycle_child();
		kill(getpid(), SIGTERM);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
}

static void *request_stop(void *arg)
{
	(void)arg;
	lifecycle_request_stop();
	return NULL;
}

static bool check_other_thread_stops(void)
{
	pthread_t thread;
	int64_t start = clock_mono_ms();
	bool stopped = pthread_create(&thread, NULL, request_stop, NULL) == 0 &&
		       lifecycle_wait(LONG_MS, -1) == LIFECYCLE_STOP && took_less_than(start, LONG_MS / 2);
	return pthread_join(thread, NULL) == 0 && stopped;
}

static void *look_until_stop(void *arg)
{
	(void)arg;
	while (!lifecycle_stop_requested())
		;
	return NULL;
}

/* The thread may take the signal away under the waiter's eyes. */
static bool check_no_wake_up_is_lost(void)
{
	pthread_t thread;
	int64_t start = clock_mono_ms();
	if (pthread_create(&thread, NULL, look_until_stop, NULL) != 0)
		return false;
	for (int i = 0; i < 200; i++) {
		if (fork() == 0) {
			kill(getppid(), SIGHUP);
			_exit(0);
		}
		if (lifecycle_wait(LONG_MS, -1) != LIFECYCLE_RELOAD)
			return false;
	}
	lifecycle_request_stop();
	return pthread_join(thread, NULL) == 0 && took_less_than(start, LONG_MS);
}

static void each_in_a_process_of_its_own(void **state)
{
	bool (*const tests[])(void) = {check_stop_signals,
				       check_interrupt,
				       check_reload_once,
				       check_stop_is_seen_without_waiting,
				       check_readable,
				       check_reload_survives_a_look_for_stop,
				       check_stop_wins_over_reload,
				       check_child_has_its_signals_back,
				       check_pipe_signal_ignored,
				       check_other_thread_stops,
				       check_no_wake_up_is_lost};
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		print_message("test %zu\n", i);
		in_child(tests[i]);
	}
}
