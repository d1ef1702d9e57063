/* reader_gate.c - what a replay gate reads: open runs that a new build has not executed, and their
 * journals as they are. [reader thread]
 */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "reader_impl.h"
#include "wire/error.h"

enum { SAMPLE_MS_MAX = 300, SAMPLE_ROWS_MAX = 20000, JOURNAL_PAGE_BYTES = 1024 * 1024 };
/* Where older ones are looked for, and how many rows are read at each place. */
enum { SAMPLE_PLACES = 16, SAMPLE_PLACE_ROWS = 64 };

struct pick {
    struct aiki_id id;
    uint8_t build[HASH_BYTES];
    uint64_t seq;
};

/* Every row seen is as likely to be in it as every other (Vitter's algorithm R). When there are more than can be
 * read, the older ones get the share of the sample that they have of the run numbers:
 *
 *   newest |<-- SAMPLE_ROWS_MAX rows, all of them -->|..#..|.....#|#.....|...#..| oldest
 *                                                     one place by lot in each of SAMPLE_PLACES parts
 */
struct sample {
    aiki_view build; /* that asks; its own runs are no question */
    struct pick *picks; /* owned */
    uint64_t limit, count, seen;
    uint64_t first_no, last_no;
    uint64_t floor_no; /* rows up to this one are not for it */
    uint32_t rows;
};

static bool sample_row(void *arg, const struct run_row *row)
{
    struct sample *s = arg;
    if (row->no <= s->floor_no)
        return false;
    s->first_no = s->first_no == 0 ? row->no : s->first_no;
    s->last_no = row->no;
    s->rows++;
    if (row->build.size_bytes != HASH_BYTES || view_equal(row->build, s->build))
        return true;
    uint64_t at = s->count < s->limit ? s->count++ : randombytes_uniform((uint32_t)s->seen + 1);
    s->seen++;
    if (at >= s->limit)
        return true;
    s->picks[at] = (struct pick){.id = row->id, .seq = row->seq};
    memcpy(s->picks[at].build, row->build.data, HASH_BYTES);
    return true;
}

static void write_sample(aiki_writer *doc, const struct sample *s, bool whole)
{
    struct view_map m;
    view_map_begin(&m, doc);
    view_put_uint(&m, "total", s->seen);
    view_put_bool(&m, "whole", whole);
    view_name(&m, "runs");
    aiki_mp_array(doc, s->count);
    for (uint64_t i = 0; i < s->count; i++) {
        struct view_map run;
        view_map_begin(&run, doc);
        view_put_id(&run, "id", &s->picks[i].id);
        view_put_uint(&run, "seq", s->picks[i].seq);
        view_name(&run, "build");
        view_hex(doc, s->picks[i].build, HASH_BYTES);
        view_map_end(&run);
    }
    view_map_end(&m);
}

static aiki_status read_newest(struct reader *r, struct list_filter *filter, struct sample *s,
                               int64_t until_ms, bool *ret_whole, aiki_error *err)
{
    uint64_t rows = 0;
    do {
        s->rows = 0;
        aiki_status status = r->connection->ops->list(r->connection, filter, sample_row, s, err);
        if (status != AIKI_OK)
            return status;
        filter->before_no = s->last_no;
        rows += s->rows;
    } while (s->rows == STORE_LIST_MAX && rows < SAMPLE_ROWS_MAX && clock_mono_ms() < until_ms);
    *ret_whole = s->rows < STORE_LIST_MAX;
    return AIKI_OK;
}

static uint64_t by_lot(uint64_t below)
{
    uint64_t n;
    randombytes_buf(&n, sizeof(n));
    return below > 0 ? n % below : 0; /* run numbers are far too few for the bias to count */
}

/* Who stays is chosen by lot. */
static void make_room(struct sample *s, uint64_t keep)
{
    for (; s->count > keep; s->count--)
        s->picks[by_lot(s->count)] = s->picks[s->count - 1];
}

/* Of the runs in (low, high]: some behind a place by lot, or the newest where too few are. */
static aiki_status read_place(struct reader *r, const struct list_filter *filter, struct sample *s,
                              uint64_t low, uint64_t high, aiki_error *err)
{
    struct list_filter here = *filter;
    here.limit = SAMPLE_PLACE_ROWS;
    here.before_no = low + 2 + by_lot(high - low);
    aiki_status status = r->connection->ops->list(r->connection, &here, sample_row, s, err);
    if (status != AIKI_OK || s->count == s->limit || here.before_no == high + 1)
        return status;
    s->count = s->seen = 0;
    here.before_no = high + 1;
    return r->connection->ops->list(r->connection, &here, sample_row, s, err);
}

