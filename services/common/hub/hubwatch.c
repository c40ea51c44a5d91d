#include "common/hub/hubwatch.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"
#include "common/hub/hubclient_internal.h"
#include "common/net/eventstream.h"
#include "common/net/http_stream.h"

#define URL_MAX 16384                 /* 64 names of 64 bytes, and a long base */
#define REFUSAL_MAX ((size_t)1 << 16) /* of an answer that is no stream, for its detail */

struct hubwatch {
	struct hubclient *client; /* borrowed */
	struct http_stream *stream;
	struct eventstream events;
	struct buf refusal;
	struct hubclient_failure failure;
	hubwatch_fn fn;
	void *arg;
	enum hubwatch_state state;
	int64_t heard_ms;
};

DEFINE_CLEANUP(cleanup_watch, struct hubwatch *, hubwatch_close)

static void release_event(struct hubwatch_event *event)
{
	silo_release(&event->silo);
}

/* ---- events ---- */

static int not_an_event(struct hubwatch *watch, const struct eventstream_event *event, const char *text)
{
	return why_set(&watch->failure.why, ERR_PROTOCOL, "", "the hub's event \"%.40s\" makes no sense: %s",
		       event->type, text);
}

static int read_id(const json_t *document, struct hubwatch_event *ret_event)
{
	const char *text = jsontext_member(document, "id");
	if (!text || silo_id_check(text, strlen(text), NULL) < 0)
		return ERR_PROTOCOL;
	memcpy(ret_event->id, text, strlen(text) + 1);
	return 0;
}

static int read_hub(const json_t *document, struct hubwatch_event *ret_event)
{
	const char *text = jsontext_member(document, "hub");
	if (!text || !text[0] || strlen(text) > HUBWATCH_HUB_MAX)
		return ERR_PROTOCOL;
	memcpy(ret_event->hub, text, strlen(text) + 1);
	return 0;
}

static int read_silo(const struct eventstream_event *event, struct hubwatch_event *ret_event)
{
	struct why why = {0};
	int err = silo_parse_answer(event->data, event->len, ret_event->id, &ret_event->silo, &why);
	if (err == 0 || err == ERR_NOMEM)
		return err;
	ret_event->kind = HUBWATCH_UNREADABLE;
	why_set(&ret_event->why, err, "", "the hub's event is no silo: %s%s%s", why.field, why.field[0] ? ": " : "",
		why.text);
	return 0;
}

static const struct event_row {
	const char *type;
	enum hubwatch_kind kind;
	int (*read_subject)(const json_t *document, struct hubwatch_event *ret_event);
	const char *subject;
} event_rows[] = {
	{"silo", HUBWATCH_SILO, read_id, "it has no silo's id"},
	{"deleted", HUBWATCH_DELETED, read_id, "it has no silo's id"},
	{"forbidden", HUBWATCH_FORBIDDEN, read_id, "it has no silo's id"},
	{"reset", HUBWATCH_RESET, read_hub, "it has no hub's identity"},
	{"synced", HUBWATCH_SYNCED, read_hub, "it has no hub's identity"},
};

static const struct event_row *find_row(const struct eventstream_event *event)
{
	for (size_t i = 0; i < sizeof(event_rows) / sizeof(event_rows[0]); i++)
		if (strlen(event_rows[i].type) == event->type_len &&
		    memcmp(event_rows[i].type, event->type, event->type_len) == 0)
			return &event_rows[i];
	return NULL;
}

static int on_event(void *arg, const struct eventstream_event *raw)
{
	struct hubwatch *watch = arg;
	const struct event_row *row = find_row(raw);
	json_auto_t *document = NULL;
	_cleanup_(release_event) struct hubwatch_event event = {0};
	json_error_t error;
	if (!row) /* a newer hub may say more */
		return 0;
	event.kind = row->kind;
	int err = jsontext_parse(raw->data, raw->len, JSON_REJECT_DUPLICATES, &document, &error);
	if (err == ERR_NOMEM)
		return why_set(&watch->failure.why, err, "", "out of memory");
	if (err < 0)
		return not_an_event(watch, raw, error.text);
	if (row->read_subject(document, &event) < 0)
		return not_an_event(watch, raw, row->subject);
	const json_t *number = json_object_get(document, "revision");
	json_int_t revision = json_integer_value(number);
	if (!json_is_integer(number) || revision < 0)
		return not_an_event(watch, raw, "it has no revision");
	event.revision = (uint64_t)revision;
	if (event.kind == HUBWATCH_SILO && read_silo(raw, &event) < 0)
		return why_set(&watch->failure.why, ERR_NOMEM, "", "out of memory");
	return watch->fn(watch->arg, &event);
}

/* ---- the answer ---- */

static bool is_event_stream(const char *content_type)
{
	static const char wanted[] = "text/event-stream";
	size_t len = strlen(wanted);
	return strncasecmp(content_type, wanted, len) == 0 &&
	       (content_type[len] == '\0' || strchr("; \t", content_type[len]));
}

static int check_head(struct hubwatch *watch, const struct http_answer *head)
{
	if (is_event_stream(head->content_type))
		return 0;
	return why_set(&watch->failure.why, ERR_PROTOCOL, "",
		       "%s answered /watch with \"%s\" and not with an event stream: is the URL right?",
		       watch->client->url.host, head->content_type);
}

