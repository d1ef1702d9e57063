/* reader.c - see reader.h. */
#include "engine/run.h"
#include "reader_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "views.h"
#include "wire/error.h"

enum { HISTORY_PAGE_BYTES = 1024 * 1024, LIST_PAGES_MAX = 20, BUILD_DIGITS_MIN = 6 };
enum { STATE_OPEN = 1 << 16 }; /* whatever is not over: no state of its own */

aiki_status reader_find(struct reader *r, const struct query_args *a, store_run_fn fn, void *arg,
                        struct aiki_id *ret_id, aiki_error *err)
{
    char text[AIKI_ID_TEXT_SIZE];
    aiki_status status = id_parse((const char *)a->id.data, a->id.size_bytes, ret_id, err);
    if (status != AIKI_OK)
        return status;
    status = r->connection->ops->reader_find_run(r->connection, ret_id, fn, arg, err);
    if (status != AIKI_NOT_FOUND)
        return status;
    id_text(ret_id, text);
    return error_code(err, AIKI_NOT_FOUND, "RUN_NOT_FOUND", "there is no run %s", text);
}

/* ---- runs.list ------------------------------------------------------------------------------- */

struct list {
    struct reader *reader;
    const struct job *job;
    struct shown how;
    uint32_t only_state; /* as shown, or STATE_OPEN; 0 = any */
    int64_t since_ms, until_ms;
    uint64_t limit, count, last_no;
    uint32_t rows;
    bool full; /* the page ended because there were enough */
    bool over; /* all that follow were started too early */
    aiki_writer *w;
};

static bool is_served(const struct job *job, const struct run_row *row)
{
    for (size_t i = 0; i < job->served_count; i++)
        if (view_is(row->workflow, job->served[i]->name) &&
            view_is(row->version, job->served[i]->version))
            return true;
    return false;
}

uint32_t reader_state(const struct reader *r, const struct job *job, const struct run_row *row)
{
    uint32_t state = row->state;
    if (state == RUN_RUNNING && row->epoch < r->epoch_floor)
        state = (row->flags & RUN_FLAG_PAUSE) != 0 ? RUN_PAUSED : RUN_QUEUED;
    if (state == RUN_QUEUED && !is_served(job, row))
        state = RUN_STALLED;
    return view_state(state, row->flags);
}

static bool list_row(void *arg, const struct run_row *row)
{
    struct list *l = arg;
    struct view_map m;
    uint32_t state = reader_state(l->reader, l->job, row);
    l->last_no = row->no;
    l->rows++;
    l->over = row->created_at_ms < l->since_ms;
    if (l->over)
        return false;
    if ((l->only_state == 0 || l->only_state == STATE_OPEN || l->only_state == state) && row->created_at_ms <= l->until_ms) {
        l->count++;
        view_map_begin(&m, l->w);
        view_run_fields(&m, &l->how, row, state);
        view_map_end(&m);
    }
    l->full = l->count >= l->limit;
    return !l->full;
}

/* The builds that begin with these digits. */
struct build_range {
    uint8_t min[HASH_BYTES], max[HASH_BYTES];
};

static aiki_status read_build(aiki_view digits, struct build_range *ret, aiki_error *err)
{
    static const char hex[] = "0123456789abcdef";
    memset(ret->min, 0, HASH_BYTES);
    memset(ret->max, 0xff, HASH_BYTES);
    bool fits = digits.size_bytes == 0 || (digits.size_bytes >= BUILD_DIGITS_MIN &&
                                           digits.size_bytes <= (uint64_t)HASH_BYTES * 2);
    for (uint64_t i = 0; fits && i < digits.size_bytes; i++) {
        const char *at = memchr(hex, digits.data[i], 16);
        unsigned shift = i % 2 == 0 ? 4 : 0;
        fits = at != NULL;
        if (!fits)
            break;
        ret->min[i / 2] |= (uint8_t)((at - hex) << shift);
        ret->max[i / 2] &= (uint8_t)~((15 - (at - hex)) << shift);
    }
    if (fits)
        return AIKI_OK;
    return error_code(
        err, AIKI_INVALID, "BAD_BUILD",
        "a build is %d to %d hex digits in lower case, as `aiki plugins list` shows them",
        BUILD_DIGITS_MIN, HASH_BYTES * 2);
}

