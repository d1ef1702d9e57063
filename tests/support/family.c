/* support/family.c - runs that start others, through the pipeline of its fixture. */
#include "support/family.h"

struct address address_of(uint64_t n)
{
    struct address a = {{0}};
    memcpy(a.bytes, &n, sizeof(n));
    return a;
}

struct parent start_parent(struct fixture *f)
{
    struct aiki_id run = start(f);
    return (struct parent){.run = run, .epoch = claim(f, RUNTIME)};
}

static void put_child_step(aiki_writer *w, const struct brood *family, uint64_t n)
{
    uint8_t memory[CHILD_OPTIONS_BYTES_MAX];
    aiki_writer options;
    aiki_writer_init_fixed(&options, memory, sizeof(memory));
    child_options_write(&options,
                        &(struct child_options){.close_policy = family->close_policy,
                                                .detached = family->detached,
                                                .pass = family->pass,
                                                .key = view_of(family->key),
                                                .shared = family->shared,
                                                .schedule_to_start_ms = family->start_limit_ms});
    const struct event begun = {.kind = EVENT_STEP_BEGUN,
                                .as.step = {.address = address_of(n),
                                            .identity_kind = STEP_CHILD,
                                            .name = view_of(family->workflow),
                                            .input = family->input != 0
                                                         ? (aiki_view){&family->input, 1}
                                                         : (aiki_view){input, sizeof(input)},
                                            .options = aiki_writer_view(&options)}};
    event_write_new(w, &begun);
}

struct aiki_id child_of(const struct parent *parent, uint64_t n)
{
    struct address a = address_of(n);
    return child_id(&parent->run, &a, 0, 0);
}

void ask_begin(struct fixture *f, struct parent *parent, const struct brood *family)
{
    aiki_writer events, waits;
    buf_init(&events);
    buf_init(&waits);
    for (uint64_t n = 1; n <= family->count; n++)
        put_child_step(&events, family, n);
    if (family->then != 0)
        event_write_new(&events, &(struct event){.kind = family->then});
    if (family->next == NEXT_PARK) {
        struct wait w = {.kind = STEP_CHILD, .name = view_of(family->workflow), .since_ms = 1};
        if (family->shared)
            w.key = view_of(family->key);
        else
            w.child = child_of(parent, 1);
        aiki_mp_array(&waits, 1);
        wait_write(&waits, &w);
    }
    say(f, RUNTIME, APPEND, 3, .run = parent->run, .epoch = parent->epoch,
        .number = ++parent->number, .next = family->next, .seen = parent->seen,
        .waits = aiki_writer_view(&waits), .events = aiki_writer_view(&events));
    buf_deinit(&events);
    buf_deinit(&waits);
}

void begin(struct fixture *f, struct parent *parent, const struct brood *family)
{
    struct msg_ACK ack;
    ask_begin(f, parent, family);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
}

uint64_t claim_run(struct fixture *f, struct aiki_id run)
{
    struct msg_CLAIMED m;
    struct entry *e;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    say(f, RUNTIME, CLAIM, 4, .run = run, .epoch = e->run.epoch, .build = {build, HASH_BYTES});
    cache_rest(&f->p.cache, e);
    turn(f);
    expect(f, RUNTIME, 4, CLAIMED, &m);
    forget(f);
    return m.epoch;
}

size_t events_of(struct fixture *f, struct aiki_id run, uint64_t kind, struct event *ret_last)
{
    struct entry *e;
    aiki_view journal;
    uint64_t last_seq;
    aiki_reader r;
    struct event event;
    size_t count = 0;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    assert_int_equal(run_journal(&f->p, e, 0, UINT64_MAX, &journal, &last_seq, NULL), AIKI_OK);
    aiki_reader_init(&r, journal);
    while (aiki_reader_left(&r) > 0) {
        assert_int_equal(event_read_stored(&r, &event, NULL), AIKI_OK);
        if (event.kind != kind)
            continue;
        count++;
        if (ret_last != NULL)
            *ret_last = event;
    }
    cache_rest(&f->p.cache, e);
    return count;
}
