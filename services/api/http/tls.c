#include "api/http/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <utlist.h>

#include "api/http/certificate.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define EVENTS_MAX 64
#define TICK_MS 1000 /* how late a handshake's end may be noticed */

/* By which a change of a file is seen, also one behind a symbolic link: nobody can set the time of its last change. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t size; /* of two changes within one tick of the clock */
	struct timespec changed;
};

struct tls {
	struct tls_settings settings;
	struct stamp stamps[2]; /* of the files when they were last read; tls_renew() only */
	bool expiry_told;       /* tls_renew() only */
	int epoll, stop;
	bool started;
	pthread_t thread;
	pthread_mutex_t lock;           /* guards what follows */
	struct certificate *current;    /* counted */
	struct tls_connection *waiting; /* suspended, in the epoll set */
	bool stopping;
};

struct tls_connection {
	struct tls *tls;
	struct MHD_Connection *mhd;
	struct certificate *certificate; /* counted: the session uses it to its end */
	int fd;
	int64_t deadline_ms; /* clock_mono_ms() */
	bool greeted;        /* nothing of the handshake is to come any more; the connection's thread only */
	struct tls_connection *prev, *next;
};

/* --- the certificate ---------------------------------------------------------------------------------------------- */

static void take_stamps(const struct tls_settings *settings, struct stamp ret_stamps[static 2])
{
	const char *const files[] = {settings->cert_file, settings->key_file};

	memset(ret_stamps, 0, 2 * sizeof *ret_stamps);
	for (size_t i = 0; i < 2; i++) {
		struct stat st;
		if (stat(files[i], &st))
			continue; /* one that has gone differs, too */
		ret_stamps[i].device = st.st_dev;
		ret_stamps[i].inode = st.st_ino;
		ret_stamps[i].size = st.st_size;
		ret_stamps[i].changed = st.st_ctim;
	}
}

static void log_certificate(const struct tls *tls, const char *what, const struct certificate *certificate)
{
	char expires[CLOCK_TEXT_MAX];

	clock_format(certificate->expires_us, expires);
	log_info(what, LOG_STR("file", tls->settings.cert_file), LOG_STR("expires", expires));
}

static int load(struct tls *tls, struct certificate **ret_certificate, struct why *ret_why)
{
	take_stamps(&tls->settings, tls->stamps); /* first: what changes meanwhile is read again */
	return certificate_load(tls->settings.cert_file, tls->settings.key_file, ret_certificate, ret_why);
}

void tls_renew(struct tls *tls, bool asked)
{
	bool expired = clock_wall_us() >= tls_expires_us(tls);
	struct certificate *renewed;
	struct stamp stamps[2];
	struct why why = {0};

	if (expired && !tls->expiry_told)
		log_error("the certificate has expired: clients refuse it until it is renewed",
			  LOG_STR("file", tls->settings.cert_file));
	tls->expiry_told = expired;
	take_stamps(&tls->settings, stamps);
	if (!asked && memcmp(stamps, tls->stamps, sizeof stamps) == 0)
		return;
	if (load(tls, &renewed, &why)) {
		log_warn("certificate not renewed, the one before stays in use", LOG_STR("reason", why.text));
		return;
	}
	pthread_mutex_lock(&tls->lock);
	struct certificate *before = tls->current;
	tls->current = renewed;
	pthread_mutex_unlock(&tls->lock);
	certificate_unref(before);
	log_certificate(tls, "certificate renewed", renewed);
}

int64_t tls_expires_us(struct tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	int64_t expires_us = tls->current->expires_us;
	pthread_mutex_unlock(&tls->lock);
	return expires_us;
}

/* --- handshakes that wait ----------------------------------------------------------------------------------------- */

