/* store_draft.c - runs as tests imagine them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "support/store_suite.h"

enum { FIRST_AT_MS = 1000000 };

/* Time-ordered like real ids, and known to the test. */
static struct aiki_id id_of(uint64_t no)
{
    uint8_t random[10] = {0};
    memcpy(random, &no, sizeof(no));
    return id_make(FIRST_AT_MS + (int64_t)no, random);
}

void draft_init(struct draft *d, uint64_t no)
{
    *d = (struct draft){0};
    buf_init(&d->events);
    d->write = (struct run_write){
        .insert = true,
        .row =
            {
                .no = no,
                .id = id_of(no),
                .space = view_of("test"),
                .workflow = view_of("order"),
                .version = view_of("1.0.0"),
                .actor = view_of("tester"),
                .state = RUN_QUEUED,
                .epoch = 1,
                .created_at_ms = FIRST_AT_MS + (int64_t)no,
                .updated_at_ms = FIRST_AT_MS + (int64_t)no,
            },
    };
    memset(d->write.row.input_hash, 0x5a, HASH_BYTES);
    draft_event(d, 200);
}

void draft_deinit(struct draft *d)
{
    buf_deinit(&d->events);
}

void draft_next(struct draft *d)
{
    d->write.insert = false;
    d->write.seq_before = d->write.row.seq;
    d->write.events = (aiki_view){NULL, 0};
    d->write.row.updated_at_ms++;
    d->events.size_bytes = 0;
}

void draft_event(struct draft *d, size_t payload_bytes)
{
    struct run_row *row = &d->write.row;
    uint8_t *payload = calloc(1, payload_bytes + 1);
    assert_non_null(payload);
    memset(payload, (int)(row->seq % 251), payload_bytes);
    uint64_t at = d->events.size_bytes;

    row->seq++;
    aiki_mp_array(&d->events, 5);
    aiki_mp_uint(&d->events, row->seq);
    aiki_mp_int(&d->events, row->updated_at_ms);
    aiki_mp_uint(&d->events, row->epoch);
    aiki_mp_uint(&d->events, EVENT_SIGNAL);
    aiki_mp_bin(&d->events, payload, payload_bytes);
    free(payload);
    assert_int_equal(d->events.status, AIKI_OK);

    event_chain(d->head, (aiki_view){d->events.data + at, d->events.size_bytes - at});
    memcpy(row->hash, d->head, HASH_BYTES);
    d->write.events = aiki_writer_view(&d->events);
}

aiki_status draft_commit(struct store *s, struct draft *const drafts[], size_t count,
                         aiki_error *err)
{
    struct run_write *writes = calloc(count, sizeof(*writes));
    assert_non_null(writes);
    for (size_t i = 0; i < count; i++)
        writes[i] = drafts[i]->write;
    struct unit unit = {.runs = writes, .run_count = count};
    aiki_status st = s->ops->commit(s, &unit, err);
    free(writes);
    return st;
}

void draft_save(struct store *s, struct draft *d)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (draft_commit(s, &d, 1, &err) != AIKI_OK)
        fail_msg("commit of run %lu: %s", (unsigned long)d->write.row.no, err.message);
}

static void assert_view_equal(aiki_view a, aiki_view b)
{
    assert_int_equal(a.size_bytes, b.size_bytes);
    if (a.size_bytes > 0)
        assert_memory_equal(a.data, b.data, a.size_bytes);
}

static bool assert_row_equal(void *arg, const struct run_row *row)
{
    const struct run_row *want = &((const struct draft *)arg)->write.row;
    assert_int_equal(row->no, want->no);
    assert_true(id_equal(&row->id, &want->id));
    assert_view_equal(row->space, want->space);
    assert_view_equal(row->workflow, want->workflow);
    assert_view_equal(row->version, want->version);
    assert_view_equal(row->key, want->key);
    assert_memory_equal(row->input_hash, want->input_hash, HASH_BYTES);
    assert_view_equal(row->actor, want->actor);
    assert_int_equal(row->state, want->state);
    assert_int_equal(row->epoch, want->epoch);
    assert_int_equal(row->seq, want->seq);
    assert_memory_equal(row->hash, want->hash, HASH_BYTES);
    assert_int_equal(row->created_at_ms, want->created_at_ms);
    assert_int_equal(row->updated_at_ms, want->updated_at_ms);
    assert_int_equal(row->wake_at_ms, want->wake_at_ms);
    assert_int_equal(row->signals, want->signals);
    assert_int_equal(row->duplicates, want->duplicates);
    assert_view_equal(row->waits, want->waits);
    assert_view_equal(row->reason, want->reason);
    assert_true(id_equal(&row->parent, &want->parent));
    assert_int_equal(row->flags, want->flags);
    assert_int_equal(row->deadline_ms, want->deadline_ms);
    assert_int_equal(row->children, want->children);
    assert_view_equal(row->absorbed, want->absorbed);
    assert_view_equal(row->build, want->build);
    return true;
}

void draft_assert_stored(struct store *s, const struct draft *d)
{
    struct draft copy = *d;
    assert_int_equal(s->ops->find_run(s, &d->write.row.id, assert_row_equal, &copy, NULL), AIKI_OK);
    assert_int_equal(s->ops->find_run_no(s, d->write.row.no, assert_row_equal, &copy, NULL),
                     AIKI_OK);
}

bool numbers_add(void *arg, const struct run_row *row)
{
    struct numbers *n = arg;
    assert_true(n->count < NUMBERS_MAX);
    n->no[n->count++] = row->no;
    return n->count != n->stop_at;
}

void numbers_assert(const struct numbers *n, size_t count, const uint64_t *expected)
{
    assert_int_equal(n->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(n->no[i], expected[i]);
}