static aiki_status read_places(struct reader *r, const struct list_filter *filter, struct sample *s,
                               int64_t until_ms, aiki_error *err)
{
    uint64_t older = s->last_no - 1;
    uint64_t share = s->limit * older / s->first_no; /* at most SAMPLE_RUNS_MAX runs, so it fits */
    make_room(s, s->limit - share);
    for (uint64_t i = 0; i < SAMPLE_PLACES && clock_mono_ms() < until_ms; i++) {
        uint64_t low = older * i / SAMPLE_PLACES, high = older * (i + 1) / SAMPLE_PLACES;
        uint64_t quota = share * (i + 1) / SAMPLE_PLACES - share * i / SAMPLE_PLACES;
        struct sample place = {.build = s->build,
                               .picks = s->picks + s->count,
                               .limit = quota < s->limit - s->count ? quota : s->limit - s->count,
                               .floor_no = low};
        if (place.limit == 0 || high == low)
            continue;
        aiki_status status = read_place(r, filter, &place, low, high, err);
        if (status != AIKI_OK)
            return status;
        s->count += place.count;
        s->seen += place.seen;
    }
    return AIKI_OK;
}

aiki_status runs_sample(struct reader *r, const struct query_args *a, aiki_writer *doc,
                        aiki_error *err)
{
    AUTO(free) char *workflow = view_dup(a->workflow);
    AUTO(free) char *version = view_dup(a->version);
    AUTO(free) struct pick *picks = NULL;
    uint8_t build[HASH_BYTES];
    size_t size = 0;
    struct sample s = {.limit = a->limit > 0 && a->limit < SAMPLE_RUNS_MAX ? a->limit
                                                                          : SAMPLE_RUNS_MAX};
    if (a->build.size_bytes > 0 &&
        sodium_hex2bin(build, sizeof(build), (const char *)a->build.data,
                       (size_t)a->build.size_bytes, NULL, &size, NULL) == 0)
        s.build = (aiki_view){build, size};
    s.picks = picks = calloc((size_t)s.limit, sizeof(*picks));
    if (picks == NULL || workflow == NULL || version == NULL)
        return error_set(err, AIKI_NOMEM, "a sample of %llu runs", (unsigned long long)s.limit);
    struct list_filter filter = {.space = r->space,
                                 .workflow = workflow,
                                 .version = version,
                                 .state_mask = reader_open_states(),
                                 .limit = STORE_LIST_MAX};
    int64_t until_ms = clock_mono_ms() + SAMPLE_MS_MAX;
    bool whole = false;
    aiki_status status = read_newest(r, &filter, &s, until_ms, &whole, err);
    if (status == AIKI_OK && !whole)
        status = read_places(r, &filter, &s, until_ms, err);
    if (status == AIKI_OK)
        write_sample(doc, &s, whole);
    return status;
}

/* ---- runs.journal ---------------------------------------------------------------------------- */

struct journal_of {
    uint64_t no, seq;
    aiki_writer *doc;
    struct view_map map;
};

static bool describe_run(void *arg, const struct run_row *row)
{
    struct journal_of *j = arg;
    j->no = row->no;
    j->seq = row->seq;
    view_map_begin(&j->map, j->doc);
    view_put_id(&j->map, "id", &row->id);
    view_put_text(&j->map, "workflow", row->workflow);
    view_put_text(&j->map, "version", row->version);
    view_put_uint(&j->map, "seq", row->seq);
    return false;
}

aiki_status runs_journal(struct reader *r, const struct query_args *a, aiki_writer *doc,
                         aiki_error *err)
{
    AUTO(buf) aiki_writer page;
    struct aiki_id id;
    struct journal_of j = {.doc = doc};
    fault_point(server_gate_journal);
    uint64_t last_seq = a->after;
    uint8_t hash[HASH_BYTES];
    buf_init(&page);
    aiki_status status = reader_find(r, a, describe_run, &j, &id, err);
    if (status == AIKI_OK && a->after < j.seq)
        status = r->connection->ops->reader_journal(r->connection, j.no, a->after,
                                                    JOURNAL_PAGE_BYTES, &page, &last_seq, hash, err);
    if (status != AIKI_OK)
        return status;
    view_put_uint(&j.map, "last", last_seq);
    view_name(&j.map, "events");
    aiki_mp_bin(doc, page.data, page.size_bytes);
    view_map_end(&j.map);
    return AIKI_OK;
}
