/* run.c - a run comes, records, and goes; drive.c is what happens in between.
 *
 * An append is written into the connection's buffer and goes out before the loop waits: one write
 * for all runs of a turn, at once when there is nothing else.
 */
#include "child/run_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "child/fit.h"
#include "wire/error.h"

enum {
    APPEND_OVERHEAD_BYTES = 256 /* of an APPEND beside events and waits */
};

static const uint8_t nil_byte = 0xc0;

/* ---- memory ------------------------------------------------------------------------------ */

void *run_alloc(void *run, uint64_t size_bytes)
{
    return arena_alloc(&((struct run *)run)->arena, size_bytes);
}

aiki_writer run_writer(struct run *r)
{
    return arena_writer(&r->arena);
}

aiki_view run_copy(struct run *r, aiki_view v, bool *ret_ok)
{
    uint8_t *bytes = v.size_bytes > 0 ? run_alloc(r, v.size_bytes) : NULL;

    *ret_ok = v.size_bytes == 0 || bytes != NULL;
    if (bytes == NULL)
        return no_bytes;
    memcpy(bytes, v.data, v.size_bytes);
    return (aiki_view){bytes, v.size_bytes};
}

static const char *copy_text(struct run *r, aiki_view v)
{
    char *text = run_alloc(r, v.size_bytes + 1);

    if (text != NULL && v.size_bytes > 0)
        memcpy(text, v.data, v.size_bytes);
    return text != NULL ? text : "";
}

aiki_view run_error_map(struct run *r, const aiki_error *e)
{
    aiki_writer w = run_writer(r);

    error_write(&w, e);
    return w.status == AIKI_OK ? aiki_writer_view(&w) : no_bytes;
}

aiki_view value_or_nil(aiki_view v)
{
    return v.size_bytes > 0 ? v : (aiki_view){&nil_byte, 1};
}

/* ---- table ------------------------------------------------------------------------------- */

static struct run **bucket_of(const struct child *c, const struct aiki_id *id)
{
    return (struct run **)&c->runs[id_hash(id) % RUN_BUCKETS];
}

struct run *run_find(const struct child *c, const struct aiki_id *id)
{
    for (struct run *r = *bucket_of(c, id); r != NULL; r = r->next)
        if (id_equal(&r->id, id))
            return r;
    return NULL;
}

static void table_add(struct run *r)
{
    struct run **bucket = bucket_of(r->child, &r->id);

    r->next = *bucket;
    *bucket = r;
    r->child->run_count++;
}

static void table_remove(struct run *r)
{
    struct run **at = bucket_of(r->child, &r->id);

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->child->run_count--;
}

/* ---- life -------------------------------------------------------------------------------- */

/* A struct from the pool keeps its first chunk of memory and its timer handle. */
static struct run *run_create(struct child *c, const struct aiki_id *id)
{
    struct run *r = c->free;

    if (r != NULL) {
        struct arena arena = r->arena;
        uv_timer_t *timer = &r->timer;
        c->free = r->next;
        c->free_count--;
        /* All but the timer, which the loop knows by its address. */
        memset(r, 0, offsetof(struct run, timer));
        assert(timer == &r->timer);
        r->arena = arena;
    } else {
        r = calloc(1, sizeof(*r));
        if (r == NULL)
            return NULL;
        arena_init(&r->arena, (uint64_t)RUN_BYTES_MAX + RUN_HOST_BYTES_MAX);
        (void)uv_timer_init(c->loop, &r->timer); /* always 0 */
    }
    r->handle.api = &run_api;
    r->child = c;
    r->id = *id;
    r->early_last = &r->early_first;
    id_text(id, r->id_text);
    replay_init(&r->replay, (struct replay_memory){run_alloc, r});
    r->replay.run = r->id;
    r->replay.journal.build = (aiki_view){c->build, sizeof(c->build)};
    r->replay.judge = fit_signal;
    r->replay.judge_arg = r;
    r->replay.hidden = &c->plugin.hidden;
    table_add(r);
    return r;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(container_of((uv_timer_t *)h, struct run, timer));
}

