/* children.c - what a run's events mean for its children and its parent, in the same unit.
 *
 *   STEP_BEGUN of kind child --> a run with the derived id, or CHILD_DONE failed
 *   STEP_DONE cancelled ------> that child, by its close policy
 *   the run ended ------------> CHILD_DONE on its parent; its open children, by close policy
 *   asked to cancel ----------> its children with CLOSE_CANCEL are asked, too
 *
 *   STEP_BEGUN of a shared child whose key is taken (decision 9):
 *     the run that has it is open ------> JOINED on that run; its end is told to all who joined
 *     it waits for this run itself -----> once all of them are parked: CHILD_DONE failed (joins.c)
 *     it completed ---------------------> CHILD_DONE at once
 *     it ended otherwise ---------------> it loses the key to a new run
 *
 * The first two are done with the append. The others may go on from run to run: each is noted and
 * done before the commit, so that a whole family is decided in one unit, without recursion. What
 * the store cannot read just then refuses the unit: its commands are decided again one by one. A family
 * of more than FAMILY_UNIT_RUNS is closed in several units: a run whose children are left carries
 * RUN_FLAG_FOLLOW in its row, a timer that is due at once, until they are closed too.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/canon.h"
#include "wire/child.h"
#include "wire/error.h"

/* The unit at hand cannot be committed. */
static void spoil(struct pipeline *p, const aiki_error *err)
{
    if (p->work.spoilt.status != AIKI_OK)
        return;
    p->work.spoilt = *err;
    p->work.spoilt.status = AIKI_UNAVAILABLE;
}

/* ---- to the parent --------------------------------------------------------------------------- */

static void record_done(struct pipeline *p, struct entry *parent, const struct event *done)
{
    struct engine_effects effects;
    uint64_t from = parent->journal.size_bytes;
    bool was_dirty = parent->dirty != 0;
    (void)unit_touch(p, parent);
    if (engine_child_done(&parent->run, &p->now, event_body(p, done), &parent->journal, &effects))
        unit_changed(p, parent, from, &effects);
    else if (!was_dirty)
        unit_untouch(p, parent);
}

void child_record_failed(struct pipeline *p, struct entry *parent, const struct aiki_id *child,
                         const aiki_error *why)
{
    AUTO(buf) aiki_writer map = {.data = NULL};
    char text[AIKI_ID_TEXT_SIZE];
    struct event done = {.kind = EVENT_CHILD_DONE,
                         .as.child_done = {.child = *child, .state = RUN_FAILED}};
    if (run_state_is_terminal(parent->run.state)) {
        id_text(&parent->id, text);
        log_warn("engine", "run %s ended with a child that did not start: %s", text, why->message);
        return;
    }
    buf_init(&map);
    error_write(&map, why);
    done.as.child_done.error = aiki_writer_view(&map);
    record_done(p, parent, &done);
}

static bool has_room(const struct entry *parent, const struct event *done)
{
    uint64_t size_bytes =
        done->as.child_done.output.size_bytes + done->as.child_done.error.size_bytes;
    return parent->run.journal_bytes + size_bytes <= RUN_JOURNAL_BYTES_MAX;
}

/* e has ended and the parent is open, whose step knows it as `child`. */
static void tell(struct pipeline *p, struct entry *e, struct entry *parent,
                 const struct aiki_id *child)
{
    struct event last, done = {.kind = EVENT_CHILD_DONE,
                               .as.child_done = {.child = *child,
                                                 .state = e->run.state,
                                                 .error = {e->reason, e->reason_size_bytes}}};
    aiki_error err = {.struct_size = sizeof(err)};
    if (e->run.state == RUN_COMPLETED) {
        if (run_last_event(p, e, &last, &err) != AIKI_OK) {
            spoil(p, &err);
            return;
        }
        done.as.child_done.output = last.as.completed.output;
    }
    if (!id_equal(child, &e->id))
        done.as.child_done.by = e->id;
    if (has_room(parent, &done)) {
        record_done(p, parent, &done);
    } else {
        (void)error_set(&err, AIKI_LIMIT,
                        "RUN_JOURNAL_BYTES_MAX: the parent has no room for the child's result");
        child_record_failed(p, parent, child, &err);
    }
    fault_point(server_child_done);
}

