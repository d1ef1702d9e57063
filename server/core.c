/* core.c - see core.h.
 *
 * Requests of the HTTP listener travel as those of one more connection, in the last slot. Their
 * correlation is index and generation of a table of calls, so that a late answer to a forgotten
 * call never finds the next one.
 *
 * The end: connections and publisher close --> STOP is the last command --> threads are joined
 * --> what they still answered is delivered to nobody --> store closed.
 */
#include "core.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "gather.h"
#include "metrics.h"
#include "pipeline.h"
#include "publisher.h"
#include "reader.h"
#include "rpc/rpc.h"
#include "tally.h"
#include "wire/error.h"
#include "wire/frame.h"

enum { CALL_INDEX_BITS = 20, CALLS_MAX = 1 << CALL_INDEX_BITS, CALL_INDEX_MASK = CALLS_MAX - 1 };

/* A request of the HTTP listener. */
struct call {
    core_reply_fn fn; /* NULL = free */
    void *arg;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
    bool answered_twice, waits;
};

struct core {
    uv_loop_t *loop;
    struct store *store;
    struct reader *reader;
    struct pipeline pipeline; /* of the store thread once it runs */
    pthread_t thread;
    struct mailbox outcomes;
    struct gather gather;
    struct conn_loop *conns;
    struct rpc *rpc;
    struct publisher *publisher;
    uint64_t incarnation;
    struct call *calls;
    size_t call_count, call_capacity;
    uint32_t call_free; /* index + 1 */
    bool running;       /* the store thread */
    int parts_open;     /* while stopping */
    void (*on_stopped)(void *arg);
    void *arg;
};

static const peer_id own_peer = (peer_id)1 << 16 | CONNECTIONS_MAX;

/* ---- calls ----------------------------------------------------------------------------------- */

static uint32_t call_number(const struct core *c, uint32_t index)
{
    return c->calls[index].generation << CALL_INDEX_BITS | index;
}

static struct call *find_call(struct core *c, uint32_t number)
{
    uint32_t index = number & CALL_INDEX_MASK;
    if (index >= c->call_count || c->calls[index].fn == NULL || call_number(c, index) != number)
        return NULL;
    return &c->calls[index];
}

/* CALLS_MAX is far above what HTTP_CONNECTIONS_MAX connections can ask at once. */
static uint32_t add_call(struct core *c, core_reply_fn fn, void *arg)
{
    uint32_t index = c->call_free - 1;
    if (c->call_free != 0) {
        c->call_free = c->calls[index].next_free;
    } else {
        assert(c->call_count < CALLS_MAX);
        c->calls = array_grow(c->calls, &c->call_capacity, c->call_count, sizeof(*c->calls));
        index = (uint32_t)c->call_count++;
        c->calls[index].generation = 0;
    }
    c->calls[index].fn = fn;
    c->calls[index].arg = arg;
    c->calls[index].answered_twice = c->calls[index].waits = false;
    return index;
}

static void free_call(struct core *c, struct call *call)
{
    call->fn = NULL;
    call->generation++;
    call->next_free = c->call_free;
    c->call_free = (uint32_t)(call - c->calls) + 1;
}

static void answer_call(struct core *c, const struct frame *f)
{
    struct call *call = find_call(c, f->correlation);
    if (call == NULL)
        return; /* forgotten */
    core_reply_fn fn = call->fn;
    void *arg = call->arg;
    if (f->type == WIRE_STARTED && call->answered_twice)
        call->answered_twice = false;
    else
        free_call(c, call);
    fn(arg, f->type, f->payload);
}

static void answer_calls(struct core *c, aiki_view frames)
{
    struct frame f;
    uint64_t size_bytes;
    while (frame_read(frames, &f, &size_bytes, NULL) == AIKI_OK) {
        answer_call(c, &f);
        frames.data += size_bytes;
        frames.size_bytes -= size_bytes;
    }
}

/* Through the mailbox, as the caller is not to be called back from inside its call. */
static void refuse_call(struct core *c, uint32_t number, const aiki_error *err)
{
    struct outcome *o = outcome_create();
    metric_add(requests_refused, 1);
    frame_fault(&outcome_add_parcel(o, own_peer)->frames, number, err);
    mailbox_post(&c->outcomes, &o->mail);
}

