/* support/engine_fixture.c - the acts of a played runtime, each through one verb of the engine. */
#include "support/engine_fixture.h"

static const uint8_t body[] = {0x91, 0xc0}; /* [nil] */
const aiki_view empty_body = {body, sizeof(body)};

int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->now = (struct engine_now){.at_ms = START_MS, .epoch_floor = 3ull << 32};
    buf_init(&f->journal);
    buf_init(&f->events);
    buf_init(&f->waits);
    engine_start(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    *state = f;
    return 0;
}

int teardown(void **state)
{
    struct fixture *f = *state;
    buf_deinit(&f->journal);
    buf_deinit(&f->events);
    buf_deinit(&f->waits);
    free(f);
    return 0;
}

/* ---- what a runtime does --------------------------------------------------------------------- */

void add_event(struct fixture *f, uint64_t kind)
{
    aiki_mp_array(&f->events, 2);
    aiki_mp_uint(&f->events, kind);
    aiki_mp_raw(&f->events, body, sizeof(body));
}

bool claim(struct fixture *f)
{
    f->number = 0;
    return engine_claim(&f->run, OWNER, f->run.epoch, &f->refusal);
}

struct engine_append next_append(struct fixture *f, uint64_t next)
{
    return (struct engine_append){.session = OWNER,
                                  .epoch = f->run.epoch,
                                  .number = f->number + 1,
                                  .next = next,
                                  .seen = f->run.signals,
                                  .waits = aiki_writer_view(&f->waits),
                                  .events = aiki_writer_view(&f->events),
                                  .claim_body = empty_body};
}

bool send_append(struct fixture *f, const struct engine_append *a)
{
    bool done = engine_append(&f->run, &f->now, a, &f->journal, &f->effects, &f->refusal);
    if (done && !f->effects.repeated)
        f->number = a->number;
    f->events.size_bytes = f->waits.size_bytes = 0;
    return done;
}

bool append(struct fixture *f, uint64_t next)
{
    add_event(f, next == NEXT_FINISH  ? EVENT_COMPLETED
                 : next == NEXT_BLOCK ? EVENT_BLOCKED
                                      : EVENT_STEP_DONE);
    struct engine_append a = next_append(f, next);
    if (next == NEXT_PARK)
        a.wake_at_ms = f->now.at_ms + 100;
    return send_append(f, &a);
}

void add_wait(struct fixture *f, uint64_t kind, const char *name)
{
    const struct wait w = {.kind = kind, .name = view_of(name), .due_at_ms = 0, .since_ms = 1};
    aiki_mp_array(&f->waits, 1);
    wait_write(&f->waits, &w);
}

bool park_for(struct fixture *f, uint64_t kind, const char *name)
{
    add_wait(f, kind, name);
    struct engine_append a = next_append(f, NEXT_PARK);
    /* The run keeps looking at the waits: they must outlive the append. */
    static uint8_t kept[256];
    assert_true(a.waits.size_bytes <= sizeof(kept));
    memcpy(kept, a.waits.data, a.waits.size_bytes);
    a.waits.data = kept;
    return send_append(f, &a);
}

bool signal_run(struct fixture *f, const char *name)
{
    return engine_signal(&f->run, &f->now, view_of(name), empty_body, &f->journal, &f->effects,
                         &f->refusal);
}

bool end_with(struct fixture *f, uint64_t kind)
{
    add_event(f, kind);
    struct engine_append a = next_append(f, NEXT_FINISH);
    return send_append(f, &a);
}

bool request(struct fixture *f, uint64_t action)
{
    const struct engine_request q = {
        .action = action, .body = empty_body, .error = empty_body, .end_body = empty_body};
    return engine_request(&f->run, &f->now, &q, &f->journal, &f->effects, &f->refusal);
}

void schedule(struct fixture *f)
{
    f->run = (struct run){.wake_at_ms = START_MS + 500};
    f->journal.size_bytes = 0;
    engine_start(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    assert_false(f->effects.offer);
}

bool expire(struct fixture *f)
{
    f->run.deadline_ms = f->run.deadline_ms != 0 ? f->run.deadline_ms : f->now.at_ms;
    return engine_expire(&f->run, &f->now, empty_body, empty_body, &f->journal, &f->effects);
}

void bring_to(struct fixture *f, uint32_t state)
{
    if (state == RUN_QUEUED)
        return;
    assert_true(claim(f));
    if (state == RUN_SLEEPING)
        assert_true(append(f, NEXT_PARK));
    else if (state == RUN_AWAITING_SIGNAL)
        assert_true(park_for(f, STEP_SIGNAL, "go"));
    else if (state == RUN_BLOCKED)
        assert_true(append(f, NEXT_BLOCK));
    else if (state == RUN_COMPLETED)
        assert_true(append(f, NEXT_FINISH));
    else if (state == RUN_AWAITING_CHILD)
        assert_true(park_for(f, STEP_CHILD, "c"));
    else if (state == RUN_FAILED || state == RUN_CANCELLED)
        assert_true(end_with(f, state == RUN_FAILED ? EVENT_FAILED : EVENT_CANCELLED));
    else if (state == RUN_PAUSED || state == RUN_TERMINATED) {
        assert_true(engine_lose(&f->run, &f->now, &f->effects));
        assert_true(request(f, state == RUN_PAUSED ? CONTROL_PAUSE : CONTROL_TERMINATE));
    } else if (state == RUN_SCHEDULED)
        schedule(f);
    else if (state == RUN_TIMED_OUT)
        assert_true(expire(f));
    assert_int_equal(f->run.state, state);
}

bool act(struct fixture *f, enum act what)
{
    static const uint64_t next_of[] = {[CONTINUE] = NEXT_CONTINUE,
                                       [FINISH] = NEXT_FINISH,
                                       [PARK] = NEXT_PARK,
                                       [RELEASE] = NEXT_RELEASE,
                                       [BLOCK] = NEXT_BLOCK};
    switch (what) {
    case CLAIM: return claim(f);
    case SIGNAL: return signal_run(f, "go");
    case TIMER: f->now.at_ms += 1000; return engine_wake(&f->run, &f->now, &f->effects);
    case LOSE: return engine_lose(&f->run, &f->now, &f->effects);
    case UNBLOCK:
        return engine_unblock(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    case CANCEL: return request(f, CONTROL_CANCEL);
    case TERMINATE: return request(f, CONTROL_TERMINATE);
    case PAUSE: return request(f, CONTROL_PAUSE);
    case RESUME: return request(f, CONTROL_RESUME);
    case WAKE: return request(f, CONTROL_WAKE);
    case CHILD:
        return engine_child_done(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    case EXPIRE: return expire(f);
    case RETRY:
        return engine_retry(&f->run, &f->now, empty_body, &f->journal, &f->effects, &f->refusal);
    case DROP:
        return engine_drop(&f->run, &f->now, empty_body, &f->journal, &f->effects, &f->refusal);
    default: return append(f, next_of[what]);
    }
}
