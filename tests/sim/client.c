/* client.c - applications: start runs, repeat what was not answered, signal, wait, and ask things of runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "sim.h"
#include "wire/error.h"
#include "wire/retry.h"

enum { TIMEOUT_MS = 900, REDOS_MAX = 2, CHILD_SIGNAL_PERMILLE = 100 };

enum request_kind { REQUEST_START, REQUEST_SIGNAL, REQUEST_WAIT, REQUEST_WRONG_KEY, REQUEST_CONTROL, REQUEST_LIFT };
struct request {
    enum request_kind kind;
    uint32_t run, number;       /* number: of the signal; CONTROL_* */
    uint32_t correlation;       /* of the try under way, 0 = none */
    uint32_t name;
    uint64_t ref;               /* the same for all its tries */
    int64_t next_ms;
    bool answered;
};
struct client {
    bool up;
    uint32_t correlation;
    struct request *requests;   /* owned */
    size_t count, capacity;
};
static struct client clients[CLIENTS_MAX];

static struct client *client_of(uint32_t peer) { return &clients[peer - RUNTIMES_MAX]; }
static uint32_t peer_of(const struct client *c) { return RUNTIMES_MAX + (uint32_t)(c - clients); }

/* A run's client: the same one for all that has an order. */
static struct client *client_of_run(uint32_t run) { return &clients[run % sim.config.clients]; }

static uint64_t signal_value(uint32_t run, uint32_t number) { return mix64(run, number) >> 30; }

static void add(uint32_t run, enum request_kind kind, uint32_t number, uint32_t name, int64_t at_ms)
{
    struct client *c = client_of_run(run);
    c->requests = array_grow(c->requests, &c->capacity, c->count, sizeof(*c->requests));
    c->requests[c->count++] = (struct request){
        .kind = kind, .run = run, .number = number, .name = name, .next_ms = at_ms, .ref = ++sim.requests};
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void say_start(struct client *c, const struct request *q)
{
    const struct sim_run *r = &sim.runs[q->run];
    uint8_t memory[16];
    aiki_writer input;
    struct aiki_id id = r->id;
    uint8_t policy[RETRY_ARRAY_BYTES_MAX];
    aiki_writer retry;
    aiki_writer_init_fixed(&retry, policy, sizeof(policy));
    start_retry_write(&retry, &r->retry);
    if (q->kind == REQUEST_WRONG_KEY)
        id.bytes[0] ^= 0x80; /* another run, the same key, another input */
    aiki_writer_init_fixed(&input, memory, sizeof(memory));
    aiki_mp_uint(&input, r->input + (q->kind == REQUEST_WRONG_KEY ? 1 : 0));
    line_say(peer_of(c), START, q->correlation, .workflow = view_of(workflow_name(r->workflow)),
             .version = view_of(SIM_VERSION), .input = aiki_writer_view(&input), .key = view_of(r->key),
             .run = id, .delay_ms = r->delay_ms, .start_at_ms = r->wanted_at_ms,
             .run_timeout_ms = r->run_timeout_ms, .key_policy = r->key_policy,
             .retry = aiki_writer_view(&retry));
}

static void say_signal(struct client *c, const struct request *q)
{
    char ref[24];
    uint8_t memory[16];
    aiki_writer payload;
    (void)snprintf(ref, sizeof(ref), "ref-%u", q->number);
    aiki_writer_init_fixed(&payload, memory, sizeof(memory));
    aiki_mp_array(&payload, 2);
    aiki_mp_uint(&payload, signal_value(q->run, q->number));
    aiki_mp_uint(&payload, q->number);
    line_say(peer_of(c), SIGNAL, q->correlation, .run = sim.runs[q->run].id,
             .name = view_of(task_name(q->name)), .payload = aiki_writer_view(&payload),
             .ref = view_of(ref));
}

/* The reason says what was asked, for the oracle. */
static void say_control(struct client *c, const struct request *q)
{
    aiki_view step = view_of(q->name < NAMES ? task_name(q->name) : "");
    char ref[24] = "";
    if (USES(REFERENCE))
        (void)snprintf(ref, sizeof(ref), "%llu", (unsigned long long)q->ref);
    line_say(peer_of(c), CONTROL, q->correlation, .run = sim.runs[q->run].id, .action = q->number,
             .reason = step, .actor = view_of("sim"), .step = q->number == CONTROL_RETRY ? step : view_of(""),
             .ref = view_of(ref));
}

/* What of that build crashed too often may try again. */
static void say_lift(struct client *c, const struct request *q)
{
    uint8_t memory[64];
    aiki_writer args;
    char digits[5];
    (void)snprintf(digits, sizeof(digits), "%02x00", q->number + 1);
    aiki_writer_init_fixed(&args, memory, sizeof(memory));
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "build");
    aiki_mp_str(&args, digits);
    line_say(peer_of(c), QUERY, q->correlation, .what = view_of("plugins.unquarantine"),
             .args = aiki_writer_view(&args));
}