static int on_data(void *arg, const struct http_answer *head, const char *data, size_t len)
{
	struct hubwatch *watch = arg;
	watch->heard_ms = clock_mono_ms();
	watch->failure.status = head->status;
	if (head->status != 200)
		return buf_append(&watch->refusal, data, len);
	int err = watch->state == HUBWATCH_STREAM ? 0 : check_head(watch, head);
	if (err < 0)
		return err;
	watch->state = HUBWATCH_STREAM;
	err = eventstream_feed(&watch->events, data, len, on_event, watch);
	if (err == ERR_TOO_LARGE)
		why_set(&watch->failure.why, err, "", "the hub's event is longer than %zu bytes", HUBWATCH_EVENT_MAX);
	return err;
}

static int end_of_answer(struct hubwatch *watch, const struct http_answer *head)
{
	struct http_answer whole = *head;
	watch->failure.status = head->status;
	if (head->status == 200)
		return watch->state == HUBWATCH_STREAM ? 0 : check_head(watch, head);
	whole.body = watch->refusal; /* lent */
	return hubclient_refused(watch->client, &whole, false, &watch->failure);
}

int hubwatch_step(struct hubwatch *watch)
{
	bool over = false;
	struct why why = {0};
	int err = http_stream_step(watch->stream, &over, &why);
	if (err < 0) {
		if (!watch->failure.why.text[0])
			watch->failure.why = why;
		return err;
	}
	if (over)
		err = end_of_answer(watch, http_stream_head(watch->stream));
	if (err < 0)
		return err;
	if (over)
		watch->state = HUBWATCH_ENDED;
	else if (watch->state == HUBWATCH_CONNECTING && http_stream_sent(watch->stream)) {
		watch->state = HUBWATCH_ASKED;
		watch->heard_ms = clock_mono_ms();
	}
	return 0;
}

/* ---- the request ---- */

static int add_parameter(struct buf *url, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0);
	int err =
		escaped ? buf_append_fmt(url, "%c%s=%s", strchr(url->data, '?') ? '&' : '?', name, escaped) : ERR_NOMEM;
	curl_free(escaped);
	return err;
}

static int make_url(const struct hubclient *client, const char *const *ids, size_t count,
		    const struct hubwatch_position *position, struct buf *url)
{
	char since[24];
	int err = buf_append_fmt(url, "%s/watch", client->base);
	for (size_t i = 0; i < count && err == 0; i++)
		err = add_parameter(url, "silo", ids[i]);
	if (err < 0 || !position->hub[0])
		return err;
	snprintf(since, sizeof(since), "%llu", (unsigned long long)position->revision);
	err = add_parameter(url, "since", since);
	return err < 0 ? err : add_parameter(url, "hub", position->hub);
}

int hubwatch_open(struct hubclient *client, const char *const *ids, size_t count,
		  const struct hubwatch_position *position, hubwatch_fn fn, void *arg, struct hubwatch **ret_watch,
		  struct why *ret_why)
{
	_cleanup_(buf_release) struct buf url = BUF_INIT(URL_MAX);
	struct http_request request = {.method = "GET", .accept = "text/event-stream"};
	if (count < 1 || count > HUBWATCH_SILOS_MAX)
		return why_set(ret_why, ERR_INVALID, "", "1 to %d silos can be watched, not %zu", HUBWATCH_SILOS_MAX,
			       count);
	_cleanup_(cleanup_watch) struct hubwatch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	*watch = (struct hubwatch){
		.client = client, .refusal = BUF_INIT(REFUSAL_MAX), .fn = fn, .arg = arg, .heard_ms = clock_mono_ms()};
	eventstream_init(&watch->events, HUBWATCH_EVENT_MAX);
	int err = make_url(client, ids, count, position, &url);
	if (err < 0)
		return why_set(ret_why, err, "", "the URL cannot be made: %s", err_info(err)->title);
	request.url = url.data;
	err = http_stream_open(client->http, &request, on_data, watch, &watch->stream, ret_why);
	if (err < 0)
		return err;
	*ret_watch = TAKE_PTR(watch);
	return 0;
}

void hubwatch_close(struct hubwatch *watch)
{
	if (!watch)
		return;
	http_stream_close(watch->stream);
	eventstream_release(&watch->events);
	buf_release(&watch->refusal);
	free(watch);
}

int hubwatch_fd(const struct hubwatch *watch)
{
	return http_stream_fd(watch->stream);
}

int64_t hubwatch_wait_ms(const struct hubwatch *watch)
{
	return http_stream_wait_ms(watch->stream);
}

enum hubwatch_state hubwatch_state(const struct hubwatch *watch)
{
	return watch->state;
}

const struct hubclient_failure *hubwatch_failure(const struct hubwatch *watch)
{
	return &watch->failure;
}

int64_t hubwatch_heard_ms(const struct hubwatch *watch)
{
	return watch->heard_ms;
}

uint64_t hubwatch_revision(const struct hubwatch *watch)
{
	const char *text = watch->events.last_id.text;
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return 0;
	errno = 0;
	unsigned long long revision = strtoull(text, &end, 10);
	return errno || *end ? 0 : revision;
}

int64_t hubwatch_retry_ms(const struct hubwatch *watch)
{
	return watch->events.retry_ms;
}