void run_free_if_unused(struct run *r)
{
    struct child *c = r->child;

    if (r->state != RUN_STATE_GONE || r->attempts != NULL || r->again_queued)
        return;
    if (c->free_count >= RUNS_WARM_MAX) {
        arena_deinit(&r->arena);
        uv_close((uv_handle_t *)&r->timer, on_timer_closed);
        return;
    }
    arena_reset(&r->arena);
    r->next = c->free;
    c->free = r;
    c->free_count++;
}

/* The code will not go on: its stack is freed as it is, its attempts are told. */
static void stop_executing(struct run *r)
{
    (void)uv_timer_stop(&r->timer); /* always 0 */
    fiber_destroy(r->fiber);
    r->fiber = NULL;
    for (struct attempt *a = r->attempts; a != NULL; a = a->run_next)
        attempt_flag(a);
}

void run_drop(struct run *r)
{
    struct child *c = r->child;

    stop_executing(r);
    table_remove(r);
    r->state = RUN_STATE_GONE;
    run_free_if_unused(r);
    child_settle(c);
}

/* ---- appends ----------------------------------------------------------------------------- */

#ifdef AIKI_FAULT_INJECTION
/* A point that says "sent" must not be reached before the bytes have left. */
#define sent_point(c, name)                                                                        \
    do {                                                                                           \
        conn_flush(c);                                                                             \
        fault_point(name);                                                                         \
    } while (0)
#else
#define sent_point(c, name) fault_point(name)
#endif

/* waits: empty unless the run parks. */
void run_send_append(struct run *r, uint64_t next, aiki_view events, aiki_view waits)
{
    bool parks = next == NEXT_PARK;

    if (r->child->gating) { /* whatever would be recorded: the journal was no obstacle */
        run_verdict(r, NULL);
        return;
    }
    conn_send(r->child->conn, APPEND, 0, .run = r->id, .epoch = r->epoch, .number = ++r->appends,
              .next = next, .seen = parks ? r->replay.journal.arrival_count : 0,
              .wake_at_ms = !parks                    ? 0
                            : r->next_pass_at_ms != 0 ? r->next_pass_at_ms
                                                      : replay_wake_at_ms(&r->replay),
              .waits = waits, .events = events);
    replay_append_end(&r->replay);
    if (next == NEXT_CONTINUE) {
        sent_point(r->child->conn, child_append_sent);
        return;
    }
    stop_executing(r);
    r->state = RUN_STATE_LEAVING;
    sent_point(r->child->conn, child_finish_sent);
}

/* Block the run with this error, in place of anything not yet sent. */
void run_block(struct run *r, const aiki_error *err)
{
    aiki_writer w = {.data = NULL};
    struct event e = {.kind = EVENT_BLOCKED};
    AUTO(buf) aiki_writer map;

    /* The run's own memory may be what is exhausted. */
    buf_init(&w);
    buf_init(&map);
    if (r->child->gating) {
        run_verdict(r, err);
        return;
    }
    error_write(&map, err);
    e.as.blocked.error = aiki_writer_view(&map);
    event_write_new(&w, &e);
    log_warn("child", "run %s is blocked: %s: %s", r->id_text, err->code, err->message);
    if (w.status == AIKI_OK && map.status == AIKI_OK)
        run_send_append(r, NEXT_BLOCK, aiki_writer_view(&w), no_bytes);
    else
        run_send_append(r, NEXT_RELEASE, no_bytes, no_bytes); /* out of memory: elsewhere, or later */
    buf_deinit(&w);
}

/* Once something was executed or recorded here, another build must not begin from what was on record
 * when this stay began: then the run is blocked. */
void run_unfit(struct run *r, const aiki_error *err)
{
    AUTO(buf) aiki_writer map;

    buf_init(&map);
    if (r->child->gating) {
        run_verdict(r, err);
        return;
    }
    error_write(&map, err);
    if (r->acted || r->appends > 0 || map.status != AIKI_OK) {
        run_block(r, err);
        return;
    }
    conn_send(r->child->conn, UNFIT, 0, .run = r->id, .epoch = r->epoch,
              .error = aiki_writer_view(&map));
    sent_point(r->child->conn, child_unfit_sent);
    run_drop(r);
}

