/* child.c - the loop of a child: frames in, notes from task threads in, turns of runs.
 *
 *   LOAD ----> READY or REFUSED
 *   ASSIGN (CLAIMED...) ----> run ----> APPEND ... ACK ... APPEND(finish, park, block, release)
 *   NOTIFY, DROP ----> run
 *   DRAIN ----> new runs are handed back; the last one that leaves ends the process
 *   end of file ----> _exit(0); a descriptor that is gone ----> _exit(CHILD_EXIT_CUT_OFF)
 */
#include "child/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/blame.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/limit.h"
#include "base/log.h"
#include "child/lines.h"
#include "child/reach.h"
#include "child/run.h"
#include "child/sandbox.h"
#include "child/stack.h"
#include "child/watchdog.h"
#include "wire/error.h"
#include "wire/hash.h"

enum { GATE_CPU_S = 20 };
enum { EXIT_BROKEN = 70 }; /* the broker spoke in a way that cannot be: EX_SOFTWARE */

/* ---- what runs need ---------------------------------------------------------------------- */

int64_t child_now_ms(struct child *c)
{
    int64_t now = clock_mono_ms() + c->engine_offset_ms;

    if (now > c->engine_last_ms)
        c->engine_last_ms = now;
    return c->engine_last_ms;
}

/* The message is a little old when it is read, so this clock is never ahead of the engine's. */
static void learn_time(struct child *c, int64_t now_ms)
{
    if (now_ms > 0)
        c->engine_offset_ms = now_ms - clock_mono_ms();
}

void child_log(struct child *c, int32_t level, const struct aiki_id *run, aiki_view task,
               uint32_t attempt, const char *text)
{
    const struct aiki_id none = {{0}};

    if (c->gating || !conn_is_open(c->conn) || conn_unsent_bytes(c->conn) > LOG_UNSENT_BYTES_MAX)
        return;
    level = level < AIKI_LOG_DEBUG ? AIKI_LOG_DEBUG : level > AIKI_LOG_ERROR ? AIKI_LOG_ERROR : level;
    conn_send(c->conn, LOG, 0, .level = (uint64_t)level, .run = run != NULL ? *run : none,
              .task = task, .attempt = attempt,
              .text = {(const uint8_t *)text, strnlen(text, LOG_TEXT_BYTES_MAX)});
}

void child_settle(struct child *c)
{
    if (c->draining && c->run_count == 0)
        conn_close(c->conn); /* what is unsent leaves first; on_closed ends the process */
}

/* ---- task threads ------------------------------------------------------------------------ */

static void take_log(struct child *c, struct log_note *n)
{
    child_log(c, n->level, &n->run, view_of(n->task), n->attempt, n->text);
    task_pool_free_log(c->tasks, n);
}

/* Notes of one thread come in order: the attempt is still there. */
static void take_beat(struct attempt *a)
{
    struct run *r = a->run;

    run_attempt_beat(a);
    if (r->state == RUN_STATE_ACTIVE)
        run_pump_soon(r);
}

/* Results of one run that came together are shown in one turn and leave in one append. */
static void on_notes(void *arg, struct mail *list)
{
    struct child *c = arg;

    while (list != NULL) {
        struct note *n = container_of(list, struct note, mail);
        list = list->next;
        if (n->kind == NOTE_LOG) {
            take_log(c, container_of(n, struct log_note, note));
            continue;
        }
        if (n->kind == NOTE_BEAT) {
            take_beat(container_of(n, struct attempt, beat_note));
            continue;
        }
        struct attempt *a = container_of(n, struct attempt, note);
        struct run *r = a->run;
        bool gone = r->state == RUN_STATE_GONE; /* then r may be freed below */
        run_attempt_ended(a);
        if (!gone)
            run_pump_soon(r);
    }
    run_pump_queued(c);
}

/* ---- attempts that do not stop ----------------------------------------------------------- */

/* All runs go back with what they have recorded; the broker starts another process at once. */
static void replace_process(struct child *c, const struct attempt *stuck)
{
    log_error("child", "run %s, task %s, attempt %u did not return within %d ms after its timeout: "
              "this process ends, its %u runs go on in another one",
              stuck->run_text, stuck->task->def.name, stuck->number, ATTEMPT_GRACE_MS, c->run_count);
    for (uint32_t i = 0; i < RUN_BUCKETS; i++)
        for (struct run *r = c->runs[i]; r != NULL; r = r->next)
            run_give_back(r);
    c->exit_code = CHILD_EXIT_STUCK;
    conn_close(c->conn); /* what is unsent leaves first; on_closed ends the process */
}

