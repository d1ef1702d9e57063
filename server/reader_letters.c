/* reader_letters.c - "letters.list", "letters.get": the dead letters, failed runs that nobody has
 * redriven or dropped (docs/decisions/0012).
 *
 *   row: failed, not dropped --> journal, forwards: the last step that failed in this pass, its
 *   outcome, the build --> journal again: what that step is, and how often it crashed
 *
 * Nothing is kept for this: a run that does not fail pays nothing, and a letter is as durable as the
 * run. Limits: LETTERS_PAGE_MAX rows a page, DOCUMENT_BYTES_MAX, LETTERS_MS_MAX of reading; a page that
 * ends early says where the next one begins. LETTER_BUILDS_MAX builds are named a letter.
 */
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/run.h"
#include "reader_impl.h"
#include "wire/error.h"

enum {
    LETTERS_PAGE_MAX = 200,
    LETTERS_MS_MAX = 2000,
    LETTER_BUILDS_MAX = 8,
    LETTER_PAGE_BYTES = 1024 * 1024
};

/* A row that is a letter, until its journal is read. */
struct letter_row {
    uint64_t no, seq;
    uint64_t pairs_at, pairs_bytes; /* in page.pairs */
    uint32_t pairs;
    aiki_view reason;               /* in page.pairs */
    char workflow[NAME_BYTES_MAX + 1], version[NAME_BYTES_MAX + 1];
};

struct page {
    struct shown how;
    struct letter_row rows[LETTERS_PAGE_MAX];
    size_t count, limit;
    uint64_t last_no;  /* of the last row seen */
    bool full;
    aiki_writer pairs; /* owned; what the rows say, encoded */
};

/* What the journal says about why the run is a letter. */
struct letter {
    struct address address; /* of the last step that failed in this pass of the run */
    uint64_t nth, attempts, kind;
    bool has_step, has_identity;
    uint64_t failed_steps, redriven, crashes;
    int64_t failed_at_ms;
    uint8_t build[HASH_BYTES], step_build[HASH_BYTES]; /* of the newest CLAIMED; when the step failed */
    bool has_build, has_step_build;
    uint8_t crashed[LETTER_BUILDS_MAX][HASH_BYTES];
    size_t crashed_count;
    aiki_writer name, input, error; /* owned */
};

static void keep(aiki_writer *w, aiki_view bytes)
{
    buf_clear(w, LETTER_PAGE_BYTES);
    aiki_mp_raw(w, bytes.data, bytes.size_bytes);
}

static void letter_init(struct letter *l)
{
    memset(l, 0, sizeof(*l));
    buf_init(&l->name);
    buf_init(&l->input);
    buf_init(&l->error);
}

static void letter_deinit(struct letter *l)
{
    buf_deinit(&l->name);
    buf_deinit(&l->input);
    buf_deinit(&l->error);
}

/* ---- reading a journal ----------------------------------------------------------------------- */

typedef void (*letter_event_fn)(struct letter *l, const struct event *e);

static aiki_status walk(struct reader *r, const struct letter_row *row, letter_event_fn fn,
                        struct letter *l, aiki_error *err)
{
    AUTO(buf) aiki_writer page;
    aiki_status status = AIKI_OK;
    buf_init(&page);
    for (uint64_t at = 0; status == AIKI_OK && at < row->seq;) {
        aiki_reader events;
        struct event e;
        uint64_t last_seq = at;
        buf_clear(&page, LETTER_PAGE_BYTES);
        status = r->connection->ops->reader_journal(r->connection, row->no, at, LETTER_PAGE_BYTES,
                                                    &page, &last_seq, NULL, err);
        aiki_reader_init(&events, aiki_writer_view(&page));
        while (status == AIKI_OK && aiki_reader_left(&events) > 0) {
            status = event_read_stored(&events, &e, err);
            if (status == AIKI_OK)
                fn(l, &e);
        }
        if (last_seq == at)
            break;
        at = last_seq;
    }
    return status;
}

/* Tasks and children fail with an error; a wait for a signal that timed out has none. */
static void note_failure(struct letter *l, const struct event *e)
{
    if (e->as.step.outcome == OUTCOME_OK || e->as.step.outcome == OUTCOME_CANCELLED ||
        e->as.step.error.size_bytes == 0)
        return;
    l->has_step = true;
    l->address = e->as.step.address;
    l->nth = e->as.step.nth;
    l->attempts = e->as.step.attempt;
    l->failed_steps++;
    l->has_step_build = l->has_build;
    memcpy(l->step_build, l->build, HASH_BYTES);
    keep(&l->error, e->as.step.error);
}