/* What replay could not keep or send: the run needs more than one process may give it. */
bool run_block_if_too_large(struct run *r, uint64_t append_bytes)
{
    aiki_error err;
    bool fits = append_bytes + APPEND_OVERHEAD_BYTES <= FRAME_BYTES_MAX;

    if (r->replay.status == AIKI_OK && fits)
        return false;
    if (!fits)
        (void)error_code(&err, AIKI_LIMIT, "APPEND_TOO_LARGE",
                         "one commit of the run would take %llu bytes, over the limit of %d; use "
                         "smaller payloads, or fewer waits at once",
                         (unsigned long long)append_bytes, FRAME_BYTES_MAX);
    else if (r->replay.status == AIKI_LIMIT)
        (void)error_code(&err, AIKI_LIMIT, "TOO_MANY_STEPS",
                         "the run has over %d steps; split it into several runs",
                         JOURNAL_STEPS_MAX);
    else
        (void)error_code(&err, AIKI_LIMIT, "RUN_TOO_LARGE",
                         "journal and results of the run need over %d MiB of memory, or the host "
                         "has none left",
                         RUN_HOST_BYTES_MAX / 1024 / 1024);
    run_block(r, &err);
    return true;
}

/* What was recorded and not yet sent goes along: a result that is there need not be made again. */
void run_give_back(struct run *r)
{
    if (r->state == RUN_STATE_LEAVING)
        return;
    replay_take_back(&r->replay);
    aiki_view events = replay_append_begin(&r->replay, false);
    if (!run_block_if_too_large(r, events.size_bytes))
        run_send_append(r, NEXT_RELEASE, events, no_bytes);
}

/* This process cannot go on with the run, and that is not the run's fault. */
void run_give_up(struct run *r, const char *why)
{
    if (!r->child->gating) /* there, a run that went on meanwhile is no news */
        log_error("child", "run %s is handed back: %s", r->id_text, why);
    run_give_back(r);
}

/* ---- the end of the function ------------------------------------------------------------- */

static void describe_failure(struct run *r, struct event *e)
{
    e->kind = r->status == AIKI_CANCELLED && r->replay.cancel_seen ? EVENT_CANCELLED : EVENT_FAILED;
    if (r->fail_error.size_bytes > 0) {
        e->as.failed.error = r->fail_error;
        return;
    }
    if (r->error.status == AIKI_OK)
        (void)error_set(&r->error, r->status, "workflow %s returned %s: %s", r->workflow_name,
                        aiki_status_name(r->status), aiki_status_text(r->status));
    e->as.failed.error = run_error_map(r, &r->error);
}

/* When the function is to be executed again although it failed; 0 = it is not. */
static int64_t next_pass_at_ms(struct run *r, aiki_view failure)
{
    static const struct address whole_run;
    const struct retry *policy = &r->workflow->retry;
    uint64_t pass = r->replay.journal.passes + 1;
    aiki_error e = AIKI_ERROR_INIT;

    /* What does not fit its schema fits no better the next time, and a run that is to end does. */
    if (pass >= policy->attempts_max || r->status == AIKI_SCHEMA ||
        r->replay.journal.cancel_requested ||
        error_read(failure, &e, NULL, NULL) != AIKI_OK)
        return 0;
    if ((e.flags & AIKI_ERROR_FINAL) != 0 || retry_is_final(policy, failure))
        return 0;
    uint64_t draw = retry_draw(&r->id, &whole_run, 0, pass);
    int64_t delay_ms = e.retry_after_ms > 0 ? e.retry_after_ms : retry_delay_ms(policy, pass, draw);
    return child_now_ms(r->child) + (delay_ms > 0 ? delay_ms : 1);
}

