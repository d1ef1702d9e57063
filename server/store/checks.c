/* checks.c - what every backend refuses and verifies in the same way. */
#include "store/checks.h"

#include <inttypes.h>
#include <string.h>

#include "wire/error.h"

/* Numbers are kept as signed 64 bit by databases. */
static bool fits(uint64_t number)
{
    return number <= (uint64_t)INT64_MAX;
}

static aiki_status write_check(const struct run_write *w, aiki_error *err)
{
    const struct run_row *row = &w->row;
    if (row->no == 0 || !fits(row->no) || !fits(row->epoch) || !fits(row->seq) ||
        !fits(row->signals) || !fits(row->duplicates) || !fits(row->flags) || !fits(row->children))
        return error_set(err, AIKI_INVALID, "run %" PRIu64 ": a number is outside 63 bits",
                         row->no);
    if (w->insert && w->seq_before != 0)
        return error_set(err, AIKI_INVALID, "run %" PRIu64 ": a new run with a seq before it",
                         row->no);
    if (row->build.size_bytes != 0 && row->build.size_bytes != HASH_BYTES)
        return error_set(err, AIKI_INVALID, "run %" PRIu64 ": a build of %" PRIu64 " bytes", row->no,
                         row->build.size_bytes);
    if (row->seq < w->seq_before || (row->seq > w->seq_before) != (w->events.size_bytes > 0))
        return error_set(err, AIKI_INVALID,
                         "run %" PRIu64 ": seq %" PRIu64 " to %" PRIu64 " does not fit %" PRIu64
                         " bytes of events",
                         row->no, w->seq_before, row->seq, w->events.size_bytes);
    return AIKI_OK;
}

aiki_status unit_check(const struct unit *u, aiki_error *err)
{
    if (u->run_count > STORE_UNIT_RUNS_MAX)
        return error_set(err, AIKI_LIMIT, "a commit of %zu runs is over STORE_UNIT_RUNS_MAX (%d)",
                         u->run_count, STORE_UNIT_RUNS_MAX);
    for (size_t i = 0; i < u->run_count; i++) {
        aiki_status st = write_check(&u->runs[i], err);
        if (st != AIKI_OK)
            return st;
    }
    for (size_t i = 0; i < u->ref_count; i++)
        if (u->refs[i].run_no == 0 || !fits(u->refs[i].run_no))
            return error_set(err, AIKI_INVALID, "a reference of run number %" PRIu64, u->refs[i].run_no);
    return AIKI_OK;
}

bool commit_failure_is_fatal(aiki_status status)
{
    switch (status) {
    case AIKI_OK:
    case AIKI_INVALID:
    case AIKI_CONFLICT:
    case AIKI_STALE:
    case AIKI_LIMIT:
    case AIKI_UNAVAILABLE:
    case AIKI_NOMEM: return false;
    default: return true;
    }
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t unit_clock_ms(const struct unit *u)
{
    int64_t clock_ms = 0;
    for (size_t i = 0; i < u->run_count; i++) {
        const struct run_row *row = &u->runs[i].row;
        clock_ms = later(clock_ms, later(row->created_at_ms, row->updated_at_ms));
    }
    for (size_t i = 0; i < u->workflow_count; i++)
        clock_ms = later(clock_ms, u->workflows[i].last_seen_at_ms);
    return clock_ms;
}

aiki_status list_filter_check(const struct list_filter *filter, aiki_error *err)
{
    if (filter->space == NULL)
        return error_set(err, AIKI_INVALID, "a listing needs a namespace");
    return AIKI_OK;
}

static aiki_status broken(const struct journal_check *c, uint64_t seq, const char *what,
                          aiki_error *err)
{
    char id[AIKI_ID_TEXT_SIZE];
    id_text(&c->run_id, id);
    return error_set(err, AIKI_CORRUPT,
                     "history of run %s is damaged at event %" PRIu64
                     ": %s; restore the database from a backup, or check its disk",
                     id, seq, what);
}

/* The number an event carries; 0 when the bytes are no stored event. */
static uint64_t seq_of(aiki_view event)
{
    aiki_reader r;
    aiki_reader_init(&r, event);
    uint64_t fields = aiki_mp_read_array(&r);
    uint64_t seq = aiki_mp_read_uint(&r);
    return r.status == AIKI_OK && fields >= 5 ? seq : 0;
}

aiki_status journal_check_row(struct journal_check *c, uint64_t row_seq,
                              const uint8_t row_hash[HASH_BYTES], aiki_view events,
                              uint64_t after_seq, aiki_writer *w, aiki_error *err)
{
    if (events.size_bytes == 0)
        return broken(c, row_seq, "it is empty", err);
    aiki_reader r;
    aiki_reader_init(&r, events);
    uint64_t append_from = events.size_bytes;
    while (aiki_reader_left(&r) > 0) {
        uint64_t at = (uint64_t)(r.at - events.data);
        aiki_view event = aiki_mp_value(&r);
        if (r.status != AIKI_OK || seq_of(event) != c->seq + 1)
            return broken(c, c->seq + 1, "it is missing or not an event", err);
        c->seq++;
        if (c->seq == after_seq + 1)
            memcpy(c->hash_before, c->hash, HASH_BYTES);
        event_chain(c->hash, event);
        if (c->seq > after_seq && append_from == events.size_bytes)
            append_from = at;
    }
    if (c->seq != row_seq)
        return broken(c, c->seq + 1, "it is missing", err);
    if (memcmp(c->hash, row_hash, HASH_BYTES) != 0)
        return broken(c, c->seq, "its hash does not fit what is on record", err);
    aiki_mp_raw(w, events.data + append_from, events.size_bytes - append_from);
    if (w->status != AIKI_OK)
        return error_set(err, w->status, "no room for %" PRIu64 " bytes of history",
                         events.size_bytes);
    return AIKI_OK;
}

aiki_status journal_check_end(const struct journal_check *c, uint64_t head_seq,
                              const uint8_t head_hash[HASH_BYTES], aiki_error *err)
{
    if (c->seq != head_seq)
        return broken(c, c->seq + 1, "it is missing", err);
    if (memcmp(c->hash, head_hash, HASH_BYTES) != 0)
        return broken(c, c->seq, "its hash does not fit the run's head", err);
    return AIKI_OK;
}