static void find_failure(struct letter *l, const struct event *e)
{
    switch (e->kind) {
    case EVENT_CLAIMED:
        l->has_build = e->as.claimed.build.size_bytes == HASH_BYTES;
        if (l->has_build)
            memcpy(l->build, e->as.claimed.build.data, HASH_BYTES);
        break;
    case EVENT_STEP_DONE: note_failure(l, e); break;
    case EVENT_RUN_RETRIED: /* outcomes other than OK are void */
        l->has_step = false;
        l->failed_steps = 0;
        l->redriven += e->as.run_retried.next_at_ms == 0;
        break;
    case EVENT_FAILED: l->failed_at_ms = e->at_ms; break;
    default: break;
    }
}

static void note_crash(struct letter *l, const struct event *e)
{
    aiki_view build = e->as.crashed.build;
    l->crashes++;
    if (build.size_bytes != HASH_BYTES || l->crashed_count == LETTER_BUILDS_MAX)
        return;
    for (size_t i = 0; i < l->crashed_count; i++)
        if (memcmp(l->crashed[i], build.data, HASH_BYTES) == 0)
            return;
    memcpy(l->crashed[l->crashed_count++], build.data, HASH_BYTES);
}

static bool is_step(const struct letter *l, const struct address *address, uint64_t nth)
{
    return l->has_step && l->nth == nth && memcmp(&l->address, address, sizeof(*address)) == 0;
}

/* The first event that speaks of a step says what it is. */
static void find_identity(struct letter *l, const struct event *e)
{
    switch (e->kind) {
    case EVENT_STARTED: /* of a run whose own code failed, this is the input */
        if (!l->has_step)
            keep(&l->input, e->as.started.input);
        break;
    case EVENT_STEP_BEGUN:
    case EVENT_ATTEMPT_FAILED:
    case EVENT_HEARTBEAT:
    case EVENT_ATTEMPT_DONE:
    case EVENT_WARNED:
    case EVENT_STEP_DONE:
        if (l->has_identity || e->as.step.identity_kind == 0 ||
            !is_step(l, &e->as.step.address, e->as.step.nth))
            break;
        l->has_identity = true;
        l->kind = e->as.step.identity_kind;
        keep(&l->name, e->as.step.name);
        keep(&l->input, e->as.step.input);
        break;
    case EVENT_CRASHED:
        if (e->as.crashed.charged && e->as.crashed.attempt > 0 &&
            is_step(l, &e->as.crashed.address, e->as.crashed.nth))
            note_crash(l, e);
        break;
    case EVENT_RUN_RETRIED: l->crashes = l->crashed_count = 0; break;
    default: break;
    }
}

static aiki_status letter_read(struct reader *r, const struct letter_row *row, struct letter *ret,
                               aiki_error *err)
{
    aiki_status status = walk(r, row, find_failure, ret, err);
    if (status == AIKI_OK)
        status = walk(r, row, find_identity, ret, err);
    return status;
}

/* ---- showing --------------------------------------------------------------------------------- */

static void put_build(struct view_map *m, const char *name, const uint8_t *build, bool has)
{
    view_name(m, name);
    if (has)
        view_hex(m->w, build, HASH_BYTES);
    else
        aiki_mp_nil(m->w);
}

/* What failed, whose input it is. */
static struct value_of input_of(const struct letter_row *row, const struct letter *l)
{
    struct value_of of = {.kind = STEP_CHILD, .name = view_of(row->workflow),
                          .version = view_of(row->version), .home = view_of(row->workflow)};
    of.build = l->has_build ? l->build : NULL;
    if (!l->has_step)
        return of;
    of.kind = l->has_identity ? l->kind : 0;
    of.name = aiki_writer_view(&l->name);
    of.version = (aiki_view){NULL, 0};
    of.build = l->has_step_build && l->kind == STEP_TASK ? l->step_build : NULL;
    return of;
}

