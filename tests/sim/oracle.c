/* oracle.c - what must hold, looked at with every commit and every answer.
 *
 * The facts about a run are built from the events as they are committed (facts.c, life.c, tasks.c, family.c) and
 * from nothing else; what a client or a runtime is told, and what a runtime does, is compared with them
 * here. model.c says what its program makes of them.
 */
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "sim.h"
#include "store/memory.h"

enum { LATE_MS = 5000 }; /* when nothing is disturbed, that is too late for anything */

/* ---- commits --------------------------------------------------------------------------------- */

/* A child is known from its first event on. */
static struct sim_run *run_of_write(const struct run_write *w)
{
    aiki_reader reader;
    struct event e;
    uint32_t run = run_find(&w->row.id);
    if (run != NOBODY)
        return &sim.runs[run];
    aiki_reader_init(&reader, w->events);
    if (!w->insert || event_read_stored(&reader, &e, NULL) != AIKI_OK || e.kind != EVENT_STARTED)
        violation("a run is written that has not started");
    return &sim.runs[family_born(&e, &w->row.id)];
}

static void take_events(struct sim_run *r, const struct run_write *w)
{
    aiki_reader reader;
    aiki_error err = {.struct_size = sizeof(err)};
    r->seq_before = r->seq;
    r->ends_before = r->end_count;
    r->joins_before = r->join_count;
    r->ended_before = r->ended;
    r->ended_now = r->cancelled_now = r->retried_now = false;
    r->commit = sim.commits;
    aiki_reader_init(&reader, w->events);
    while (aiki_reader_left(&reader) > 0) {
        struct event e;
        if (event_read_stored(&reader, &e, &err) != AIKI_OK)
            violation("run %u: an event does not decode: %s", fact_run_number(r), err.message);
        event_chain(r->hash, e.encoded);
        fact_event(r, &e);
    }
}

static void take_write(const struct run_write *w)
{
    struct sim_run *r = run_of_write(w);
    if (w->insert == r->on_record || w->row.epoch < r->epoch)
        violation("run %u: inserted twice, or its epoch falls to %llx", fact_run_number(r),
                  (unsigned long long)w->row.epoch);
    r->on_record = true;
    take_events(r, w);
    if (r->seq != w->row.seq || memcmp(r->hash, w->row.hash, HASH_BYTES) != 0)
        violation("run %u: the row says %llu events, there are %llu, or the chain is broken",
                  fact_run_number(r), (unsigned long long)w->row.seq, (unsigned long long)r->seq);
    if (r->ended != run_state_is_terminal(w->row.state))
        violation("run %u: its row is %s, its journal says otherwise", fact_run_number(r),
                  run_state_name(w->row.state));
    if (r->crashed_seq == r->seq && !r->ended && (w->row.flags & RUN_FLAG_ALONE) == 0)
        violation("run %u: a process died around it, and it is not to be executed alone", fact_run_number(r));
    r->state = w->row.state;
    r->epoch = w->row.epoch;
    r->wake_at_ms = w->row.wake_at_ms;
    r->flags = w->row.flags;
    r->follow_before = r->follow;
    r->follow = (w->row.flags & RUN_FLAG_FOLLOW) != 0;
    if (r->follow && !r->follow_before)
        r->follow_at_ms = clock_wall_ms();
}

void oracle_committed(const struct unit *u)
{
    for (size_t i = 0; i < u->run_count; i++)
        take_write(&u->runs[i]);
    quarantine_rows(u);
    for (size_t i = 0; i < u->run_count; i++)
        family_check_birth(&sim.runs[run_of_id(&u->runs[i].row.id)]);
    for (size_t i = 0; i < u->run_count; i++)
        key_check(&sim.runs[run_of_id(&u->runs[i].row.id)]);
    for (size_t i = 0; i < u->run_count; i++) {
        struct sim_run *r = &sim.runs[run_of_id(&u->runs[i].row.id)];
        family_after(r);
        join_after(r);
    }
}