/* Completed steps keep their results; everything else is as if it had not been. */
static void run_again(struct run *r, aiki_view failure)
{
    const struct event e = {.kind = EVENT_RUN_RETRIED,
                            .as.run_retried = {.attempt = r->replay.journal.passes + 2,
                                               .next_at_ms = r->next_pass_at_ms,
                                               .error = failure}};
    aiki_writer waits = run_writer(r);

    replay_write_end(&r->replay, &e);
    aiki_mp_array(&waits, 1);
    wait_write(&waits, &(struct wait){.kind = STEP_TASK,
                                      .name = view_of(r->workflow_name),
                                      .due_at_ms = r->next_pass_at_ms,
                                      .since_ms = child_now_ms(r->child)});
    if (waits.status != AIKI_OK)
        r->replay.status = AIKI_NOMEM;
    aiki_view events = replay_append_begin(&r->replay, false);
    if (!run_block_if_too_large(r, events.size_bytes))
        run_send_append(r, NEXT_PARK, events, aiki_writer_view(&waits));
}

void run_finish(struct run *r)
{
    struct event e = {.kind = EVENT_COMPLETED};

    if (r->replay.ahead.on || (r->replay.status == AIKI_OK && !replay_may_return(&r->replay))) {
        replay_code_ended(&r->replay, r->status == AIKI_OK);
        run_diverged(r);
        return;
    }
    if (run_undefined(r))
        return;
    e.as.completed.output = r->output;
    if (r->status == AIKI_OK) {
        r->status = fit_run_output(r, &r->error);
        r->fail_error = no_bytes;
    }
    if (r->status != AIKI_OK)
        describe_failure(r, &e);
    if (e.kind == EVENT_FAILED && r->workflow->retry.attempts_max > 1)
        r->next_pass_at_ms = next_pass_at_ms(r, e.as.failed.error);
    if (r->next_pass_at_ms != 0) {
        run_again(r, e.as.failed.error);
        return;
    }
    replay_write_end(&r->replay, &e);
    aiki_view events = replay_append_begin(&r->replay, false);
    if (!run_block_if_too_large(r, events.size_bytes))
        run_send_append(r, NEXT_FINISH, events, no_bytes);
}

static void fiber_main(void *arg)
{
    struct run *r = arg;

    r->status = r->workflow->def.fn(&r->handle, r->input, &r->error);
}

/* ---- coming and going -------------------------------------------------------------------- */

/* Why the run cannot be executed here, if so; blocking is undone by a build that can. */
static aiki_status check(struct run *r, aiki_error *err)
{
    const struct event *start = &r->replay.journal.start;

    if (start->kind != EVENT_STARTED)
        return error_code(err, AIKI_CORRUPT, "JOURNAL_CORRUPT", "the journal has no started event");
    r->workflow = plugin_workflow_find(&r->child->plugin, r->workflow_name, r->workflow_version);
    if (r->workflow == NULL)
        return error_code(err, AIKI_NOT_FOUND, "WORKFLOW_UNKNOWN",
                          "this build of plugin %s has no workflow %s@%s; serve one that has it",
                          r->child->plugin.name, r->workflow_name, r->workflow_version);
    r->input = value_or_nil(start->as.started.input);
    return AIKI_OK;
}

/* A run without a step on record can still be failed cleanly; a later one waits for a build whose
 * schema takes its input. False: the run has left. */
static bool check_input(struct run *r)
{
    aiki_error err;

    if (fit_run_input(r, &err) == AIKI_OK)
        return true;
    if (r->replay.journal.recorded > 0) {
        run_unfit(r, &err);
        return false;
    }
    replay_begin(&r->replay);
    r->status = AIKI_SCHEMA;
    r->error = err;
    run_finish(r);
    return false;
}

static bool start_fiber(struct run *r)
{
    r->fiber = fiber_create(r->child->fibers, fiber_main, r);
    if (r->fiber == NULL) {
        run_give_up(r, "no memory for its stack");
        return false;
    }
    fiber_set_label(r->fiber, r->id_text, r->workflow_name);
    return true;
}