static void put_step(struct view_map *m, const struct shown *how, const struct letter_row *row,
                     const struct letter *l)
{
    const struct value_of of = input_of(row, l);
    const aiki_view none = {NULL, 0};
    bool named = l->has_step && l->has_identity;
    view_put_text(m, "step", named ? aiki_writer_view(&l->name) : none);
    view_put_text(m, "kind", named ? view_of(step_kind_name(l->kind)) : none);
    view_put_uint(m, "attempts", l->has_step ? l->attempts : 0);
    view_put_uint(m, "crashes", l->crashes);
    view_put_uint(m, "failed_steps", l->failed_steps);
    view_put_payload(m, "input", how, &of, aiki_writer_view(&l->input));
    if (l->has_step)
        view_put_error(m, "error", how, &of, aiki_writer_view(&l->error));
    else
        view_put_raw(m, "error", row->reason); /* as it is in the pairs */
    if (l->has_step)
        put_build(m, "build", l->step_build, l->has_step_build);
    else
        put_build(m, "build", l->build, l->has_build);
    view_name(m, "crashed_builds");
    aiki_mp_array(m->w, l->crashed_count);
    for (size_t i = 0; i < l->crashed_count; i++)
        view_hex(m->w, l->crashed[i], HASH_BYTES);
}

static void put_letter(aiki_writer *w, const struct page *p, const struct letter_row *row,
                       const struct letter *l)
{
    struct view_map m;
    view_map_begin(&m, w);
    aiki_mp_raw(w, p->pairs.data + row->pairs_at, row->pairs_bytes);
    m.count += row->pairs;
    view_put_time(&m, "failed_at", l->failed_at_ms);
    view_put_uint(&m, "redriven", l->redriven);
    put_step(&m, &p->how, row, l);
    view_map_end(&m);
}

static void set_name(char to[NAME_BYTES_MAX + 1], aiki_view from)
{
    size_t size = from.size_bytes < NAME_BYTES_MAX ? (size_t)from.size_bytes : NAME_BYTES_MAX;
    if (size > 0)
        memcpy(to, from.data, size);
    to[size] = '\0';
}

/* What the row knows; views into pairs are made once all rows are there. */
static void keep_row(struct page *p, const struct run_row *row)
{
    struct letter_row *kept = &p->rows[p->count++];
    struct view_map m = {.w = &p->pairs}; /* pairs alone: the map is begun when they are shown */
    *kept = (struct letter_row){
        .no = row->no, .seq = row->seq, .pairs_at = p->pairs.size_bytes};
    set_name(kept->workflow, row->workflow);
    set_name(kept->version, row->version);
    view_put_id(&m, "id", &row->id);
    view_put_text(&m, "workflow", row->workflow);
    view_put_text(&m, "version", row->version);
    view_put_text(&m, "namespace", row->space);
    view_put_text(&m, "key", row->key);
    view_put_id(&m, "parent", &row->parent);
    view_put_time(&m, "created_at", row->created_at_ms);
    view_name(&m, "run_error");
    const uint64_t reason_at = p->pairs.size_bytes; /* the last value */
    const struct value_of of = view_row_value(row);
    shown_error(&p->pairs, &p->how, &of, row->reason);
    kept->pairs = m.count;
    kept->pairs_bytes = p->pairs.size_bytes - kept->pairs_at;
    kept->reason.size_bytes = row->reason.size_bytes > 0 ? p->pairs.size_bytes - reason_at : 0;
}

static void find_reasons(struct page *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct letter_row *row = &p->rows[i];
        if (row->reason.size_bytes > 0)
            row->reason.data =
                p->pairs.data + row->pairs_at + row->pairs_bytes - row->reason.size_bytes;
    }
}

static bool is_letter(const struct run_row *row)
{
    return row->state == RUN_FAILED && (row->flags & RUN_FLAG_DROPPED) == 0;
}

static bool letter_seen(void *arg, const struct run_row *row)
{
    struct page *p = arg;
    p->last_no = row->no;
    if (is_letter(row))
        keep_row(p, row);
    p->full = p->count >= p->limit;
    return !p->full;
}

/* ---- letters.list ---------------------------------------------------------------------------- */

struct listing {
    struct page page;
    aiki_view task; /* only letters of this task; empty = all */
    uint64_t limit, count;
    int64_t until_ms; /* monotonic */
    uint64_t next;    /* cursor; 0 = this was the last page */
    aiki_writer rows; /* owned */
};

static bool is_wanted(const struct listing *l, const struct letter *letter)
{
    return l->task.size_bytes == 0 ||
           (letter->has_step && letter->kind == STEP_TASK &&
            view_equal(l->task, aiki_writer_view(&letter->name)));
}

