/*
 * GET /metrics, in the text format 0.0.4 of Prometheus: from memory, so it goes on without a database. No label holds
 * anything that a client chose.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/routes/handlers.h"
#include "api/store/flapping.h"
#include "api/store/store_state.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define PAGE_MAX (256u << 10) /* bytes; it has about 10 kB */

static const char *const methods[METRICS_METHODS] = {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "other"};

/* Errors with which a request may be answered; the others do not leave the hub. */
static const int shown_errors[] = {
	ERR_MALFORMED, ERR_INVALID,         ERR_TOO_LARGE, ERR_ENCODING, ERR_UNAUTHORIZED, ERR_FORBIDDEN,
	ERR_NOT_FOUND, ERR_METHOD,          ERR_CONFLICT,  ERR_QUOTA,    ERR_PRECONDITION, ERR_RATE,
	ERR_BUSY,      ERR_UNKNOWN_OUTCOME, ERR_NOMEM,     ERR_INTERNAL, ERR_UNAVAILABLE,
};

void metrics_count(struct metrics *metrics, const char *method, int status, int err, int64_t took_us)
{
	size_t m = 0;
	int class = status / 100 - 2;

	while (m < METRICS_METHODS - 1 && strcmp(method, methods[m]) != 0)
		m++;
	if (class >= 0 && class < METRICS_CLASSES)
		atomic_fetch_add_explicit(&metrics->requests[m][class], 1, memory_order_relaxed);
	if (err < 0 && err > ERR_LAST_)
		atomic_fetch_add_explicit(&metrics->errors[-err], 1, memory_order_relaxed);
	if (took_us > 0)
		atomic_fetch_add_explicit(&metrics->request_us, (uint64_t)took_us, memory_order_relaxed);
}