static void start(struct run *r)
{
    aiki_error err;
    aiki_status st = check(r, &err);

    r->state = RUN_STATE_ACTIVE;
    if (r->replay.journal.ended) {
        run_give_up(r, "it has ended, by its journal"); /* who offered it must know */
        return;
    }
    if (st == AIKI_NOT_FOUND) {
        run_unfit(r, &err);
        return;
    }
    for (struct early_arrival *s = r->early_first; s != NULL && st == AIKI_OK; s = s->next)
        st = replay_add_arrival(&r->replay, s->event, &err);
    if (st != AIKI_OK) {
        run_block(r, &err);
        return;
    }
    if (!run_check_crashes(r) || !check_input(r) || !start_fiber(r))
        return;
    r->replay.start_to_close_ms = r->workflow->def.task_start_to_close_ms;
    r->wait_is_setting = r->workflow->def.wait_timeout_ms == 0;
    r->wait_timeout_ms =
        r->wait_is_setting ? r->child->wait_timeout_ms : r->workflow->def.wait_timeout_ms;
    replay_begin(&r->replay);
    run_pump(r);
}

void run_add_page(struct run *r, aiki_view page)
{
    aiki_error err;
    bool ok;
    uint64_t before = r->replay.journal.seq;

    if (r->state != RUN_STATE_LOADING)
        return;
    aiki_view copy = run_copy(r, page, &ok);
    aiki_status st = ok ? journal_load(&r->replay.journal, copy, &err) : AIKI_NOMEM;
    if (st == AIKI_NOMEM || st == AIKI_LIMIT) {
        r->replay.status = st;
        (void)run_block_if_too_large(r, 0);
        return;
    }
    if (st == AIKI_OK && r->replay.journal.seq == before && before < r->journal_seq)
        st = error_code(&err, AIKI_CORRUPT, "JOURNAL_CORRUPT",
                        "a page is empty: %llu of %llu events came", (unsigned long long)before,
                        (unsigned long long)r->journal_seq);
    if (st != AIKI_OK)
        run_block(r, &err);
    else if (r->replay.journal.seq >= r->journal_seq)
        start(r);
}

void run_assign(struct child *c, const struct msg_ASSIGN *m)
{
    struct run *r = run_find(c, &m->run);

    fault_point(child_assigned);
    if (r != NULL)
        run_drop(r); /* a new ownership of the same run: the old one is over */
    r = run_create(c, &m->run);
    if (r == NULL) {
        log_error("child", "no memory for another run");
        conn_close(c->conn); /* the broker sees the process end and offers all runs again */
        return;
    }
    r->workflow_name = copy_text(r, m->workflow);
    r->workflow_version = copy_text(r, m->version);
    r->journal_seq = m->seq;
    r->epoch = m->epoch;
    if (c->draining || !c->loaded || c->run_count > RUNS_MAX)
        run_give_back(r);
    else
        run_add_page(r, m->journal);
}

void run_add_arrival(struct run *r, aiki_view event)
{
    aiki_error err;
    bool ok;

    if (r->state != RUN_STATE_LOADING && r->state != RUN_STATE_ACTIVE)
        return; /* leaving: the server offers it again if it parked without having seen this */
    aiki_view copy = run_copy(r, event, &ok);
    if (r->state == RUN_STATE_LOADING) {
        struct early_arrival *s = ok ? run_alloc(r, sizeof(*s)) : NULL;
        if (s == NULL) {
            r->replay.status = AIKI_NOMEM; /* seen when the run starts */
            return;
        }
        s->event = copy;
        *r->early_last = s;
        r->early_last = &s->next;
        return;
    }
    aiki_status st = ok ? replay_add_arrival(&r->replay, copy, &err) : AIKI_NOMEM;
    if (st == AIKI_NOMEM)
        r->replay.status = st; /* run_pump blocks it */
    else if (st != AIKI_OK)
        run_block(r, &err);
    run_pump(r);
}

void run_acked(struct run *r, uint64_t number)
{
    if (number != r->appends)
        return; /* of an earlier ownership, or a repeat */
    fault_point(child_acked);
    if (r->state == RUN_STATE_LEAVING) {
        run_drop(r);
        return;
    }
    replay_acked(&r->replay);
    /* An attempt under way would be executed again, one that is about to begin would never get to it,
     * and a drain ends what leaves. */
    if (fault_mode(always_replay) && r->attempts == NULL && !replay_is_beginning(&r->replay) &&
        !r->child->draining) {
        run_give_back(r);
        return;
    }
    run_pump(r);
}