/* The letters of the page at hand, until there are enough of them, or bytes, or time. */
static aiki_status add_letters(struct reader *r, struct listing *l, bool *ret_enough, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    *ret_enough = false;
    for (size_t i = 0; i < l->page.count && status == AIKI_OK && !*ret_enough; i++) {
        struct letter letter;
        letter_init(&letter);
        status = letter_read(r, &l->page.rows[i], &letter, err);
        if (status == AIKI_OK && is_wanted(l, &letter)) {
            put_letter(&l->rows, &l->page, &l->page.rows[i], &letter);
            l->count++;
        }
        letter_deinit(&letter);
        l->next = l->page.rows[i].no;
        *ret_enough = l->count >= l->limit || l->rows.size_bytes >= DOCUMENT_BYTES_MAX ||
                      clock_mono_ms() >= l->until_ms;
    }
    return status;
}

static aiki_status list_letters(struct reader *r, struct listing *l, struct list_filter *filter,
                                aiki_error *err)
{
    for (;;) {
        bool enough;
        struct page *p = &l->page;
        p->count = 0;
        p->last_no = 0;
        p->full = false;
        buf_clear(&p->pairs, LETTER_PAGE_BYTES);
        aiki_status status = r->connection->ops->list(r->connection, filter, letter_seen, p, err);
        if (status == AIKI_OK)
            find_reasons(p);
        if (status == AIKI_OK)
            status = add_letters(r, l, &enough, err);
        if (status != AIKI_OK || enough)
            return status;
        l->next = filter->before_no = p->last_no;
        if (p->last_no == 0 || clock_mono_ms() >= l->until_ms)
            return AIKI_OK;
    }
}

aiki_status letters_list(struct reader *r, const struct query_args *a, aiki_writer *doc,
                         aiki_error *err)
{
    AUTO(free) char *workflow = a->workflow.size_bytes > 0 ? view_dup(a->workflow) : NULL;
    AUTO(free) struct listing *l = memory_need(sizeof(*l));
    memset(l, 0, sizeof(*l));
    buf_init(&l->rows);
    buf_init(&l->page.pairs);
    l->task = a->task;
    l->limit = a->limit == 0 ? LIST_LIMIT_DEFAULT : a->limit;
    if (l->limit > LETTERS_PAGE_MAX)
        l->limit = LETTERS_PAGE_MAX;
    l->page.limit = l->limit;
    l->page.how = reader_shown(r, a);
    l->until_ms = clock_mono_ms() + LETTERS_MS_MAX;
    struct list_filter filter = {.space = r->space,
                                 .workflow = workflow,
                                 .state_mask = UINT64_C(1) << RUN_FAILED,
                                 .before_no = a->before,
                                 .limit = STORE_LIST_MAX};
    aiki_status status = list_letters(r, l, &filter, err);
    if (status == AIKI_OK) {
        aiki_mp_map(doc, 2);
        aiki_mp_str(doc, "dead_letters");
        aiki_mp_array(doc, l->count);
        aiki_mp_raw(doc, l->rows.data, l->rows.size_bytes);
        aiki_mp_str(doc, "next");
        if (l->next > 0)
            aiki_mp_uint(doc, l->next);
        else
            aiki_mp_nil(doc);
        status = l->rows.status != AIKI_OK ? l->rows.status : l->page.pairs.status;
    }
    buf_deinit(&l->rows);
    buf_deinit(&l->page.pairs);
    return status;
}

/* ---- letters.get ----------------------------------------------------------------------------- */

aiki_status letters_get(struct reader *r, const struct query_args *a, aiki_writer *doc,
                        aiki_error *err)
{
    struct aiki_id id;
    struct letter letter;
    AUTO(free) struct page *p = memory_need(sizeof(*p));
    memset(p, 0, sizeof(*p));
    p->limit = 1;
    p->how = reader_shown(r, a);
    buf_init(&p->pairs);
    letter_init(&letter);
    aiki_status status = reader_find(r, a, letter_seen, p, &id, err);
    if (status == AIKI_OK && p->count == 0)
        status = error_code(err, AIKI_NOT_FOUND, "NO_DEAD_LETTER",
                            "the run has not failed, goes on again, or was dropped; see its history");
    if (status == AIKI_OK) {
        find_reasons(p);
        status = letter_read(r, &p->rows[0], &letter, err);
    }
    if (status == AIKI_OK)
        put_letter(doc, p, &p->rows[0], &letter);
    letter_deinit(&letter);
    buf_deinit(&p->pairs);
    return status;
}
