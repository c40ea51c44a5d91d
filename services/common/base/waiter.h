/*
 * Who waits without a thread, and how it is woken: a suspended connection, say. Whoever lets somebody wait (the
 * journal, a password's verification, a watch) knows only this, and not what waits. The struct is copied; its handle is
 * borrowed until the last resume().
 */
#ifndef SILODNS_BASE_WAITER_H
#define SILODNS_BASE_WAITER_H

struct waiter {
	void *handle;
	void (*suspend)(void *handle); /* only by the thread that serves it */
	void (*resume)(void *handle);  /* any thread; only while it is suspended */
};

#endif