/* ---- what runtimes do ------------------------------------------------------------------------ */

static void check_seen(const struct beginning *b, struct sim_run *r)
{
    const struct step *s = b->step;
    for (uint32_t n = 0; n < b->seen_at_call; n++) {
        if (b->interp->seen[n] == SEEN_CANCEL) {
            if (!r->cancel_seen)
                violation("run %u: a task begins before it is on record that its run is to end", b->run);
            continue;
        }
        const struct step *seen = replay_future(b->replay, b->interp->seen[n]);
        const struct fact_step *f = fact_find(r, &seen->address, seen->nth);
        if (f == NULL || !f->done)
            violation("run %u: %.*s begins before the %s it depends on is on record", b->run,
                      (int)s->name.size_bytes, (const char *)s->name.data, step_kind_name(seen->kind));
    }
}

static void check_early(const struct beginning *b, const struct sim_run *r, const struct fact_step *fact)
{
    int64_t early_ms = fact->next_at_ms - clock_wall_ms();
    if (fact->failed > 0 && early_ms > 0 && !fact_was_woken(r, b->step->since_ms))
        violation("run %u: a retry begins %lld ms early", b->run, (long long)early_ms);
}

/* Executed at most once: not even by an owner that is one no more. */
static void check_once(const struct beginning *b, const struct sim_run *r)
{
    const struct step *s = b->step;
    uint32_t name = (uint32_t)(s->name.data[0] - 'a');
    if (!sim.programs[r->build][r->workflow].tasks[name].once)
        return;
    for (size_t n = sim.execution_count; n-- > 0;) {
        const struct execution *x = &sim.executions[n];
        if (x->run == b->run && x->pass == b->replay->journal.passes && x->attempt == s->attempt + 1 &&
            x->nth == s->nth && memcmp(&x->address, &s->address, sizeof(s->address)) == 0)
            violation("run %u: attempt %llu of %.*s is executed a second time", b->run,
                      (unsigned long long)s->attempt + 1, (int)s->name.size_bytes,
                      (const char *)s->name.data);
    }
}

/* What earlier attempts left with their signs of life is not lost. */
static void check_details(const struct beginning *b, const struct fact_step *fact)
{
    aiki_view details = replay_last_details(b->step);
    uint64_t none, n = details.size_bytes > 0 ? fact_number(details, &none) : 0;
    if (fact->beat && (details.size_bytes == 0 || n >= sim.execution_count || sim.executions[n].run != b->run))
        violation("run %u: details of a heartbeat are on record, and an attempt is not told", b->run);
}

void oracle_begins(const struct beginning *b)
{
    struct sim_run *r = &sim.runs[b->run];
    const struct step *s = b->step;
    bool current = b->epoch >= r->epoch && !r->ended; /* a former owner has an older journal, and may repeat */
    struct fact_step *fact = current ? fact_find(r, &s->address, s->nth) : NULL;
    if (b->interp->cancelled && !b->shielded)
        violation("run %u: a task begins though its code knows that it is to end", b->run);
    if (current && r->paused && r->paused_seq <= b->replay->journal.arrival_seq)
        violation("run %u: a task begins though it is paused", b->run);
    if (fact != NULL && (fact->done || fact->kept))
        violation("run %u: a step begins again that is on record", b->run);
    if (fact != NULL && s->attempt != fact->failed)
        violation("run %u: attempt %llu begins, %llu failed ones are on record", b->run,
                  (unsigned long long)s->attempt + 1, (unsigned long long)fact->failed);
    if (fact != NULL) {
        check_early(b, r, fact);
        check_details(b, fact);
    }
    if (current && fact_is_crashed_out(r, &s->address, s->nth, (uint32_t)(s->name.data[0] - 'a'), b->build))
        violation("run %u: a task begins whose crash budget is used up", b->run);
    check_once(b, r);
    if (current)
        check_seen(b, r);
}