static void write_head(struct buf *text, const char *name, const char *type, const char *help)
{
	buf_append_fmt(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* --- single values, asked of their rooms -------------------------------------------------------------------------- */

static double resident_bytes(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/statm", "re");
	unsigned long size, resident = 0;

	if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
		return 0;
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
	struct rusage usage = {0};

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double unreachable_seconds(const struct hub *hub)
{
	return store_is_loaded(hub->store) ? (double)store_age_ms(hub->store) / 1e3
					   : (double)(clock_wall_us() - hub->started_us) / 1e6;
}

static void write_values(struct buf *text, const struct hub *hub, const struct queue_status *journal)
{
	const struct store_size size = store_size(hub->store);
	uint64_t loads = store_view(hub->store)->point.replaced, passwords_verified;
	size_t passwords_waiting;

	store_view_end(hub->store);
	verifier_count(authenticator_verifier(hub->authenticator), &passwords_waiting, &passwords_verified);
	const struct {
		const char *name, *type, *help;
		double value;
	} values[] = {
		{"silodns_database_up", "gauge", "Whether the database can be reached.", journal->database_up},
		{"silodns_database_unreachable_seconds", "gauge",
		 "Since the database could last be reached; 0 while it can.", unreachable_seconds(hub)},
		{"silodns_queue_changes", "gauge", "Changes that wait to be written.", (double)journal->waiting},
		{"silodns_store_loads_total", "counter",
		 "Times that everything was loaded from the database: at the start, and when the log does not "
		 "continue what is in memory.",
		 (double)loads},
		{"silodns_history_removed_total", "counter", "Entries of the log removed because of their age.",
		 (double)atomic_load(&hub->retention.removed)},
		{"silodns_revision", "gauge", "The newest change that this hub knows.",
		 (double)store_revision(hub->store)},
		{"silodns_silos", "gauge", "Silos.", (double)size.silos},
		{"silodns_flapping_names", "gauge",
		 "Names whose address goes back and forth between two, three times within ten minutes.",
		 (double)flapping_count(store_flapping(hub->store))},
		{"silodns_users", "gauge", "Users.", (double)size.users},
		{"silodns_tokens", "gauge", "Tokens.", (double)size.tokens},
		{"silodns_store_bytes", "gauge", "Memory of silos, users and tokens, without the allocator's overhead.",
		 (double)size.bytes},
		{"silodns_http_connections", "gauge", "Open connections.", (double)atomic_load(&hub->http.connections)},
		{"silodns_http_requests_in_progress", "gauge", "Requests under way, streams included.",
		 (double)server_in_progress(&hub->http)},
		{"silodns_http_body_bytes", "gauge", "Bodies of requests under way.",
		 (double)atomic_load(&hub->http.body_bytes)},
		{"silodns_password_verifications_waiting", "gauge", "Passwords waiting to be verified or hashed.",
		 (double)passwords_waiting},
		{"silodns_audit_lost_total", "counter", "Refused attempts that there was no room for in the audit.",
		 (double)refusals_lost(hub->refusals)},
		{"silodns_password_verifications_total", "counter",
		 "Log-ins verified, right or wrong; those that are remembered are not.", (double)passwords_verified},
		{"silodns_watchers", "gauge", "Streams that follow changes.", (double)watchers_count(hub->watchers)},
		{"silodns_tls_certificate_expiry_timestamp_seconds", "gauge",
		 "When the certificate expires, in seconds since 1970; 0 without TLS.",
		 hub->tls ? (double)tls_expires_us(hub->tls) / 1e6 : 0},
		{"process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes()},
		{"process_cpu_seconds_total", "counter", "Processor time, user and system.", cpu_seconds()},
		{"process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.",
		 (double)hub->started_us / 1e6},
	};

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		double value = values[i].value;
		write_head(text, values[i].name, values[i].type, values[i].help);
		buf_append_fmt(text, "%s %.*f\n", values[i].name, value == (double)(int64_t)value ? 0 : 6, value);
	}
}

/* --- the page ----------------------------------------------------------------------------------------------------- */

static void write_requests(struct buf *text, const struct metrics *metrics)
{
	uint64_t count = 0;

	write_head(text, "silodns_http_requests_total", "counter", "Answered requests.");
	for (size_t m = 0; m < METRICS_METHODS; m++)
		for (int class = 0; class < METRICS_CLASSES; class ++) {
			uint64_t answered = atomic_load_explicit(&metrics->requests[m][class], memory_order_relaxed);
			count += answered;
			buf_append_fmt(text, "silodns_http_requests_total{method=\"%s\",code=\"%dxx\"} %" PRIu64 "\n",
				       methods[m], class + 2, answered);
		}
	write_head(text, "silodns_http_request_duration_seconds", "summary",
		   "From a request's first line to its answer.");
	buf_append_fmt(text,
		       "silodns_http_request_duration_seconds_sum %.6f\n"
		       "silodns_http_request_duration_seconds_count %" PRIu64 "\n",
		       (double)atomic_load_explicit(&metrics->request_us, memory_order_relaxed) / 1e6, count);
	write_head(text, "silodns_http_errors_total", "counter", "Requests that were refused, by the error's name.");
	for (size_t i = 0; i < sizeof shown_errors / sizeof shown_errors[0]; i++)
		buf_append_fmt(
			text, "silodns_http_errors_total{error=\"%s\"} %" PRIu64 "\n", err_name(shown_errors[i]),
			(uint64_t)atomic_load_explicit(&metrics->errors[-shown_errors[i]], memory_order_relaxed));
}

static void write_batches(struct buf *text, const struct queue_status *journal)
{
	uint64_t upto = 0;

	write_head(text, "silodns_batch_changes", "histogram", "Changes that were committed together.");
	for (size_t i = 0; i < QUEUE_SIZES; i++) {
		upto += journal->sizes[i];
		buf_append_fmt(text, "silodns_batch_changes_bucket{le=\"%u\"} %" PRIu64 "\n", 1u << i, upto);
	}
	buf_append_fmt(text,
		       "silodns_batch_changes_bucket{le=\"+Inf\"} %" PRIu64 "\nsilodns_batch_changes_sum %" PRIu64
		       "\nsilodns_batch_changes_count %" PRIu64 "\n",
		       journal->transactions, journal->changes, journal->transactions);
}

int handle_metrics(struct call *call)
{
	const struct hub *hub = call->hub;
	_cleanup_(buf_release) struct buf text = BUF_INIT(PAGE_MAX);
	struct queue_status journal;

	queue_status(hub->queue, &journal);
	write_head(&text, "silodns_build_info", "gauge", "Always 1.");
	buf_append_str(&text, "silodns_build_info{version=\"" SILODNS_VERSION "\"} 1\n");
	write_values(&text, hub, &journal);
	write_batches(&text, &journal);
	write_requests(&text, &hub->metrics);
	return reply_body_buf(call->reply, "text/plain; version=0.0.4", &text);
}