uint64_t core_request(struct core *c, uint32_t type, aiki_view payload, core_reply_fn fn, void *arg)
{
    struct msg_START start;
    aiki_error err = {.struct_size = sizeof(err)};
    assert(type == WIRE_START || type == WIRE_WAIT || type == WIRE_SIGNAL ||
           type == WIRE_CONTROL || type == WIRE_QUERY);
    uint32_t index = add_call(c, fn, arg), number = call_number(c, index);
    struct call *call = &c->calls[index];
    call->answered_twice =
        type == WIRE_START && msg_START_read(payload, &start, NULL) == AIKI_OK && start.want_result;
    call->waits = type == WIRE_WAIT || type == WIRE_QUERY || call->answered_twice;
    bool writes = type == WIRE_START || type == WIRE_SIGNAL || type == WIRE_CONTROL;
    if (writes && gather_room(&c->gather, payload.size_bytes, &err) != AIKI_OK)
        refuse_call(c, number, &err);
    else
        gather_add(&c->gather, own_peer, type, number, payload);
    return (uint64_t)number + 1;
}

void core_forget(struct core *c, uint64_t token)
{
    uint32_t number = (uint32_t)(token - 1);
    struct call *call = find_call(c, number);
    if (token == 0 || call == NULL)
        return;
    if (call->waits)
        gather_add(&c->gather, own_peer, COMMAND_FORGET, number, (aiki_view){NULL, 0});
    free_call(c, call);
}

/* ---- outcomes -------------------------------------------------------------------------------- */

static void on_outcomes(void *arg, struct mail *list)
{
    struct core *c = arg;
    for (struct mail *m = list, *next; m != NULL; m = next) {
        struct outcome *o = container_of(m, struct outcome, mail);
        next = m->next;
        for (size_t i = 0; i < o->parcel_count; i++) {
            if (o->parcels[i].peer == own_peer)
                answer_calls(c, aiki_writer_view(&o->parcels[i].frames));
            else if (c->rpc != NULL)
                rpc_deliver(c->rpc, &o->parcels[i]);
        }
        if (c->publisher != NULL)
            publisher_take(c->publisher, o);
        gather_take_back(&c->gather, o->used);
        o->used = NULL;
        outcome_destroy(o);
    }
}

/* ---- health ---------------------------------------------------------------------------------- */

bool core_is_ready(const struct core *c, const char **ret_why_not)
{
    if (publisher_is_up(c->publisher))
        return true;
    *ret_why_not = "redis is not connected; runs are recorded and wait for it";
    return false;
}

void core_metrics(struct core *c, aiki_writer *w)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } gauges[] = {
        {"connections_open", "RPC connections", rpc_connection_count(c->rpc)},
        {"sessions_open", "Runtimes with a lease", rpc_session_count(c->rpc)},
        {"commands_waiting_bytes", "Requests the store thread has not decided yet",
         gather_waiting_bytes(&c->gather)},
        {"redis_up", "Whether Redis is connected", publisher_is_up(c->publisher)},
        {"incarnation", "Starts of the server on this store", c->incarnation},
    };
    metrics_write(w);
    tally_write(w);
    for (size_t i = 0; i < ARRAY_COUNT(gauges); i++) {
        char text[400];
        int n = snprintf(
            text, sizeof(text), "# HELP aiki_%s %s\n# TYPE aiki_%s gauge\naiki_%s %" PRIu64 "\n",
            gauges[i].name, gauges[i].help, gauges[i].name, gauges[i].name, gauges[i].value);
        aiki_mp_raw(w, text, (uint64_t)n);
    }
}

/* ---- start ----------------------------------------------------------------------------------- */

static struct aiki_id *sessions_alive(void *arg, size_t *ret_count)
{
    const struct core *c = arg;
    *ret_count = 0;
    return c->rpc != NULL ? rpc_sessions(c->rpc, ret_count) : NULL;
}

static void *run_pipeline(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "store"); /* for people looking at /proc */
    pipeline_run(arg);
    return NULL;
}

/* The store and what is read from it before anybody may ask. */
static aiki_status open_store(struct core *c, const struct core_options *o, aiki_error *err)
{
    aiki_status status = store_open(&c->store, o->store, err);
    if (status != AIKI_OK)
        return status;
    c->incarnation = c->store->incarnation;
    pipeline_init(&c->pipeline, c->store, o->space, &c->outcomes);
    c->pipeline.quarantine.crashes_max = o->quarantine_crashes;
    c->pipeline.quarantine.window_ms = o->quarantine_window_ms;
    c->pipeline.quarantine.hold_ms = o->crash_hold_ms;
    status = pipeline_restore(&c->pipeline, err);
    if (status == AIKI_OK)
        status =
            reader_start(&c->reader, c->store, o->space, c->incarnation << 32, c->pipeline.schemas,
                         &c->outcomes, err);
    c->pipeline.reader = c->reader;
    if (status != AIKI_OK) {
        pipeline_deinit(&c->pipeline);
        store_close(c->store);
        return status;
    }
    log_info("core", "store %s, incarnation %llu, %zu timers, namespace %s", o->store,
             (unsigned long long)c->incarnation, c->pipeline.timers.count, o->space);
    return AIKI_OK;
}