void oracle_claimed(uint32_t run, const struct msg_CLAIMED *m)
{
    struct sim_run *r = &sim.runs[run];
    uint8_t hash[HASH_BYTES] = {0};
    aiki_reader reader;
    uint64_t count = 0, seq = m->seq;
    r->told_epoch = m->epoch;
    r->told_seq = seq;
    if (r->seq != seq)
        return; /* a page of more, or others have written since the claim was decided */
    if (m->alone != ((r->flags & RUN_FLAG_ALONE) != 0))
        violation("run %u: it is to be executed %s", run, m->alone ? "with others, and is not" : "alone, and is not");
    aiki_reader_init(&reader, m->journal);
    for (; aiki_reader_left(&reader) > 0; count++)
        event_chain(hash, aiki_mp_value(&reader));
    if (count != seq || memcmp(hash, r->hash, HASH_BYTES) != 0)
        violation("run %u: the journal that a runtime was given is not the one on record", run);
}

/* Until it parks or ends: the next claim has to say so. */
void oracle_asked_alone(uint32_t run, uint64_t epoch)
{
    const struct sim_run *r = &sim.runs[run];
    if (r->state == RUN_QUEUED && r->epoch == epoch + 1 && (r->flags & RUN_FLAG_ALONE) == 0)
        violation("run %u: it is handed back to be executed alone, and that is not on record", run);
}

void oracle_executes(uint32_t run, uint64_t epoch, uint32_t build)
{
    const struct sim_run *r = &sim.runs[run];
    if (epoch >= r->epoch && !r->ended && r->code_crashes[build] >= CRASHES_DEFAULT)
        violation("run %u: its code is executed though its crash budget is used up", run);
}

void oracle_page(uint32_t run, uint64_t epoch, uint64_t seq)
{
    struct sim_run *r = &sim.runs[run];
    if (r->told_epoch == epoch)
        r->told_seq = seq;
}

/* Whether a wait that is on record lasts until when it should, for an owner that knows that journal. */
static bool is_due_right(const struct sim_run *r, const struct fact_step *f, const struct step *s,
                         const struct journal *known)
{
    int64_t due_ms = f->kind == STEP_TASK ? f->next_at_ms : f->due_at_ms;
    bool ends = f->kind == STEP_SLEEP || f->kind == STEP_TASK;
    if (ends && r->woken > 0 && r->woken_seq > f->begun_seq && r->woken_seq <= known->arrival_seq)
        return s->due_at_ms <= r->woken_at_ms;
    /* It may have begun to wait, been woken, and been recorded after that. */
    return s->due_at_ms == due_ms ||
           (s->due_at_ms == known->woken_at_ms && s->since_ms <= s->due_at_ms + SKEW_MS);
}

void oracle_waits(uint32_t run, const struct replay *replay)
{
    struct sim_run *r = &sim.runs[run];
    for (const struct step *s = replay->waiting.first; s != NULL; s = s->next) {
        const struct fact_step *f = fact_find(r, &s->address, s->nth);
        if (f == NULL || f->done || s->kind == STEP_CHILD || HAS(OTHER_BUILD))
            continue;
        bool known = s->kind == STEP_TASK ? f->failed == s->attempt : f->begun;
        if (known && !is_due_right(r, f, s, &replay->journal))
            violation("run %u: a %s waits until %lld, by the record it is another time (%lld)", run,
                      step_kind_name(s->kind), (long long)s->due_at_ms,
                      (long long)(f->kind == STEP_TASK ? f->next_at_ms : f->due_at_ms));
    }
}

/* ---- what clients are told ------------------------------------------------------------------- */

