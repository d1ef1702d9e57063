/* fuzz_event.c - the journal: any bytes give events or a reason, and events survive rewriting.
 *
 * First byte: 0 a stored journal, 1 new events, 2 waits of a parked run. */
#include "fuzz.h"

#include "wire/error.h"
#include "wire/event.h"

static void rewrite(const struct event *e)
{
    aiki_writer *first = fuzz_writer(0), *second = fuzz_writer(1);
    aiki_reader r;
    aiki_view body;
    struct event back;
    event_write_new(first, e);
    aiki_reader_init(&r, aiki_writer_view(first));
    CHECK(event_read_new(&r, &back, &body, NULL) == AIKI_OK);
    CHECK(back.kind == e->kind && r.at == r.end);
    event_write_new(second, &back);
    CHECK(fuzz_same(aiki_writer_view(first), aiki_writer_view(second)));

    aiki_writer *stored = fuzz_writer(2);
    event_write_stored(stored, e->seq, e->at_ms, e->epoch, e->kind, body);
    aiki_reader_init(&r, aiki_writer_view(stored));
    CHECK(event_read_stored(&r, &back, NULL) == AIKI_OK);
    CHECK(back.seq == e->seq && back.at_ms == e->at_ms && back.epoch == e->epoch);
}

static void read_events(aiki_reader *r, bool stored)
{
    uint8_t hash[HASH_BYTES] = {0};
    for (;;) {
        struct event e;
        aiki_view body;
        aiki_error err = AIKI_ERROR_INIT;
        const uint8_t *before = r->at;
        aiki_status status =
            stored ? event_read_stored(r, &e, &err) : event_read_new(r, &e, &body, &err);
        CHECK(status == AIKI_OK || status == AIKI_NOT_FOUND || err.message[0] != '\0');
        if (status != AIKI_OK)
            return;
        CHECK(e.encoded.data == before && e.encoded.data + e.encoded.size_bytes == r->at);
        event_chain(hash, e.encoded);
        rewrite(&e);
    }
}

static void read_waits(aiki_reader *r)
{
    struct wait wait, back;
    while (r->at != r->end && wait_read(r, &wait) == AIKI_OK) {
        aiki_writer *w = fuzz_writer(0);
        aiki_reader again;
        wait_write(w, &wait);
        aiki_reader_init(&again, aiki_writer_view(w));
        CHECK(wait_read(&again, &back) == AIKI_OK);
        CHECK(back.kind == wait.kind && back.due_at_ms == wait.due_at_ms &&
              back.since_ms == wait.since_ms && fuzz_same(back.name, wait.name) &&
              fuzz_same(back.key, wait.key) && id_equal(&back.child, &wait.child));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aiki_reader r;
    if (size < 1 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    aiki_reader_init(&r, (aiki_view){data + 1, size - 1});
    if (data[0] % 3 == 2)
        read_waits(&r);
    else
        read_events(&r, data[0] % 3 == 0);
    return 0;
}