static void on_stuck(uv_timer_t *t)
{
    struct child *c = container_of(t, struct child, stuck);
    int64_t left_ms = 0;

    for (struct attempt *a = c->flagged; a != NULL; a = a->flagged_next) {
        bool executing = atomic_load_explicit(&a->began_mono_ms, memory_order_relaxed) != 0;
        int64_t ms = a->flagged_mono_ms + ATTEMPT_GRACE_MS - clock_mono_ms();
        if (executing && ms <= 0) {
            replace_process(c, a);
            return;
        }
        if (executing && (left_ms == 0 || ms < left_ms))
            left_ms = ms;
    }
    if (left_ms > 0)
        (void)uv_timer_start(t, on_stuck, (uint64_t)left_ms, 0); /* 0 with a callback */
}

void child_watch_attempt(struct child *c, struct attempt *a)
{
    a->flagged_mono_ms = clock_mono_ms();
    a->flagged_next = c->flagged;
    c->flagged = a;
    if (uv_is_active((uv_handle_t *)&c->stuck))
        return;
    uv_update_time(c->loop);
    (void)uv_timer_start(&c->stuck, on_stuck, ATTEMPT_GRACE_MS, 0); /* 0 with a callback */
}

void child_unwatch_attempt(struct child *c, struct attempt *a)
{
    struct attempt **at = &c->flagged;

    while (*at != a)
        at = &(*at)->flagged_next;
    *at = a->flagged_next;
    if (c->flagged == NULL)
        (void)uv_timer_stop(&c->stuck);
}

/* ---- frames ------------------------------------------------------------------------------ */

static void refuse(struct child *c, const aiki_error *err)
{
    AUTO(buf) aiki_writer map;

    buf_init(&map);
    error_write(&map, err);
    conn_send(c->conn, REFUSED, 0, .status = err->status, .error = aiki_writer_view(&map));
}

static void (*plugin_code)(void); /* a place in the plugin, for a crash to look around */

/* Workflow code alone is executed, and its replay is soon over. */
static void limit_gate(void)
{
    const struct rlimit cpu = {GATE_CPU_S, GATE_CPU_S}, files = {0, 0};

    (void)setrlimit(RLIMIT_CPU, &cpu); /* lowering cannot fail */
    (void)setrlimit(RLIMIT_FSIZE, &files);
}