void oracle_result(uint32_t run, const struct msg_RESULT *m)
{
    struct sim_run *r = &sim.runs[run];
    uint64_t none, output = m->output.size_bytes > 0 ? fact_number(m->output, &none) : 0;
    bool ended = run_state_is_terminal(m->state);
    if (!id_equal(&m->run, &r->id) || !r->on_record || (ended && (r->ended_as >> m->state & 1) == 0))
        violation("run %u: RESULT says %s, that is not on record", run, run_state_name(m->state));
    if (r->final_result != 0 && m->state != r->final_result)
        violation("run %u: it was %s for ever and is now %s", run, run_state_name(r->final_result),
                  run_state_name(m->state));
    if (m->state == RUN_COMPLETED && output != r->output)
        violation("run %u: RESULT brings another output than is on record", run);
    if (m->state == RUN_COMPLETED || m->state == RUN_TERMINATED)
        r->final_result = m->state;
}

/* Whatever came after it: it was on record when it was answered. */
void oracle_requested(uint32_t run, uint64_t action, uint64_t ref, uint64_t count)
{
    const struct sim_run *r = &sim.runs[run];
    if (USES(REFERENCE) && fact_has_ref(r, ref) != (count == 1))
        violation("run %u: request %llu is said to have changed %llu, by the record it %s", run,
                  (unsigned long long)action, (unsigned long long)count, count == 1 ? "has not" : "has");
    bool terminated = (r->ended_as >> RUN_TERMINATED & 1) != 0;
    bool done = true;
    switch (action) {
    case CONTROL_CANCEL: done = r->cancelled_ever > 0; break;
    case CONTROL_TERMINATE: done = terminated; break;
    case CONTROL_PAUSE: done = r->paused_ever > 0; break;
    case CONTROL_WAKE: done = count == 0 || r->woken > 0; break;
    case CONTROL_RETRY: done = count == 0 || r->retried_ever > 0; break;
    case CONTROL_DROP: done = r->dropped_ever > 0; break;
    default: break;
    }
    if (!done)
        violation("run %u: request %llu is acknowledged and not on record", run, (unsigned long long)action);
}

void oracle_refused(uint32_t run, uint64_t action, uint64_t ref, const char *code)
{
    const struct sim_run *r = &sim.runs[run];
    if (fact_has_ref(r, ref))
        violation("run %u: request %llu is refused, and it is on record", run, (unsigned long long)action);
    bool retry = action == CONTROL_RETRY;
    bool drop = action == CONTROL_DROP;
    bool right = (!retry && !drop && strcmp(code, "RUN_ENDED") == 0 && r->ended_as != 0) ||
                 (action == CONTROL_PAUSE && strcmp(code, "RUN_CANCELLING") == 0 && r->cancelled_ever > 0) ||
                 (drop && strcmp(code, "RUN_NOT_FAILED") == 0) ||
                 (retry && (strcmp(code, "RUN_NOT_FAILED") == 0 || strcmp(code, "STEP_NOT_FOUND") == 0));
    if (!right)
        violation("run %u: request %llu is refused: %s", run, (unsigned long long)action, code);
}

/* ---- at rest --------------------------------------------------------------------------------- */

static bool is_parked(const struct sim_run *r)
{
    return r->state == RUN_SLEEPING || r->state == RUN_AWAITING_SIGNAL || r->state == RUN_AWAITING_RETRY ||
           r->state == RUN_AWAITING_CHILD;
}

static void check_timer(uint32_t run, const struct sim_run *r)
{
    if (r->wake_at_ms != 0 && r->wake_at_ms + LATE_MS < clock_wall_ms())
        violation("run %u: its timer was due %lld ms ago", run, (long long)(clock_wall_ms() - r->wake_at_ms));
}

