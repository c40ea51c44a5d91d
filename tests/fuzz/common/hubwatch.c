/*
 * What a client makes of the hub's events: all that it hands on is complete and valid. (The file is taken in whole, to
 * reach the function that gets the bytes of the answer.)
 */
#include "../lib/fuzz.h"

#include "common/hub/hubwatch.c"

static int take(void *arg, struct hubwatch_event *event)
{
	bool about_silo = event->kind == HUBWATCH_SILO || event->kind == HUBWATCH_UNREADABLE ||
			  event->kind == HUBWATCH_DELETED || event->kind == HUBWATCH_FORBIDDEN;

	(void)arg;
	FUZZ_CHECK(about_silo ? silo_id_check(event->id, strlen(event->id), NULL) == ERR_OK : !event->id[0]);
	FUZZ_CHECK(about_silo ? !event->hub[0] : event->hub[0] != '\0');
	FUZZ_CHECK(event->kind == HUBWATCH_SILO ? strcmp(event->silo.id, event->id) == 0 : !event->silo.records);
	FUZZ_CHECK((event->kind == HUBWATCH_UNREADABLE) == (event->why.text[0] != '\0'));
	FUZZ_CHECK(event->revision <= INT64_MAX);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hubclient client = {.url = {.host = "hub.example.net"}};
	struct hubwatch watch = {.client = &client, .refusal = BUF_INIT(REFUSAL_MAX), .fn = take};
	const struct http_answer head = {.status = 200, .content_type = "text/event-stream; charset=utf-8"};

	eventstream_init(&watch.events, HUBWATCH_EVENT_MAX);
	int err = on_data(&watch, &head, (const char *)data, size);
	FUZZ_CHECK(!err || err == ERR_PROTOCOL || err == ERR_TOO_LARGE);
	FUZZ_CHECK(err != ERR_PROTOCOL || watch.failure.why.text[0]);
	hubwatch_revision(&watch);
	FUZZ_CHECK(hubwatch_retry_ms(&watch) >= -1);
	eventstream_release(&watch.events);
	buf_release(&watch.refusal);
	return 0;
}