static void tell_one(struct pipeline *p, struct entry *e, const struct aiki_id *parent_id,
                     const struct aiki_id *child)
{
    struct entry *parent;
    aiki_error err = {.struct_size = sizeof(err)};
    if (BUG(child_end_lost) && cache_find(&p->cache, parent_id) == NULL)
        return;
    aiki_status status = run_load(p, parent_id, &parent, &err);
    if (status == AIKI_NOT_FOUND)
        return;
    if (status != AIKI_OK) {
        spoil(p, &err);
        return;
    }
    if (!run_state_is_terminal(parent->run.state))
        tell(p, e, parent, child);
    cache_rest(&p->cache, parent);
}

static void tell_end(struct pipeline *p, struct entry *e)
{
    struct joined *all;
    size_t count;
    aiki_error err = {.struct_size = sizeof(err)};
    if (!id_is_zero(&e->parent) && (e->run.flags & RUN_FLAG_DETACHED) == 0)
        tell_one(p, e, &e->parent, &e->id);
    if ((e->run.flags & RUN_FLAG_JOINED) == 0 || BUG(join_untold))
        return;
    if (joins_of(p, e, &all, &count, &err) != AIKI_OK)
        spoil(p, &err);
    for (size_t i = 0; i < count; i++)
        tell_one(p, e, &all[i].parent, &all[i].child);
    free(all);
}

/* ---- to the children ------------------------------------------------------------------------- */

static uint64_t close_policy_of(const struct entry *e)
{
    return e->run.flags >> RUN_FLAG_CLOSE_SHIFT & RUN_FLAG_CLOSE_MASK;
}

static void close_child(struct pipeline *p, struct entry *parent, struct entry *e, uint64_t action)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    char text[AIKI_ID_TEXT_SIZE];
    id_text(&parent->id, text);
    const char *why =
        run_state_is_terminal(parent->run.state) ? "its parent ended" : "its parent asked for it";
    if (!run_state_is_terminal(e->run.state)) /* nothing else refuses these two */
        (void)run_request(p, e, action, &(struct asked){.reason = view_of(why), .actor = view_of(text)},
                          &effects, &refusal);
}

/* What becomes of one child; 0 = nothing. */
static uint64_t action_for(const struct entry *e, enum follow_what what)
{
    uint64_t policy = close_policy_of(e);
    if (run_state_is_terminal(e->run.state) || policy == CLOSE_ABANDON ||
        BUG(close_ignored))
        return 0;
    if (what == FOLLOW_RETRIED && (e->run.flags & RUN_FLAG_DETACHED) != 0)
        return 0;
    if (policy == CLOSE_TERMINATE)
        return what == FOLLOW_CANCELLED ? 0 : CONTROL_TERMINATE;
    return CONTROL_CANCEL;
}

static void follow_child(struct pipeline *p, struct entry *parent, struct entry *e,
                         enum follow_what what)
{
    uint64_t action = action_for(e, what);
    if (action != 0)
        close_child(p, parent, e, action);
    cache_rest(&p->cache, e);
}

struct page {
    struct pipeline *p;
    uint64_t numbers[STORE_LIST_MAX];
    size_t count; /* open ones */
    uint64_t last_no;
    uint32_t rows;
};

static bool note_child(void *arg, const struct run_row *row)
{
    struct page *page = arg;
    const struct entry *e = cache_find_no(&page->p->cache, row->no);
    page->last_no = row->no;
    page->rows++;
    if (!run_state_is_terminal(e != NULL ? e->run.state : row->state))
        page->numbers[page->count++] = row->no;
    return true;
}

/* Those of this unit are not on record yet. */
static void follow_new(struct pipeline *p, struct entry *parent, enum follow_what what)
{
    for (size_t i = 0; i < p->work.run_count; i++)
        if (p->work.runs[i].insert && id_equal(&p->work.runs[i].entry->parent, &parent->id))
            follow_child(p, parent, p->work.runs[i].entry, what);
}