uint64_t reader_open_states(void)
{
    uint64_t mask = 0;
#define OPEN_STATE(name, number, text, terminal) mask |= (terminal) ? 0 : 1ull << (number);
    RUN_STATE_MAP(OPEN_STATE)
#undef OPEN_STATE
    return mask;
}

static uint64_t state_mask(uint32_t shown)
{
    if (shown == 0)
        return 0;
    if (shown == STATE_OPEN)
        return reader_open_states();
    if (shown == RUN_QUEUED || shown == RUN_STALLED)
        return 1ull << RUN_QUEUED | 1ull << RUN_RUNNING;
    if (shown == RUN_PAUSED)
        return 1ull << RUN_PAUSED | 1ull << RUN_RUNNING;
    return shown == RUN_CANCELLING ? reader_open_states() : 1ull << shown;
}

static uint32_t parse_state(const char *text)
{
    return strcmp(text, "open") == 0 ? STATE_OPEN : (uint32_t)run_state_parse(text);
}

static aiki_status list_pages(struct list *l, struct list_filter *filter, aiki_error *err)
{
    const struct store_ops *ops = l->reader->connection->ops;
    for (int page = 0; page < LIST_PAGES_MAX; page++) {
        l->rows = 0;
        l->full = false;
        aiki_status status = ops->list(l->reader->connection, filter, list_row, l, err);
        if (status != AIKI_OK)
            return status;
        if (l->count >= l->limit)
            return AIKI_OK;
        if (l->over || (!l->full && l->rows < filter->limit)) {
            l->last_no = 0;
            return AIKI_OK;
        }
        filter->before_no = l->last_no;
    }
    return AIKI_OK;
}

static aiki_status runs_list(struct reader *r, const struct job *job, const struct query_args *a,
                             aiki_writer *doc, aiki_error *err)
{
    AUTO(free) char *workflow = NULL, *version = NULL, *key = NULL, *state = NULL;
    AUTO(buf) aiki_writer rows;
    buf_init(&rows);
    workflow = a->workflow.size_bytes > 0 ? view_dup(a->workflow) : NULL;
    version = a->version.size_bytes > 0 ? view_dup(a->version) : NULL;
    key = a->key.size_bytes > 0 ? view_dup(a->key) : NULL;
    state = a->state.size_bytes > 0 ? view_dup(a->state) : NULL;
    struct list l = {.reader = r,
                     .job = job,
                     .how = reader_shown(r, a),
                     .since_ms = (int64_t)a->since,
                     .until_ms = a->until > 0 ? (int64_t)a->until : INT64_MAX,
                     .limit = a->limit > 0 ? a->limit : LIST_LIMIT_DEFAULT,
                     .w = &rows};
    if (l.limit > STORE_LIST_MAX)
        l.limit = STORE_LIST_MAX;
    if (state != NULL && (l.only_state = parse_state(state)) == 0)
        return error_code(err, AIKI_INVALID, "BAD_STATE", "there is no run state %s", state);
    struct build_range builds;
    aiki_status status = read_build(a->build, &builds, err);
    if (status != AIKI_OK)
        return status;
    const uint64_t build_bytes = a->build.size_bytes > 0 ? HASH_BYTES : 0;
    struct list_filter filter = {.space = r->space,
                                 .workflow = workflow,
                                 .version = version,
                                 .key = key,
                                 .state_mask = state_mask(l.only_state),
                                 .build_min = {builds.min, build_bytes},
                                 .build_max = {builds.max, build_bytes},
                                 .before_no = a->before,
                                 .limit = (uint32_t)l.limit};
    status = list_pages(&l, &filter, err);
    if (status != AIKI_OK)
        return status;
    aiki_mp_map(doc, 2);
    aiki_mp_str(doc, "runs");
    aiki_mp_array(doc, l.count);
    aiki_mp_raw(doc, rows.data, rows.size_bytes);
    aiki_mp_str(doc, "next");
    if (l.last_no > 0)
        aiki_mp_uint(doc, l.last_no);
    else
        aiki_mp_nil(doc);
    return rows.status;
}

