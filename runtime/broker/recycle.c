/* recycle.c - a process that is worn is replaced by a new one of the same build, between tasks.
 *
 *   SERVING, worn --> SPARE starts beside it --READY--> SPARE is SERVING; the worn one drains
 *                        | does not load, worn one goes: the spare ends, all is as before
 *
 * The worn one begins no other task: its runs are given back between two of them, or after drain_ms,
 * uncharged. The server sees no change, the build is the same. Kept builds have a process only as long as runs need
 * it: a worn one of those is told to end, and the next is started for who waits. Limits: RECYCLE_MS_MIN
 * between two, and longer when a new process is as worn at once.
 */
#include "broker/builds_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "wire/message.h"

void recycle_stop(struct build *b)
{
    struct build *spare = b->wear.spare;
    if (b->wear.spare_of != NULL)
        b->wear.spare_of->wear.spare = NULL;
    b->wear.spare_of = b->wear.spare = NULL;
    if (spare == NULL)
        return;
    spare->wear.spare_of = NULL;
    build_drain(spare);
}

static void send_usage(const struct build *b, struct conn *c, const struct usage *u)
{
    bool loaded = b->proc != NULL && b->ready;
    conn_send(c, USAGE, 0, .build = hash_view(b->hash),
              .pid = loaded ? (uint64_t)proc_pid(b->proc) : 0, .memory_bytes = u->memory_bytes,
              .files = u->files, .threads = u->threads, .cpu_ms = (uint64_t)(u->cpu_ns / 1000000),
              .replaced = b->wear.processes, .why = view_of(b->wear.why),
              .since_ms = loaded ? clock_mono_ms() - b->demand.ready_mono_ms : 0,
              .loads = b->demand.loads, .load_ms = b->demand.load_ms);
}

/* The last report stays until there is news: an idle process says nothing. */
void recycle_tell(struct build *b, const struct usage *u)
{
    struct conn *c = session_conn(b->owner->session);
    int64_t now_ms = clock_mono_ms();
    bool known = b->registered && (b->state == SERVING || b->state == KEPT);
    bool same = b->wear.told_mono_ms != 0 && u->cpu_ns == b->wear.told.cpu_ns;
    if (c == NULL || !known || same || now_ms - b->wear.told_mono_ms < USAGE_TELL_MS)
        return;
    b->wear.told_mono_ms = now_ms;
    b->wear.told = *u;
    send_usage(b, c, u);
}

void recycle_tell_now(struct build *b)
{
    const struct usage none = {.memory_bytes = 0};
    struct conn *c = session_conn(b->owner->session);
    b->wear.told_mono_ms = 0; /* the first look at a process is news, too */
    if (c != NULL && b->registered)
        send_usage(b, c, &none);
}

static void start_spare(struct build *b)
{
    struct builds *bs = b->owner;
    char copy[CACHE_PATH_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    struct build *spare = NULL;
    build_mend_copy(b);
    if (cache_link(bs->cache, b->copy, b->hash, copy, &err) == AIKI_OK)
        spare = build_create(bs, b->file_name, b->hash, copy, b->needs);
    if (spare == NULL) {
        log_error("child", "no new process for %s: %s", b->label, err.message);
        return;
    }
    spare->state = SPARE;
    spare->signature = b->signature;
    spare->wear.spare_of = b;
    b->wear.spare = spare;
    build_start_process(spare);
    fault_point(runtime_spare_started);
}

void recycle_worn(struct build *b, const struct limit_hit *hit)
{
    int64_t now_ms = clock_mono_ms();
    if (b->wear.worn_mono_ms == 0)
        b->wear.worn_mono_ms = now_ms;
    if (b->owner->draining || b->wear.spare != NULL || now_ms < b->wear.next_mono_ms)
        return;
    bool serves = b->state == SERVING && b->file != NULL && b->demand.state == AWAKE;
    if (!serves && (b->state != KEPT || b->kept.ending))
        return; /* on its way out, or in */
    log_info("child", "%s is worn: %s; %s", b->label, limit_text(hit, b->wear.why),
             serves ? "another process takes its place" : "its process ends, the next is started for who waits");
    b->wear.next_mono_ms = now_ms + RECYCLE_MS_MIN; /* should the new one not load */
    if (serves)
        start_spare(b);
    else
        kept_end_process(b, b->owner->options.drain_ms);
}

/* All that is known of the build goes on with the new process. */
static aiki_status inherit(struct build *to, struct build *from, aiki_error *err)
{
    aiki_status st = build_take_descriptor(to, aiki_writer_view(&from->descriptor), err);
    if (st != AIKI_OK)
        return st;
    aiki_mp_raw(&to->gate_report, from->gate_report.data, from->gate_report.size_bytes);
    to->rejected = from->rejected;
    to->registered = from->registered;
    from->registered = false;
    to->crashes = from->crashes;
    to->demand.used_ms = from->demand.used_ms;
    to->demand.loads = from->demand.loads;
    to->demand.load_ms = from->demand.load_ms;
    return AIKI_OK;
}

static void pace(struct build *to, const struct build *from)
{
    bool quick = from->wear.worn_mono_ms - from->wear.since_mono_ms < RECYCLE_QUICK_MS;
    int64_t pause_ms = quick ? 2 * from->wear.pause_ms : RECYCLE_MS_MIN;
    pause_ms = pause_ms < RECYCLE_MS_MIN ? RECYCLE_MS_MIN : pause_ms;
    pause_ms = pause_ms > RECYCLE_MS_MAX ? RECYCLE_MS_MAX : pause_ms;
    to->wear.pause_ms = pause_ms;
    to->wear.next_mono_ms = clock_mono_ms() + pause_ms;
    to->wear.processes = from->wear.processes + 1;
    memcpy(to->wear.why, from->wear.why, sizeof(to->wear.why));
    if (pause_ms > RECYCLE_MS_MIN)
        log_warn("child", "%s was worn within %d ms: a new process does not help for long; raise the "
                 "limit. The next is replaced in %" PRId64 " ms at the earliest",
                 to->label, RECYCLE_QUICK_MS, pause_ms);
}

static void take_place(struct build *spare, struct build *b)
{
    struct builds *bs = b->owner;
    bool asks = b->correlation != 0; /* a REGISTER is under way: its answer goes to nobody */
    if (asks)
        session_forget(bs->session, b->correlation);
    b->correlation = 0;
    b->wear.spare = spare->wear.spare_of = NULL;
    spare->state = SERVING;
    spare->file = b->file;
    b->file->serving = spare;
    b->file = NULL;
    pace(spare, b);
    bs->cb.on_replaced(b, spare, bs->arg);
    fault_point(runtime_spare_serves);
    build_drain(b);
    bs->cb.on_routes(bs->arg);
    if (asks)
        build_register(spare);
}

void recycle_ready(struct build *spare)
{
    struct build *b = spare->wear.spare_of;
    aiki_error err = {.struct_size = sizeof(err)};
    if (b == NULL || inherit(spare, b, &err) != AIKI_OK) {
        build_drain(spare); /* recycle_stop has said so, or there is no memory */
        return;
    }
    take_place(spare, b);
}

void recycle_gone(struct build *spare, const char *text)
{
    log_warn("child", "%s: the process that was to replace a worn one %s", spare->label, text);
    build_bury(spare);
}