/* Whether what it builds on has been answered. */
static bool may_ask(const struct request *q)
{
    const struct sim_run *r = &sim.runs[q->run];
    if (q->kind == REQUEST_START || q->kind == REQUEST_LIFT)
        return true;
    return r->acked && (q->kind != REQUEST_SIGNAL || q->number == r->signals_acked);
}

static void ask(struct client *c, struct request *q)
{
    q->correlation = ++c->correlation;
    q->next_ms = sim.now_ms + TIMEOUT_MS;
    switch (q->kind) {
    case REQUEST_START:
    case REQUEST_WRONG_KEY: say_start(c, q); break;
    case REQUEST_SIGNAL: say_signal(c, q); break;
    case REQUEST_CONTROL: say_control(c, q); break;
    case REQUEST_LIFT: say_lift(c, q); break;
    case REQUEST_WAIT:
        q->next_ms = sim.now_ms + 20000;
        line_say(peer_of(c), WAIT, q->correlation, .run = sim.runs[q->run].id,
                 .timeout_ms = rng_below(&sim.work, 15000));
        break;
    }
}

/* ---- asking things of runs ------------------------------------------------------------------- */

static void control(uint32_t run, uint64_t action, uint32_t step, int64_t at_ms)
{
    add(run, REQUEST_CONTROL, (uint32_t)action, step, at_ms);
}

static void ask_to_retry(uint32_t run)
{
    struct sim_run *r = &sim.runs[run];
    if (r->redos++ < REDOS_MAX)
        control(run, CONTROL_RETRY, (uint32_t)rng_below(&sim.work, 2 * NAMES), sim.now_ms);
}

static void ask_something_of(uint32_t run)
{
    uint64_t what = rng_below(&sim.work, 16);
    if (what < 5 && USES(PAUSE)) {
        control(run, CONTROL_PAUSE, NAMES, sim.now_ms);
        control(run, CONTROL_RESUME, NAMES, sim.now_ms + (int64_t)rng_below(&sim.work, 3000));
    } else if (what < 9 && USES(WAKE)) {
        control(run, CONTROL_WAKE, NAMES, sim.now_ms);
    } else if (what < 12 && USES(CANCEL)) {
        control(run, CONTROL_CANCEL, NAMES, sim.now_ms);
    } else if (what < 13 && USES(TERMINATE)) {
        control(run, CONTROL_TERMINATE, NAMES, sim.now_ms);
    } else if (what >= 13 && USES(REDO) && sim.runs[run].ended) {
        if (what == 13)
            control(run, CONTROL_DROP, NAMES, sim.now_ms);
        ask_to_retry(run);
    }
}

static void add_signal(uint32_t run, uint32_t name, int64_t at_ms)
{
    add(run, REQUEST_SIGNAL, sim.runs[run].signals_sent++, name, at_ms);
}

static void lift(uint32_t build) { add(0, REQUEST_LIFT, build, 0, sim.now_ms); }

/* Of whatever run: what is asked must not depend on how it stands. */
static void ask_something(void)
{
    if (HAS(CHILD_CRASH) && rng_permille(&sim.work, 5))
        lift((uint32_t)rng_below(&sim.work, BUILDS));
    uint32_t run = (uint32_t)rng_below(&sim.work, sim.run_count);
    struct sim_run *r = &sim.runs[run];
    if (!r->acked)
        return;
    if (rng_permille(&sim.work, sim.config.request_permille))
        ask_something_of(run);
    if (r->parent != NOBODY && r->state == RUN_AWAITING_SIGNAL && r->signals_acked == r->signals_sent &&
        rng_permille(&sim.work, CHILD_SIGNAL_PERMILLE))
        add_signal(run, (uint32_t)rng_below(&sim.work, 2), sim.now_ms);
}