/* ---- runs.history ---------------------------------------------------------------------------- */

struct history {
    struct reader *reader;
    const struct job *job;
    struct aiki_id id;
    uint64_t no, seq;
    uint32_t state; /* as shown */
    struct shown how;
    uint64_t limit, count, last_seq;
    uint8_t hash[HASH_BYTES];
    aiki_writer *w;
};

static bool found_run(void *arg, const struct run_row *row)
{
    struct history *h = arg;
    h->no = row->no;
    h->seq = row->seq;
    h->state = reader_state(h->reader, h->job, row);
    return false;
}

struct shown reader_shown(const struct reader *r, const struct query_args *a)
{
    return (struct shown){.schemas = a->reveal ? NULL : r->schemas, .full = a->full};
}

static aiki_status note_page(struct history *h, struct steps *steps, aiki_view page, aiki_error *err)
{
    aiki_reader r;
    struct event event;
    aiki_status status = AIKI_OK;
    aiki_reader_init(&r, page);
    while (aiki_reader_left(&r) > 0 && status == AIKI_OK && steps_seq(steps) < h->last_seq) {
        status = event_read_stored(&r, &event, err);
        if (status == AIKI_OK)
            steps_note(&h->reader->steps, steps, &event);
    }
    return status;
}

/* What comes before the page says what the steps in it are; mostly the page before was asked for
 * just now. */
static aiki_status know_steps(struct reader *r, struct history *h, struct steps *steps, aiki_error *err)
{
    AUTO(buf) aiki_writer page;
    aiki_status status = AIKI_OK;
    buf_init(&page);
    while (status == AIKI_OK && steps_seq(steps) < h->last_seq && steps_seq(steps) < h->seq) {
        uint64_t at = steps_seq(steps), last_seq = at;
        buf_clear(&page, HISTORY_PAGE_BYTES);
        status = r->connection->ops->reader_journal(r->connection, h->no, at, HISTORY_PAGE_BYTES, &page,
                                                    &last_seq, NULL, err);
        if (status == AIKI_OK)
            status = note_page(h, steps, aiki_writer_view(&page), err);
        if (steps_seq(steps) == at)
            break;
    }
    return status;
}

static aiki_status show_page(struct history *h, struct steps *steps, aiki_view page, aiki_error *err)
{
    aiki_reader r;
    struct event event;
    aiki_reader_init(&r, page);
    while (aiki_reader_left(&r) > 0 && h->count < h->limit &&
           h->w->size_bytes < DOCUMENT_BYTES_MAX) {
        aiki_status status = event_read_stored(&r, &event, err);
        if (status != AIKI_OK)
            return status;
        event_chain(h->hash, event.encoded);
        if (steps != NULL)
            steps_note(&h->reader->steps, steps, &event);
        view_event(h->w, &(struct view_scene){&h->id, &h->how, steps}, &event, h->hash);
        h->last_seq = event.seq;
        h->count++;
    }
    return AIKI_OK;
}

