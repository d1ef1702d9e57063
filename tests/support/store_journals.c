/* store_journals.c - the part of the suite about the events of a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "support/store_suite_impl.h"

/* ---- journals ---- */

/* Events come back as written, over several rows, in pages that end where a row ends. */
void journal_in_pages(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer all, got;
    buf_init(&all);
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1); /* rows: 1 | 2 3 4 | 5 6 7 | ... */
    for (int row = 0; row < 5; row++) {
        draft_save(f->s, &d);
        aiki_mp_raw(&all, d.write.events.data, d.write.events.size_bytes);
        draft_next(&d);
        for (int i = 0; i < 3; i++)
            draft_event(&d, 100);
    }
    uint64_t last = 0, pages = 0;
    while (last < 13) {
        assert_int_equal(f->s->ops->journal(f->s, 1, last, 400, &got, &last, NULL), AIKI_OK);
        pages++;
    }
    assert_int_equal(pages, 3); /* 1 2 3 4 | 5..10 | 11 12 13 */
    assert_int_equal(got.size_bytes, all.size_bytes);
    assert_memory_equal(got.data, all.data, all.size_bytes);

    /* at least one row, however little was asked for; nothing behind the end */
    assert_int_equal(f->r->ops->reader_journal(f->r, 1, 1, 0, &got, &last, NULL, NULL), AIKI_OK);
    assert_int_equal(last, 4);
    uint64_t size = got.size_bytes;
    assert_int_equal(f->s->ops->journal(f->s, 1, 13, WHOLE, &got, &last, NULL), AIKI_OK);
    assert_int_equal(last, 13);
    assert_int_equal(got.size_bytes, size);
    draft_deinit(&d);
}

/* Reading from the middle of a row gives what follows, not the row's beginning. */
void journal_from_within_a_row(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 30);
    uint64_t first_size = d.write.events.size_bytes;
    draft_event(&d, 30);
    draft_save(f->s, &d);
    uint64_t last;
    assert_int_equal(f->s->ops->journal(f->s, 1, 2, WHOLE, &got, &last, NULL), AIKI_OK);
    assert_int_equal(last, 3);
    assert_int_equal(got.size_bytes, d.write.events.size_bytes - first_size);
    assert_memory_equal(got.data, d.write.events.data + first_size, got.size_bytes);
    draft_deinit(&d);
}

/* A hash that does not follow from the events is CORRUPT, and says which run and event. */
void wrong_hash(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 30);
    d.write.row.hash[31] ^= 1;
    draft_save(f->s, &d);
    aiki_error err = {.struct_size = sizeof(err)};
    uint64_t last = 99;
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    char id[AIKI_ID_TEXT_SIZE];
    id_text(&d.write.row.id, id);
    assert_non_null(strstr(err.message, id));
    assert_non_null(strstr(err.message, "event 2"));
    assert_int_equal(got.size_bytes, 0);
    assert_int_equal(last, 99);
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, 1, &got, &last, &err), AIKI_OK);
    assert_int_equal(last, 1);
    draft_deinit(&d);
}

/* Events that are not numbered one after the other, or are no events, are CORRUPT. */
void wrong_numbers(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft gap, text;
    draft_init(&gap, 1);
    gap.write.row.seq = 2; /* the event in it says 1 */
    draft_save(f->s, &gap);
    draft_init(&text, 2);
    text.write.events = view_of("no msgpack array");
    draft_save(f->s, &text);
    uint64_t last;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    assert_int_equal(f->s->ops->journal(f->s, 2, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    assert_int_equal(f->r->ops->reader_journal(f->r, 2, 0, WHOLE, &got, &last, NULL, &err),
                     AIKI_CORRUPT);
    draft_deinit(&gap);
    draft_deinit(&text);
}

/* A single event of 4 MiB is stored and read like any other. */
void big_event(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, BIG_BYTES);
    draft_save(f->s, &d);
    uint64_t last;
    assert_int_equal(f->r->ops->reader_journal(f->r, 1, 1, WHOLE, &got, &last, NULL, NULL),
                     AIKI_OK);
    assert_int_equal(got.size_bytes, d.write.events.size_bytes);
    assert_memory_equal(got.data, d.write.events.data, got.size_bytes);
    draft_deinit(&d);
}

/* A fixed buffer that is too small is LIMIT, and holds no half event. */
void small_buffer(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    uint8_t memory[64];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    uint64_t last;
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &w, &last, NULL), AIKI_LIMIT);
    assert_int_equal(w.size_bytes, 0);
    draft_deinit(&d);
}

static bool is_known(struct fixture *f, const struct ref_row *ref)
{
    bool known;
    assert_int_equal(f->s->ops->find_ref(f->s, ref, &known, NULL), AIKI_OK);
    return known;
}

/* A reference is there once its unit is, for its run alone, and stays; one that comes twice is there once. */
void references_come_with_their_unit(void **state)
{
    struct fixture *f = *state;
    struct draft a, b, stale;
    draft_init(&a, 1);
    draft_init(&b, 2);
    draft_init(&stale, 3);
    stale.write.insert = false;
    stale.write.seq_before = 1;
    draft_event(&stale, 10);
    const struct ref_row refs[] = {{1, {1}}, {2, {2}}, {1, {3}}, {1, {1}}}, strange = {2, {1}};
    struct run_write writes[] = {a.write, b.write, stale.write};
    struct unit unit = {.runs = writes, .run_count = 3, .refs = refs, .ref_count = 4};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_STALE);
    assert_false(is_known(f, &refs[0]));
    unit.run_count = 2;
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
    draft_next(&a);
    draft_event(&a, 10);
    writes[0] = a.write;
    unit.run_count = unit.ref_count = 1;
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
    for (size_t i = 0; i < 4; i++)
        assert_true(is_known(f, &refs[i]));
    assert_false(is_known(f, &strange));
    const struct ref_row impossible = {.run_no = 0};
    unit = (struct unit){.refs = &impossible, .ref_count = 1};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_INVALID);
    draft_deinit(&a);
    draft_deinit(&b);
    draft_deinit(&stale);
}