static void on_life(struct sim_event *e)
{
    struct client *c = client_of(e->who);
    event_again(e, sim.now_ms + 20 + (int64_t)rng_below(&sim.net, 30));
    if (!sim.calm)
        ask_something();
    if (!c->up && sim.server.up) {
        line_open(e->who);
        c->up = true;
    }
    if (!c->up)
        return;
    for (size_t i = 0; i < c->count; i++) {
        struct request *q = &c->requests[i];
        if (!q->answered && q->next_ms <= sim.now_ms && may_ask(q))
            ask(c, q);
    }
}

/* ---- being answered -------------------------------------------------------------------------- */

static void on_fault(struct request *q, const struct msg_FAULT *m)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_read(m->error, &err, NULL, NULL); /* the code is what counts */
    if (m->status == AIKI_UNAVAILABLE || (!sim.calm && m->status == AIKI_NOT_FOUND && q->kind == REQUEST_START)) {
        q->answered = false; /* later again; a workflow is unknown until somebody has served it */
        q->next_ms = sim.now_ms + 300;
        return;
    }
    if (q->kind == REQUEST_WRONG_KEY && strcmp(err.code, "KEY_TAKEN") == 0)
        return;
    if (q->kind == REQUEST_START && strcmp(err.code, "KEY_TAKEN") == 0) {
        if (!key_refuses(&sim.runs[q->run]))
            violation("run %u: its start is refused for its key%s", q->run,
                      sim.runs[q->run].on_record ? ", and it is on record" : "");
        sim.runs[q->run].absorbed = true;
        return;
    }
    if (q->kind == REQUEST_SIGNAL && strcmp(err.code, "RUN_ENDED") == 0) {
        if (sim.runs[q->run].ended_as == 0)
            violation("run %u: a signal is refused as if it had ended", q->run);
        sim.runs[q->run].signals_acked++; /* the next may, when it is tried again */
        return;
    }
    if (q->kind == REQUEST_LIFT && strcmp(err.code, "NOT_QUARANTINED") == 0)
        return;
    if (q->kind == REQUEST_CONTROL) {
        oracle_refused(q->run, q->number, q->ref, err.code);
        return;
    }
    violation("run %u: request of kind %d is refused: %s %s", q->run, (int)q->kind, err.code,
              err.message);
}

static void on_started(struct request *q, const struct msg_STARTED *m)
{
    struct sim_run *r = &sim.runs[q->run];
    if (q->kind == REQUEST_WRONG_KEY)
        violation("run %u: its key is given to a start with another input", q->run);
    if (m->created != id_equal(&m->run, &r->id))
        violation("run %u: a start is said to be new and is not, or the other way round", q->run);
    if (!m->created) {
        if (!key_absorbs(r, &sim.runs[run_of_id(&m->run)]))
            violation("run %u: its start is answered with another run", q->run);
        r->absorbed = true;
        return;
    }
    if (!r->on_record)
        violation("run %u: its start is acknowledged and not on record", q->run);
    r->acked = true;
}

static void on_ok(struct request *q, const struct msg_OK *m)
{
    struct sim_run *r = &sim.runs[q->run];
    uint32_t found = 0;
    if (q->kind == REQUEST_CONTROL) {
        oracle_requested(q->run, q->number, q->ref, m->count);
        return;
    }
    if (q->kind != REQUEST_SIGNAL)
        violation("run %u: OK for a request of kind %d", q->run, (int)q->kind);
    for (uint32_t i = 0; i < r->signal_count; i++)
        found += r->signals[i].number == q->number;
    if (found != 1)
        violation("run %u: signal %u is acknowledged (count %llu) and on record %u times", q->run,
                  q->number, (unsigned long long)m->count, found);
    r->signals_acked++;
}

static bool on_answer(struct request *q, const struct frame *f)
{
    union {
        struct msg_STARTED started;
        struct msg_RESULT result;
        struct msg_OK ok;
        struct msg_FAULT fault;
    } m;
    q->answered = true;
    q->correlation = 0;
    switch (f->type) {
    case WIRE_STARTED:
        if (msg_STARTED_read(f->payload, &m.started, NULL) != AIKI_OK)
            return false;
        on_started(q, &m.started);
        return true;
    case WIRE_RESULT:
        if (msg_RESULT_read(f->payload, &m.result, NULL) != AIKI_OK || q->kind != REQUEST_WAIT)
            return false;
        q->answered = run_state_is_terminal(m.result.state) || sim.runs[q->run].ended;
        q->next_ms = sim.now_ms + 100;
        oracle_result(q->run, &m.result);
        return true;
    case WIRE_OK:
        if (msg_OK_read(f->payload, &m.ok, NULL) != AIKI_OK)
            return false;
        on_ok(q, &m.ok);
        return true;
    case WIRE_DOCUMENT: return q->kind == REQUEST_LIFT;
    case WIRE_FAULT:
        if (msg_FAULT_read(f->payload, &m.fault, NULL) != AIKI_OK)
            return false;
        on_fault(q, &m.fault);
        return true;
    default: return false;
    }
}