static void check_nothing_missed(uint32_t run, struct sim_run *r)
{
    for (uint32_t s = 0; s < r->step_count; s++) {
        const struct fact_step *f = &r->steps[s];
        if (!f->required || f->gone || !f->begun || f->done)
            continue;
        for (uint32_t n = 0; n < r->signal_count && f->kind == STEP_SIGNAL; n++)
            if (r->signals[n].name == f->name && !r->signals[n].taken)
                violation("run %u: it is parked for a signal that is on record", run);
        for (uint32_t n = 0; n < r->end_count && f->kind == STEP_CHILD; n++)
            if (id_equal(&r->ends[n].child, &f->child))
                violation("run %u: it is parked for a child whose end is on record", run);
        if (f->kind == STEP_SLEEP && r->woken_seq > f->begun_seq)
            violation("run %u: it sleeps though it was woken", run);
    }
    if (r->cancel_requested && !r->cancel_seen && r->state != RUN_AWAITING_RETRY) {
        struct model_view v = model_run(r);
        if (v.wrong == NULL && v.status == INTERP_WAITS && !v.protected)
            violation("run %u: it is parked though it is to end", run);
    }
}

void oracle_quiet(void)
{
    quarantine_quiet();
    for (uint32_t i = 0; i < sim.run_count; i++) {
        struct sim_run *r = &sim.runs[i];
        if (r->follow && r->follow_at_ms + LATE_MS < clock_wall_ms())
            violation("run %u: what is left of its family is not closed", i);
        if (!r->on_record || r->ended)
            continue;
        if (r->deadline_ms != 0 && r->deadline_ms + LATE_MS < clock_wall_ms())
            violation("run %u: its deadline passed %lld ms ago", i, (long long)(clock_wall_ms() - r->deadline_ms));
        /* The row of a run whose owner was lost with the server is as it was; its flag says the rest. */
        bool of_this_server = sim.server.up && r->epoch >> 32 == sim.server.store->incarnation;
        if (r->paused && r->state != RUN_PAUSED && r->state != RUN_BLOCKED && of_this_server)
            violation("run %u: it is to be paused and is %s", i, run_state_name(r->state));
        if (is_parked(r) || r->state == RUN_SCHEDULED || r->state == RUN_QUEUED)
            check_timer(i, r);
        if (is_parked(r))
            check_nothing_missed(i, r);
    }
}

struct reading {
    struct sim_run *run;
    uint64_t no;
};

static bool on_row(void *arg, const struct run_row *row)
{
    struct reading *reading = arg;
    const struct sim_run *r = reading->run;
    if (row->seq != r->seq || row->state != r->state || memcmp(row->hash, r->hash, HASH_BYTES) != 0)
        violation("run %u: its row is not as it was committed", fact_run_number(r));
    reading->no = row->no;
    return false;
}

static bool on_holder(void *arg, const struct run_row *row)
{
    *(struct aiki_id *)arg = row->id;
    return false;
}

static void check_key(struct store *disk, const struct sim_run *r, uint32_t run)
{
    struct aiki_id holder = {{0}};
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = disk->ops->find_key(disk, view_of("sim"), view_of(workflow_name(r->workflow)),
                                             view_of(r->key), on_holder, &holder, &err);
    if (status != AIKI_OK || !id_equal(&holder, &r->id))
        violation("run %u: its key names another run, or none", run);
}

/* What is on the disk is what was committed, and what was acknowledged is there. */
void oracle_end(void)
{
    struct store *disk = sim_store_disk();
    aiki_error err = {.struct_size = sizeof(err)};
    if (disk == NULL)
        violation("the server is down at the end");
    for (uint32_t i = 0; i < sim.run_count; i++) {
        struct sim_run *r = &sim.runs[i];
        struct reading reading = {.run = r};
        if (!r->on_record && !r->acked)
            continue;
        if (disk->ops->find_run(disk, &r->id, on_row, &reading, &err) != AIKI_OK)
            violation("run %u: it was acknowledged and is gone: %s", i, err.message);
        aiki_writer w;
        uint64_t last_seq;
        buf_init(&w);
        aiki_status status = disk->ops->journal(disk, reading.no, 0, UINT64_MAX, &w, &last_seq, &err);
        trace_bytes(aiki_writer_view(&w));
        buf_deinit(&w);
        if (status != AIKI_OK || last_seq != r->seq)
            violation("run %u: its journal does not read: %s", i, err.message);
        if (r->has_key)
            check_key(disk, r, i);
    }
}
