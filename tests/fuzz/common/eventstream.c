/*
 * The event stream's reader: what comes out does not depend on the pieces in which it came. The first byte of the input
 * chooses the pieces and the limit.
 */
#include "../lib/fuzz.h"

#include "common/base/buf.h"
#include "common/net/eventstream.h"

#define TRANSCRIPT_MAX ((size_t)16 << 20)

static int note_event(void *arg, const struct eventstream_event *event)
{
	struct buf *transcript = arg;

	FUZZ_CHECK(event->type_len > 0 && event->type_len <= EVENTSTREAM_NAME_MAX);
	FUZZ_CHECK(event->data[event->len] == '\0');
	buf_append_fmt(transcript, "%zu %zu ", event->type_len, event->len);
	buf_append(transcript, event->type, event->type_len);
	buf_append(transcript, event->data, event->len);
	return event->len == 4 && memcmp(event->data, "stop", 4) == 0 ? ERR_STOPPED : 0;
}

static void note_end(const struct eventstream *stream, struct buf *transcript)
{
	FUZZ_CHECK(stream->last_id.len <= EVENTSTREAM_NAME_MAX &&
		   !memchr(stream->last_id.text, '\0', stream->last_id.len));
	FUZZ_CHECK(stream->retry_ms >= -1 && stream->retry_ms <= EVENTSTREAM_RETRY_MAX_MS);
	buf_append_fmt(transcript, "\n%d %s %lld", stream->err, stream->last_id.text, (long long)stream->retry_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t piece = data[0] % 16 + 1, max = data[0] & 0x80 ? 32 : 4096;
	const char *text = (const char *)data + 1;
	struct buf whole = BUF_INIT(TRANSCRIPT_MAX), pieces = BUF_INIT(TRANSCRIPT_MAX);
	struct eventstream stream;

	size--;
	eventstream_init(&stream, max);
	eventstream_feed(&stream, text, size, note_event, &whole);
	note_end(&stream, &whole);
	eventstream_release(&stream);

	eventstream_init(&stream, max);
	for (size_t at = 0; at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;
		char *copy = fuzz_string(text + at, len);
		int err = eventstream_feed(&stream, copy, len, note_event, &pieces);
		free(copy);
		FUZZ_CHECK(err == stream.err);
	}
	note_end(&stream, &pieces);
	eventstream_release(&stream);

	FUZZ_CHECK(!whole.err && !pieces.err && whole.len == pieces.len &&
		   memcmp(whole.data, pieces.data, whole.len) == 0);
	buf_release(&whole);
	buf_release(&pieces);
	return 0;
}