static void follow_children(struct pipeline *p, struct entry *parent, enum follow_what what)
{
    struct page page = {.p = p};
    aiki_error err = {.struct_size = sizeof(err)};
    struct entry *e;
    aiki_status status = AIKI_OK;
    if (parent->run.children == 0)
        return;
    follow_new(p, parent, what);
    do {
        page.rows = 0;
        page.count = 0;
        status = p->store->ops->children(p->store, &parent->id, page.last_no, STORE_LIST_MAX,
                                         note_child, &page, &err);
        for (size_t i = 0; status == AIKI_OK && i < page.count; i++) {
            status = run_load_no(p, page.numbers[i], &e, &err);
            if (status == AIKI_OK)
                follow_child(p, parent, e, what);
        }
    } while (status == AIKI_OK && page.rows == STORE_LIST_MAX);
    if (status != AIKI_OK)
        spoil(p, &err);
}

void children_note(struct pipeline *p, struct entry *e, enum follow_what what)
{
    struct work *u = &p->work;
    if (e->run.children == 0 && what != FOLLOW_ENDED && what != FOLLOW_PARKED)
        return; /* the append that ends a run may begin children first */
    u->follow = array_grow(u->follow, &u->follow_capacity, u->follow_count, sizeof(*u->follow));
    u->follow[u->follow_count++] = (struct follow){e, what};
}

static void untie(struct pipeline *p, struct entry *parked)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (joins_untie(p, parked, &err) != AIKI_OK)
        spoil(p, &err);
}

void children_follow(struct pipeline *p)
{
    struct work *u = &p->work;
    for (size_t i = 0; i < u->follow_count; i++) { /* it grows meanwhile */
        struct follow f = u->follow[i];
        if (f.what == FOLLOW_PARKED) {
            untie(p, f.entry);
            continue;
        }
        if (f.what == FOLLOW_ENDED)
            tell_end(p, f.entry);
        if (f.entry->run.children == 0)
            continue;
        /* What is left is on record with this unit, and done in the next one. But another pass begins
         * its own children meanwhile: those of the pass before are closed now. */
        if (i > 0 && u->run_count >= p->family_unit_runs && f.what != FOLLOW_RETRIED)
            f.entry->run.flags |= BUG(follow_forgotten) ? 0u : RUN_FLAG_FOLLOW;
        else
            follow_children(p, f.entry, f.what == FOLLOW_CLOSE ? FOLLOW_ENDED : f.what);
    }
    u->follow_count = 0;
}

/* Which of the two it was is plain: who has ended has all its children closed. */
void children_follow_on(struct pipeline *p, struct entry *e)
{
    e->run.flags &= ~(uint64_t)RUN_FLAG_FOLLOW;
    children_note(p, e, run_state_is_terminal(e->run.state) ? FOLLOW_CLOSE : FOLLOW_CANCELLED);
}

/* ---- start ----------------------------------------------------------------------------------- */

static aiki_status child_birth(struct pipeline *p, const struct entry *parent,
                               const struct event *begun, const struct child_options *o,
                               struct flow **ret_flow, struct birth *b, aiki_error *err)
{
    aiki_view input = begun->as.step.input;
    if (parent->run.children >= RUN_CHILDREN_MAX)
        return error_set(err, AIKI_LIMIT, "RUN_CHILDREN_MAX: the run has started %d children",
                         RUN_CHILDREN_MAX);
    aiki_status status = check_payload(&input, "input", err);
    if (status == AIKI_OK)
        status = check_text(o->key, "key", err);
    if (status == AIKI_OK)
        status = registry_resolve(&p->registry, begun->as.step.name, o->version, ret_flow, err);
    if (status == AIKI_OK && (*ret_flow)->said.input_schema != NULL)
        status = schema_validate((*ret_flow)->said.input_schema, input, err);
    if (status == AIKI_OK)
        status = canon_hash(input, b->input_hash, err);
    if (status != AIKI_OK)
        return status;
    int64_t timeout_ms = (*ret_flow)->said.run_timeout_ms;
    int64_t deadline_ms = timeout_ms > 0 ? p->now.at_ms + timeout_ms : 0;
    int64_t inherited_ms = o->close_policy == CLOSE_ABANDON ? 0 : parent->run.deadline_ms;
    if (inherited_ms != 0 && (deadline_ms == 0 || inherited_ms < deadline_ms))
        deadline_ms = inherited_ms;
    b->start_by_ms = o->schedule_to_start_ms == 0 ? 0
                     : o->schedule_to_start_ms < START_DELAY_MS_MAX
                         ? p->now.at_ms + o->schedule_to_start_ms
                         : p->now.at_ms + START_DELAY_MS_MAX;
    b->flags = o->close_policy << RUN_FLAG_CLOSE_SHIFT | (o->detached ? RUN_FLAG_DETACHED : 0u);
    b->started.kind = EVENT_STARTED;
    b->started.as.started.input = input;
    b->started.as.started.key = o->key;
    b->started.as.started.actor = parent->actor;
    b->started.as.started.parent = parent->id;
    b->started.as.started.parent_address = begun->as.step.address;
    b->started.as.started.parent_nth = begun->as.step.nth;
    b->started.as.started.close_policy = o->close_policy;
    b->started.as.started.deadline_ms = deadline_ms;
    return AIKI_OK;
}