/* The watchdog's thread, too, lives in the sandbox, so it is not there before. */
static aiki_status load_confined(struct child *c, const char *path, aiki_view entry,
                                 aiki_writer *descriptor, aiki_error *err)
{
    struct sandbox sandbox;
    if (!sandbox_parse(entry, &sandbox))
        return error_set(err, AIKI_CORRUPT, "a sandbox of %.*s", (int)entry.size_bytes,
                         (const char *)entry.data);
    lines_open(path);
    aiki_status st = sandbox_enter(&sandbox, path, err);
    if (st != AIKI_OK)
        return st;
    reach_limit_child(getppid());
    c->watchdog = watchdog_start(WATCHDOG_LIMIT_MS);
    if (c->watchdog == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a watchdog");
    return plugin_load(&c->plugin, path, descriptor, err);
}

static void load(struct child *c, const struct msg_LOAD *m)
{
    AUTO(buf) aiki_writer descriptor;
    AUTO(free) char *path = view_dup(m->path);
    aiki_error err = AIKI_ERROR_INIT;
    uint64_t threads = m->task_threads_max == 0 ? TASK_THREADS_DEFAULT : m->task_threads_max;

    buf_init(&descriptor);
    c->gating = m->mode != CHILD_SERVE;
    c->brief = m->mode != CHILD_GATE;
    if (c->lacks.data == NULL)
        c->lacks = (aiki_view){(const uint8_t *)view_dup(m->lacks), m->lacks.size_bytes};
    limits_take_files(m->files_max); /* one too many is refused by the kernel, to the code that asked for it */
    threads = threads > TASK_THREADS_MAX ? TASK_THREADS_MAX : threads;
    if (c->tasks == NULL)
        c->tasks = task_pool_create(c->loop, (uint32_t)threads, on_notes, c);
    aiki_status st = AIKI_OK;
    if (c->loaded)
        st = error_set(&err, AIKI_CONFLICT, "this process has a plugin already");
    else if (path == NULL || c->tasks == NULL || c->lacks.data == NULL)
        st = error_set(&err, AIKI_NOMEM, "no memory to load a plugin");
    else
        st = load_confined(c, path, m->sandbox, &descriptor, &err);
    if (st != AIKI_OK) {
        refuse(c, &err);
        return;
    }
    c->loaded = true;
    c->alone = m->alone;
    if (c->alone)
        blame_protect();
    memcpy(c->build, m->build.data, m->build.size_bytes < HASH_BYTES ? m->build.size_bytes : HASH_BYTES);
    plugin_code = c->plugin.tasks[0].def.fn != NULL
                      ? (void (*)(void))c->plugin.tasks[0].def.fn
                      : (void (*)(void))c->plugin.workflows[0].def.fn;
    c->wait_timeout_ms = m->wait_timeout_ms;
    if (c->gating)
        limit_gate();
    fault_point(child_loaded);
    conn_send(c->conn, READY, 0, .descriptor = aiki_writer_view(&descriptor));
}

static void on_grace_over(uv_timer_t *t)
{
    struct child *c = container_of(t, struct child, grace);

    for (uint32_t i = 0; i < RUN_BUCKETS; i++)
        for (struct run *r = c->runs[i]; r != NULL; r = r->next)
            run_give_back(r);
}

static void drain(struct child *c, const struct msg_DRAIN *m)
{
    c->draining = true;
    c->leaving |= m->leave;
    if (m->grace_ms > 0)
        (void)uv_timer_start(&c->grace, on_grace_over, m->grace_ms, 0);
    for (uint32_t i = 0; c->leaving && i < RUN_BUCKETS; i++)
        for (struct run *r = c->runs[i]; r != NULL; r = r->next)
            run_pump_soon(r);
    child_settle(c);
}

static void on_claimed(struct child *c, const struct msg_CLAIMED *m)
{
    struct run *r = run_find(c, &m->run);

    if (r != NULL && r->epoch == m->epoch)
        run_add_page(r, m->journal);
}

static void on_ack(struct child *c, const struct msg_ACK *m)
{
    struct run *r = run_find(c, &m->run);

    learn_time(c, m->now_ms);
    if (r != NULL)
        run_acked(r, m->number);
}

static void on_drop(struct child *c, const struct aiki_id *id)
{
    struct run *r = run_find(c, id);

    if (r != NULL)
        run_drop(r);
}

static void on_notify(struct child *c, const struct msg_NOTIFY *m)
{
    struct run *r = run_find(c, &m->run);

    if (r == NULL || r->epoch != m->epoch)
        return; /* about a stay that is over */
    if (m->kind == NOTIFY_DROP)
        run_drop(r);
    else if (m->kind == NOTIFY_EVENT)
        run_add_arrival(r, m->event);
}

static aiki_status dispatch(struct child *c, const struct frame *f, aiki_error *err)
{
    aiki_status st;
    union {
        struct msg_LOAD load;
        struct msg_ASSIGN assign;
        struct msg_CLAIMED claimed;
        struct msg_ACK ack;
        struct msg_NOTIFY notify;
        struct msg_DROP drop;
        struct msg_DRAIN drain;
        struct msg_QUARANTINE quarantine;
    } m;

    switch (f->type) {
    case WIRE_LOAD:
        if ((st = msg_LOAD_read(f->payload, &m.load, err)) == AIKI_OK)
            load(c, &m.load);
        return st;
    case WIRE_ASSIGN:
        if ((st = msg_ASSIGN_read(f->payload, &m.assign, err)) == AIKI_OK) {
            learn_time(c, m.assign.now_ms);
            run_assign(c, &m.assign);
        }
        return st;
    case WIRE_CLAIMED:
        if ((st = msg_CLAIMED_read(f->payload, &m.claimed, err)) == AIKI_OK)
            on_claimed(c, &m.claimed);
        return st;
    case WIRE_ACK:
        if ((st = msg_ACK_read(f->payload, &m.ack, err)) == AIKI_OK)
            on_ack(c, &m.ack);
        return st;
    case WIRE_NOTIFY:
        if ((st = msg_NOTIFY_read(f->payload, &m.notify, err)) == AIKI_OK)
            on_notify(c, &m.notify);
        return st;
    case WIRE_DROP:
        if ((st = msg_DROP_read(f->payload, &m.drop, err)) == AIKI_OK)
            on_drop(c, &m.drop.run);
        return st;
    case WIRE_QUARANTINE:
        if ((st = msg_QUARANTINE_read(f->payload, &m.quarantine, err)) == AIKI_OK)
            plugin_quarantine(&c->plugin, m.quarantine.name, m.quarantine.workflow, m.quarantine.on);
        return st;
    case WIRE_DRAIN:
        if ((st = msg_DRAIN_read(f->payload, &m.drain, err)) == AIKI_OK)
            drain(c, &m.drain);
        return st;
    default:
        return error_set(err, AIKI_UNSUPPORTED, "a child does not take %s frames (type %u)",
                         wire_type_name(f->type), f->type);
    }
}

static void on_frame(struct conn *conn, const struct frame *f, void *arg)
{
    struct child *c = arg;
    aiki_error err;

    if (dispatch(c, f, &err) == AIKI_OK)
        return;
    log_error("child", "bad frame from the broker, ending: %s", err.message);
    c->exit_code = EXIT_BROKEN;
    conn_close(conn);
}

/* Task threads may be anywhere: leave without running anybody's exit handlers. */
static void on_closed(struct conn *conn, aiki_status status, const char *why, void *arg)
{
    const struct child *c = arg;
    (void)conn;

    log_debug("child", "connection to the broker ended: %s", why);
    _exit(status == AIKI_INTERNAL ? CHILD_EXIT_CUT_OFF : c->exit_code);
}

/* ---- start ------------------------------------------------------------------------------- */

/* Where this thread was hit. */
static _Thread_local uintptr_t hit_instruction;

/* Who reads it is the broker, once this process is gone. [signal handler] */
static void *on_hit(const struct fiber_crash *crash)
{
    bool no_memory = errno == ENOMEM;
    struct blame_death *d = blame_dying(crash->signal);

    hit_instruction = crash->instruction;
    if (d == NULL)
        return NULL;
    d->overflow = crash->overflow;
    d->has_fault_address = crash->has_address;
    d->fault_address = crash->address;
    d->refused = crash->refused;
    d->no_memory = no_memory;
    return d;
}

static void on_told(void *hit)
{
    struct blame_death *d = hit;
    aiki_writer w;

    if (d != NULL && plugin_code != NULL) {
        aiki_writer_init_fixed(&w, d->stack, sizeof(d->stack));
        stack_write_crash(&w, plugin_code, hit_instruction);
        if (w.status == AIKI_OK)
            atomic_store(&d->stack_bytes, (unsigned)w.size_bytes);
    }
    blame_settle(d);
}

static const struct fiber_crash_callbacks on_crash = {.on_hit = on_hit, .on_told = on_told};

static bool prepare(struct child *c, int fd)
{
    static const struct conn_callbacks callbacks = {.on_frame = on_frame, .on_closed = on_closed};

    c->loop = uv_default_loop();
    c->conns = c->loop != NULL ? conn_loop_create(c->loop) : NULL;
    c->fibers = fiber_pool_create(FIBER_WARM_MAX);
    stack_prepare();
    fiber_on_crash(&on_crash);
    if (c->conns == NULL || c->fibers == NULL || fiber_watch_crashes() != AIKI_OK)
        return false;
    blame_thread();
    (void)uv_timer_init(c->loop, &c->grace); /* always 0, as is the next */
    (void)uv_timer_init(c->loop, &c->stuck);
    run_turns_init(c);
    c->conn = conn_open_fd(c->conns, fd, &callbacks, c);
    return c->conn != NULL;
}

int child_main(int fd)
{
    struct child *c = calloc(1, sizeof(*c));

    /* A child in the middle of plugin code would not see the end of its socket. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* what is missing then is only haste */
    /* The broker decides when a child ends; a Ctrl-C or a stop of the service reaches both. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    hash_setup();
    if (c == NULL || !prepare(c, fd)) {
        log_error("child", "cannot start: out of memory");
        free(c);
        return EXIT_BROKEN;
    }
    (void)uv_run(c->loop, UV_RUN_DEFAULT); /* ends in on_closed */
    return 0;
}