void client_frame(uint32_t peer, const struct frame *f)
{
    struct client *c = client_of(peer);
    if (fault_strikes(FAULT_BIT_REPLY_LOST, 100))
        return; /* the request is repeated in its time */
    for (size_t i = 0; i < c->count; i++) {
        if (c->requests[i].correlation != f->correlation || c->requests[i].answered)
            continue;
        if (!on_answer(&c->requests[i], f))
            violation("a client was sent a %s it cannot use", wire_type_name(f->type));
        return;
    }
}

void client_cut(uint32_t peer)
{
    struct client *c = client_of(peer);
    if (sim.lines[peer].open)
        return;
    c->up = false;
    for (size_t i = 0; i < c->count; i++)
        if (c->requests[i].next_ms > sim.now_ms + 100)
            c->requests[i].next_ms = sim.now_ms + 100;
}

/* ---- what they want -------------------------------------------------------------------------- */

static void plan_signals(uint32_t run, int64_t start_ms)
{
    uint32_t names = program_signals(&sim.programs[0][sim.runs[run].workflow]);
    if (names == 0)
        return;
    for (uint32_t count = (uint32_t)rng_below(&sim.work, 6); count > 0; count--) {
        uint32_t name = (uint32_t)rng_below(&sim.work, 2);
        add_signal(run, name, start_ms + (int64_t)rng_below(&sim.work, 6000));
    }
}

void clients_start(void)
{
    for (uint32_t run = 0; run < sim.config.runs; run++) {
        int64_t start_ms = sim.now_ms + (int64_t)rng_below(&sim.work, FAULT_PHASE_MS * 2 / 3);
        add(run, REQUEST_START, 0, 0, start_ms);
        if (rng_permille(&sim.work, 200)) /* the same again, from somebody who does not know */
            add(run, REQUEST_START, 0, 0, start_ms + (int64_t)rng_below(&sim.work, 3000));
        if (strncmp(sim.runs[run].key, "key-", 4) == 0 && rng_permille(&sim.work, 200))
            add(run, REQUEST_WRONG_KEY, 0, 0, start_ms);
        add(run, REQUEST_WAIT, 0, 0, start_ms + (int64_t)rng_below(&sim.work, 5000));
        plan_signals(run, start_ms);
    }
    for (uint32_t i = 0; i < sim.config.clients; i++)
        event_at(sim.now_ms + i, on_life)->who = RUNTIMES_MAX + i;
}

void clients_stop(void)
{
    for (uint32_t i = 0; i < CLIENTS_MAX; i++)
        free(clients[i].requests);
    memset(clients, 0, sizeof(clients));
}

void clients_help(void)
{
    bool blocked = false;
    for (uint32_t run = 0; run < sim.run_count; run++)
        blocked |= sim.runs[run].state == RUN_BLOCKED;
    for (uint32_t build = 0; build < BUILDS && blocked && HAS(CHILD_CRASH); build++)
        lift(build);
    for (uint32_t run = 0; run < sim.run_count; run++) {
        struct sim_run *r = &sim.runs[run];
        if (r->paused && !r->ended)
            control(run, CONTROL_RESUME, NAMES, sim.now_ms);
        if (r->state != RUN_AWAITING_SIGNAL || r->signals_acked != r->signals_sent)
            continue;
        for (uint32_t name = 0; name < 2; name++)
            add_signal(run, name, sim.now_ms);
    }
}

bool clients_done(void)
{
    for (uint32_t i = 0; i < sim.config.clients; i++)
        for (size_t q = 0; q < clients[i].count; q++) {
            const struct request *r = &clients[i].requests[q];
            bool start = r->kind == REQUEST_START || r->kind == REQUEST_WRONG_KEY || r->kind == REQUEST_LIFT;
            bool never = !start && sim.runs[r->run].absorbed && !sim.runs[r->run].acked;
            if (!r->answered && !never && (r->kind != REQUEST_SIGNAL || may_ask(r)))
                return false;
        }
    return true;
}