/* Like a start by a client: an id not in memory is new until the insert says otherwise. */
static struct entry *find_child(struct pipeline *p, const struct aiki_id *id)
{
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    if (!p->alone)
        return cache_find(&p->cache, id);
    aiki_status status = run_load(p, id, &e, &err);
    if (status != AIKI_OK && status != AIKI_NOT_FOUND)
        spoil(p, &err);
    return e;
}

static aiki_status key_is_free(struct pipeline *p, struct flow *flow, aiki_view key,
                               aiki_error *err)
{
    struct entry *e;
    char text[AIKI_ID_TEXT_SIZE];
    if (key.size_bytes == 0)
        return AIKI_OK;
    aiki_status status = run_load_key(p, flow, key, &e, err);
    if (status == AIKI_NOT_FOUND)
        return AIKI_OK;
    if (status != AIKI_OK) {
        spoil(p, err);
        return AIKI_OK;
    }
    id_text(&e->id, text);
    cache_rest(&p->cache, e);
    return error_code(err, AIKI_CONFLICT, "KEY_TAKEN", "the key belongs to run %s", text);
}

static aiki_status join_open(struct pipeline *p, struct entry *parent, struct entry *holder,
                             const struct aiki_id *id, aiki_error *err)
{
    const struct event joined = {.kind = EVENT_JOINED,
                                 .as.joined = {.parent = parent->id, .child = *id}};
    struct engine_effects effects;
    cache_hold(&p->cache, holder); /* others are loaded meanwhile */
    if (joins_mark(p, parent, holder, err) != AIKI_OK) {
        spoil(p, err);
        return AIKI_OK;
    }
    uint64_t from = holder->journal.size_bytes;
    bool was_dirty = holder->dirty != 0;
    (void)unit_touch(p, holder);
    if (engine_join(&holder->run, &p->now, event_body(p, &joined), &holder->journal, &effects)) {
        unit_changed(p, holder, from, &effects);
        fault_point(server_child_joined);
        return AIKI_OK;
    }
    if (!was_dirty)
        unit_untouch(p, holder);
    return error_code(err, AIKI_LIMIT, "JOIN_LIMIT",
                      "the run that has the key has %llu events, over RUN_JOIN_EVENTS_MAX (%d)",
                      (unsigned long long)holder->run.seq, RUN_JOIN_EVENTS_MAX);
}

/* The key of a shared child: *ret_joined when another run has it and the step follows that one. */
static aiki_status join(struct pipeline *p, struct entry *parent, struct flow *flow, aiki_view key,
                        const struct birth *b, bool *ret_joined, aiki_error *err)
{
    struct entry *holder;
    char text[AIKI_ID_TEXT_SIZE];
    aiki_status status = run_load_key(p, flow, key, &holder, err);
    *ret_joined = status != AIKI_NOT_FOUND;
    if (status != AIKI_OK) {
        if (*ret_joined)
            spoil(p, err);
        return AIKI_OK;
    }
    id_text(&holder->id, text);
    bool over = run_state_is_terminal(holder->run.state), own = id_equal(&holder->id, &b->id);
    if (holder == parent) {
        status = error_code(err, AIKI_CONFLICT, "KEY_TAKEN",
                            "the key belongs to this run itself, which cannot wait for its own end");
    } else if (over && !own && holder->run.state != RUN_COMPLETED && !BUG(key_with_failed)) {
        (void)unit_touch(p, holder);
        holder->key_dropped = true;
        *ret_joined = false;
    } else if (memcmp(holder->input_hash, b->input_hash, HASH_BYTES) != 0 && !BUG(join_whatever)) {
        status = error_code(err, AIKI_CONFLICT, "KEY_TAKEN",
                            "the key belongs to run %s, which was started with another input", text);
    } else if (over) {
        tell(p, holder, parent, &b->id);
    } else if (!own) {
        status = join_open(p, parent, holder, &b->id, err);
    }
    cache_rest(&p->cache, holder);
    return status;
}