static aiki_status show_pages(struct reader *r, struct history *h, aiki_error *err)
{
    AUTO(buf) aiki_writer page;
    struct steps *steps = h->how.schemas != NULL ? steps_of(&r->steps, &h->id) : NULL;
    buf_init(&page);
    aiki_status known = steps != NULL ? know_steps(r, h, steps, err) : AIKI_OK;
    if (known != AIKI_OK)
        return known;
    for (uint64_t at = h->last_seq; at < h->seq && h->count < h->limit;) {
        uint64_t last_seq = at;
        buf_clear(&page, HISTORY_PAGE_BYTES);
        aiki_status status = r->connection->ops->reader_journal(
            r->connection, h->no, at, HISTORY_PAGE_BYTES, &page, &last_seq, h->hash, err);
        if (status == AIKI_OK)
            status = show_page(h, steps, aiki_writer_view(&page), err);
        if (status != AIKI_OK)
            return status;
        if (last_seq == at || h->w->size_bytes >= DOCUMENT_BYTES_MAX)
            break;
        at = last_seq;
    }
    return AIKI_OK;
}

static aiki_status runs_history(struct reader *r, const struct job *job,
                                const struct query_args *a, aiki_writer *doc, aiki_error *err)
{
    AUTO(buf) aiki_writer events;
    char text[AIKI_ID_TEXT_SIZE];
    buf_init(&events);
    struct history h = {.reader = r,
                        .job = job,
                        .limit = a->limit > 0 ? a->limit : HISTORY_LIMIT_DEFAULT,
                        .last_seq = a->after,
                        .how = reader_shown(r, a),
                        .w = &events};
    if (h.limit > HISTORY_LIMIT_MAX)
        h.limit = HISTORY_LIMIT_MAX;
    aiki_status status = reader_find(r, a, found_run, &h, &h.id, err);
    if (status == AIKI_OK)
        status = show_pages(r, &h, err);
    if (status != AIKI_OK)
        return status;
    id_text(&h.id, text);
    aiki_mp_map(doc, 4);
    aiki_mp_str(doc, "id");
    aiki_mp_str(doc, text);
    aiki_mp_str(doc, "state");
    aiki_mp_str(doc, run_state_name(h.state));
    aiki_mp_str(doc, "events");
    aiki_mp_array(doc, h.count);
    aiki_mp_raw(doc, events.data, events.size_bytes);
    aiki_mp_str(doc, "next");
    if (h.last_seq < h.seq && h.count > 0)
        aiki_mp_uint(doc, h.last_seq);
    else
        aiki_mp_nil(doc);
    return events.status;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void do_job(struct reader *r, const struct job *job)
{
    AUTO(buf) aiki_writer doc;
    struct query_args args;
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&doc);
    aiki_status status = query_args_read((aiki_view){job->args, job->args_size_bytes}, &args, &err);
    if (status == AIKI_OK)
        status = job->what == JOB_HISTORY   ? runs_history(r, job, &args, &doc, &err)
                 : job->what == JOB_TREE    ? runs_tree(r, job, &args, &doc, &err)
                 : job->what == JOB_SAMPLE  ? runs_sample(r, &args, &doc, &err)
                 : job->what == JOB_JOURNAL ? runs_journal(r, &args, &doc, &err)
                 : job->what == JOB_LETTERS ? letters_list(r, &args, &doc, &err)
                 : job->what == JOB_LETTER  ? letters_get(r, &args, &doc, &err)
                                            : runs_list(r, job, &args, &doc, &err);
    if (status == AIKI_OK && doc.status != AIKI_OK)
        status = error_set(&err, doc.status, "the answer could not be written");
    if (status == AIKI_NOMEM && err.message[0] == '\0')
        (void)error_set(&err, AIKI_NOMEM, "the answer could not be written");
    struct outcome *o = outcome_create();
    struct parcel *parcel = outcome_add_parcel(o, job->peer);
    parcel->answered = 1;
    if (status == AIKI_OK)
        frame_add(&parcel->frames, DOCUMENT, job->correlation, .value = aiki_writer_view(&doc));
    else
        frame_fault(&parcel->frames, job->correlation, &err);
    mailbox_post(r->outbox, &o->mail);
}