/* With the lock held. The connection's thread goes on with it, and may free it, from now on. */
static void wake(struct tls *tls, struct tls_connection *connection)
{
	epoll_ctl(tls->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
	DL_DELETE(tls->waiting, connection);
	MHD_resume_connection(connection->mhd);
}

static void *tls_main(void *arg)
{
	struct tls *tls = arg;
	struct tls_connection *connection, *next;
	struct epoll_event events[EVENTS_MAX];
	bool stopping = false;

	while (!stopping) {
		int count = epoll_wait(tls->epoll, events, EVENTS_MAX, TICK_MS);
		pthread_mutex_lock(&tls->lock);
		for (int i = 0; i < count; i++)
			if (events[i].data.ptr)
				wake(tls, events[i].data.ptr);
		stopping = tls->stopping;
		DL_FOREACH_SAFE (tls->waiting, connection, next) {
			if (!stopping && clock_mono_ms() < connection->deadline_ms)
				continue;
			shutdown(connection->fd, SHUT_RDWR);
			wake(tls, connection);
		}
		pthread_mutex_unlock(&tls->lock);
	}
	return NULL;
}

/* False: there is no more time. */
static bool wait_for_bytes(struct tls_connection *connection)
{
	struct tls *tls = connection->tls;
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = connection};

	pthread_mutex_lock(&tls->lock);
	bool waits = !tls->stopping && clock_mono_ms() < connection->deadline_ms &&
		     epoll_ctl(tls->epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0;
	if (waits) {
		MHD_suspend_connection(connection->mhd);
		DL_APPEND(tls->waiting, connection);
	}
	pthread_mutex_unlock(&tls->lock);
	return waits;
}

/* GnuTLS reads by this, during the handshake and ever after. */
static ssize_t pull(gnutls_transport_ptr_t arg, void *data, size_t size)
{
	struct tls_connection *connection = arg;
	ssize_t len = recv(connection->fd, data, size, 0);

	if (len >= 0 || errno != EAGAIN || connection->greeted)
		return len;
	if (!wait_for_bytes(connection))
		return 0;
	errno = EAGAIN;
	return -1;
}

/* The client's Finished is the last thing that a handshake waits for, in every version of TLS. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
		       const gnutls_datum_t *message)
{
	struct tls_connection *connection = gnutls_transport_get_ptr(session);

	(void)type, (void)when, (void)message;
	if (incoming)
		connection->greeted = true;
	return 0;
}

struct tls_connection *tls_connection_begin(struct tls *tls, struct MHD_Connection *mhd)
{
	int socket = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	gnutls_session_t session = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
	struct tls_connection *connection = malloc(sizeof *connection);

	if (!connection) {
		shutdown(socket, SHUT_RDWR);
		return NULL;
	}
	*connection = (struct tls_connection){
		.tls = tls,
		.mhd = mhd,
		.fd = socket,
		.deadline_ms = clock_mono_ms() + tls->settings.handshake_timeout_ms,
	};
	pthread_mutex_lock(&tls->lock);
	connection->certificate = certificate_ref(tls->current);
	pthread_mutex_unlock(&tls->lock);
	gnutls_transport_ptr_t receive, send;
	gnutls_transport_get_ptr2(session, &receive, &send);
	gnutls_transport_set_ptr2(session, connection, send);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
	/* Instead of the daemon's, which it gives to every session and which has no certificate. */
	if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, connection->certificate->credentials))
		shutdown(socket, SHUT_RDWR);
	return connection;
}

void tls_connection_end(struct tls_connection *connection)
{
	if (!connection)
		return;
	certificate_unref(connection->certificate);
	free(connection);
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

int tls_start(const struct tls_settings *settings, struct tls **ret_tls, struct why *ret_why)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	struct tls *tls = calloc(1, sizeof *tls);

	if (!tls)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	*tls = (struct tls){
		.settings = *settings, .epoll = epoll_create1(EPOLL_CLOEXEC), .stop = eventfd(0, EFD_CLOEXEC)};
	pthread_mutex_init(&tls->lock, NULL);
	int err = load(tls, &tls->current, ret_why);
	tls->started = !err && epoll_ctl(tls->epoll, EPOLL_CTL_ADD, tls->stop, &event) == 0 &&
		       pthread_create(&tls->thread, NULL, tls_main, tls) == 0;
	if (!err && !tls->started)
		err = why_set(ret_why, ERR_SYSTEM, "", "cannot start a thread: %s", strerror(errno));
	if (err) {
		tls_free(tls);
		return err;
	}
	log_certificate(tls, "certificate loaded", tls->current);
	*ret_tls = tls;
	return ERR_OK;
}

void tls_stop(struct tls *tls)
{
	if (!tls->started)
		return;
	pthread_mutex_lock(&tls->lock);
	tls->stopping = true;
	pthread_mutex_unlock(&tls->lock);
	eventfd_write(tls->stop, 1);
	pthread_join(tls->thread, NULL);
	tls->started = false;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	tls_stop(tls);
	if (tls->epoll >= 0)
		close(tls->epoll);
	if (tls->stop >= 0)
		close(tls->stop);
	certificate_unref(tls->current);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}