static aiki_status begin_new(struct pipeline *p, struct entry *parent, const struct event *begun,
                             const struct child_options *o, const struct aiki_id *id,
                             aiki_error *err)
{
    struct birth b = {.id = *id};
    struct flow *flow;
    bool joined = false;
    aiki_status status = child_birth(p, parent, begun, o, &flow, &b, err);
    if (status == AIKI_OK)
        status = o->shared ? join(p, parent, flow, o->key, &b, &joined, err)
                           : key_is_free(p, flow, o->key, err);
    if (status != AIKI_OK || joined)
        return status;
    parent->run.children++;
    (void)run_start(p, flow, &b);
    metric_add(children_started, 1);
    fault_point(server_child_begun);
    return AIKI_OK;
}

static void begin_child(struct pipeline *p, struct entry *parent, const struct event *begun)
{
    struct child_options o = {0};
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = child_options_read(begun->as.step.options, &o);
    uint64_t pass = BUG(child_twice) ? parent->run.epoch : o.pass;
    struct aiki_id id = child_id(&parent->id, &begun->as.step.address, begun->as.step.nth, pass);
    if (status != AIKI_OK) {
        (void)error_set(&err, status, "the child's options do not decode");
        child_record_failed(p, parent, &id, &err);
        return;
    }
    struct entry *e = find_child(p, &id);
    if (e == NULL) {
        if (begin_new(p, parent, begun, &o, &id, &err) != AIKI_OK)
            child_record_failed(p, parent, &id, &err);
        return;
    }
    if (!id_equal(&e->parent, &parent->id)) {
        (void)error_code(&err, AIKI_CONFLICT, "RUN_ID_TAKEN", "the child's id is another run's");
        child_record_failed(p, parent, &id, &err);
    } else if (run_state_is_terminal(e->run.state) && !o.detached) {
        tell(p, e, parent, &e->id); /* begun again: its end is told again */
    }
    cache_rest(&p->cache, e);
}

/* A step that the code gave up: when it is a child, of whichever pass, it is closed. */
static void give_up(struct pipeline *p, struct entry *parent, const struct event *done)
{
    aiki_error err = {.struct_size = sizeof(err)};
    struct entry *e;
    for (uint64_t pass = run_passes(parent->run.flags);; pass--) {
        struct aiki_id id = child_id(&parent->id, &done->as.step.address, done->as.step.nth, pass);
        aiki_status status = run_load(p, &id, &e, &err);
        if (status == AIKI_OK) {
            follow_child(p, parent, e, FOLLOW_ENDED);
            return;
        }
        if (status != AIKI_NOT_FOUND)
            spoil(p, &err);
        if (pass == 0)
            return;
    }
}

bool child_is_concerned(const struct event *e)
{
    if (e->kind == EVENT_STEP_BEGUN)
        return e->as.step.identity_kind == STEP_CHILD;
    return e->kind == EVENT_STEP_DONE && e->as.step.outcome == OUTCOME_CANCELLED &&
           e->as.step.error.size_bytes == 0;
}

void children_begin(struct pipeline *p, struct entry *parent, aiki_view events)
{
    aiki_reader r;
    struct event event;
    aiki_view body;
    aiki_reader_init(&r, events);
    while (aiki_reader_left(&r) > 0 && event_read_new(&r, &event, &body, NULL) == AIKI_OK) {
        if (!child_is_concerned(&event))
            continue;
        if (event.kind == EVENT_STEP_BEGUN)
            begin_child(p, parent, &event);
        else if (parent->run.children > 0)
            give_up(p, parent, &event);
    }
}