static void job_destroy(struct job *job)
{
    free(job->args);
    free(job->served);
    free(job);
}

static void *run_reader(void *arg)
{
    struct reader *r = arg;
    (void)pthread_setname_np(pthread_self(), "reader"); /* for people looking at /proc */
    for (bool stop = false; !stop;)
        for (struct mail *m = postbox_take(&r->inbox, 0), *next; m != NULL; m = next) {
            struct job *job = container_of(m, struct job, mail);
            next = m->next;
            stop |= job->stop;
            if (!job->stop) {
                do_job(r, job);
                atomic_fetch_sub(&r->waiting, 1);
            }
            job_destroy(job);
        }
    return NULL;
}

aiki_status reader_start(struct reader **ret, struct store *store, const char *space,
                         uint64_t epoch_floor, struct schemas *schemas, struct mailbox *outbox,
                         aiki_error *err)
{
    struct reader *r = memory_need(sizeof(*r));
    *r = (struct reader){
        .store = store, .space = space, .epoch_floor = epoch_floor, .schemas = schemas, .outbox = outbox};
    aiki_status status = store->ops->open_reader(store, &r->connection, err);
    if (status != AIKI_OK) {
        free(r);
        return status;
    }
    postbox_init(&r->inbox);
    if (pthread_create(&r->thread, NULL, run_reader, r) != 0) {
        store->ops->close_reader(r->connection);
        postbox_deinit(&r->inbox);
        free(r);
        return error_set(err, AIKI_NOMEM, "the reader thread cannot be created");
    }
    *ret = r;
    return AIKI_OK;
}

void reader_stop(struct reader *r)
{
    if (r == NULL)
        return;
    struct job *job = memory_need(sizeof(*job));
    job->stop = true;
    postbox_post(&r->inbox, &job->mail);
    pthread_join(r->thread, NULL);
    r->store->ops->close_reader(r->connection);
    postbox_deinit(&r->inbox);
    steps_shelf_deinit(&r->steps);
    free(r);
}

static const struct {
    const char *name;
    enum job_kind job;
} queries[] = {{"runs.list", JOB_LIST},
               {"runs.history", JOB_HISTORY},
               {"runs.tree", JOB_TREE},
               {"runs.sample", JOB_SAMPLE},
               {"runs.journal", JOB_JOURNAL},
               {"letters.list", JOB_LETTERS},
               {"letters.get", JOB_LETTER}};

static enum job_kind find_query(aiki_view what)
{
    for (size_t i = 0; i < ARRAY_COUNT(queries); i++)
        if (view_is(what, queries[i].name))
            return queries[i].job;
    return JOB_NONE;
}

bool reader_knows(aiki_view what)
{
    return find_query(what) != JOB_NONE;
}

aiki_status reader_ask(struct reader *r, peer_id peer, uint32_t correlation, aiki_view what,
                       aiki_view args, const struct flow **served, size_t served_count,
                       aiki_error *err)
{
    if (atomic_load(&r->waiting) >= READER_JOBS_MAX) {
        free(served);
        return error_code(err, AIKI_UNAVAILABLE, "OVERLOADED",
                          "READER_JOBS_MAX: %d lists and histories are waiting; try again",
                          READER_JOBS_MAX);
    }
    struct job *job = memory_need(sizeof(*job));
    *job = (struct job){.what = find_query(what),
                        .peer = peer,
                        .correlation = correlation,
                        .served = served,
                        .served_count = served_count,
                        .args_size_bytes = args.size_bytes};
    if (args.size_bytes > 0) {
        job->args = memory_need((size_t)args.size_bytes);
        memcpy(job->args, args.data, (size_t)args.size_bytes);
    }
    atomic_fetch_add(&r->waiting, 1);
    postbox_post(&r->inbox, &job->mail);
    return AIKI_OK;
}