static void close_store(struct core *c)
{
    reader_stop(c->reader);
    pipeline_deinit(&c->pipeline);
    store_close(c->store);
}

static aiki_status start_parts(struct core *c, const struct core_options *o, aiki_error *err)
{
    const struct rpc_options rpc = {.listen = o->listen,
                                    .space = o->space,
                                    .tokens = o->tokens,
                                    .tls = o->tls,
                                    .lease_ms = o->lease_ms,
                                    .incarnation = c->incarnation,
                                    .clock = c->pipeline.clock};
    aiki_status status = rpc_start(&c->rpc, c->loop, c->conns, &c->gather, &rpc, err);
    if (status == AIKI_OK)
        status =
            publisher_create(&c->publisher, c->loop, o->redis, &c->gather, sessions_alive, c, err);
    if (status == AIKI_OK && pthread_create(&c->thread, NULL, run_pipeline, &c->pipeline) != 0)
        status = error_set(err, AIKI_NOMEM, "the store thread cannot be created");
    c->running = status == AIKI_OK;
    return status;
}

void core_set_tls(struct core *c, struct tls *tls)
{
    rpc_set_tls(c->rpc, tls);
}

void core_check_tokens(struct core *c)
{
    rpc_check_tokens(c->rpc);
}

static void on_undone(void *arg)
{
    (void)arg;
}

aiki_status core_start(struct core **ret, uv_loop_t *loop, const struct core_options *options,
                       aiki_error *err)
{
    struct core *c = memory_need(sizeof(*c));
    c->loop = loop;
    aiki_status status = open_store(c, options, err);
    if (status != AIKI_OK) {
        free(c);
        return status;
    }
    c->conns = conn_loop_create(loop);
    if (c->conns == NULL || mailbox_init(&c->outcomes, loop, on_outcomes, c) != 0) {
        log_error("core", "no memory or descriptors for the loop");
        _exit(1); /* nothing has been promised to anybody */
    }
    gather_init(&c->gather, loop, &c->pipeline.inbox);
    status = start_parts(c, options, err);
    if (status != AIKI_OK) {
        core_stop(c, on_undone, NULL);
        return status;
    }
    *ret = c;
    return AIKI_OK;
}

const char *core_address(const struct core *c)
{
    return rpc_address(c->rpc);
}

/* ---- stop ------------------------------------------------------------------------------------ */

static void on_loop_parts_closed(void *arg)
{
    struct core *c = arg;
    if (--c->parts_open > 0)
        return;
    void (*on_stopped)(void *arg) = c->on_stopped;
    void *stopped_arg = c->arg;
    close_store(c);
    free(c->calls);
    free(c);
    on_stopped(stopped_arg);
}

/* Nobody is left who could ask or be answered. */
static void on_talkers_closed(void *arg)
{
    struct core *c = arg;
    if (--c->parts_open > 0)
        return;
    c->rpc = NULL;
    c->publisher = NULL;
    if (c->running) {
        gather_add(&c->gather, 0, COMMAND_STOP, 0, (aiki_view){NULL, 0});
        gather_post(&c->gather);
        (void)pthread_join(c->thread, NULL);
    }
    c->parts_open = 3;
    mailbox_close(&c->outcomes, on_loop_parts_closed);
    gather_close(&c->gather, on_loop_parts_closed, c);
    conn_loop_destroy(c->conns, on_loop_parts_closed, c);
}

void core_stop(struct core *c, void (*on_stopped)(void *arg), void *arg)
{
    c->on_stopped = on_stopped;
    c->arg = arg;
    c->parts_open = 1 + (c->rpc != NULL) + (c->publisher != NULL);
    if (c->rpc != NULL)
        rpc_close(c->rpc, on_talkers_closed, c);
    if (c->publisher != NULL)
        publisher_close(c->publisher, on_talkers_closed, c);
    on_talkers_closed(c); /* this function's own part */
}
