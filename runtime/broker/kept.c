/* kept.c - builds that another took the place of, kept for the open runs they executed last.
 *
 *   superseded, file removed                      nobody is with it
 *   ------------------------> KEPT, no process <------------------- KEPT, serving
 *                              |  |    +----- a run needs it ------------^
 *                              |  +-- its workflow version is offered no more: it serves that
 *                              v
 *                the server knows no open run that it executed last: gone
 *
 * The process that served until then drains by itself, as a build of its own with the same hash. A
 * run comes here when the newest build does not fit it (moves.h), or when that does not offer its
 * workflow version.
 */
#include "broker/builds_impl.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/message.h"

static bool has_hash(const struct build *b, const uint8_t *hash)
{
    return memcmp(b->hash, hash, BUILD_BYTES) == 0;
}

struct build *kept_find(const struct builds *bs, const uint8_t *hash)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        if (b->state == KEPT && has_hash(b, hash))
            return b;
    return NULL;
}

/* ---- what the server is told and asked ----------------------------------------------------- */

/* False: it serves as well, and that is what the server is to know. */
static bool role_of(const struct build *b, uint64_t *ret)
{
    uint64_t role = BUILD_KEPT | BUILD_IDLE;
    for (const struct build *o = b->owner->all; o != NULL; o = o->next) {
        bool serves = (o->state == REGISTERING || o->state == SERVING) && o->file != NULL;
        if (serves && strcmp(o->file_name, b->file_name) == 0)
            role &= ~(uint64_t)BUILD_IDLE;
        if (o == b || o->solo || !has_hash(o, b->hash))
            continue;
        if (serves)
            return false;
        if (o->state == DRAINING || o->state == SERVING) /* which is about to drain */
            role |= BUILD_DRAINING;
    }
    *ret = role;
    return true;
}

void kept_register(struct build *b)
{
    uint64_t role;
    struct conn *c = session_conn(b->owner->session);
    if (!role_of(b, &role) || c == NULL || b->descriptor.size_bytes == 0)
        return;
    conn_send(c, REGISTER, 0, .build = hash_view(b->hash), .file = view_of(b->file_name),
              .descriptor = aiki_writer_view(&b->descriptor), .role = role,
              .since_ms = clock_mono_ms() - b->since_mono_ms);
    b->registered = true;
    b->kept.role = role;
    recycle_tell_now(b);
}

/* With every deploy there is one more of them, and for the others seldom anything new. */
void kept_file_changed(struct builds *bs, const char *file_name)
{
    uint64_t role;
    for (struct build *b = bs->all; b != NULL; b = b->next)
        if (b->state == KEPT && strcmp(b->file_name, file_name) == 0 &&
            (!b->registered || (role_of(b, &role) && role != b->kept.role)))
            kept_register(b);
}

/* "open" of a builds.get document. */
static bool read_open(aiki_view document, uint64_t *ret)
{
    aiki_reader r;
    bool found = false;
    aiki_reader_init(&r, document);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        if (!view_is(name, "open")) {
            (void)aiki_mp_skip(&r); /* its failure ends the loop */
            continue;
        }
        *ret = aiki_mp_read_uint(&r);
        found = r.status == AIKI_OK;
    }
    return found;
}

/* What a file was before what it is now: until that has shown what it is worth, a run that it cannot execute may
 * go on here. */
static bool is_previous(const struct build *b)
{
    int64_t age_ms = clock_mono_ms() - b->since_mono_ms;
    bool serves = false;
    if ((uint64_t)age_ms >= b->owner->options.keep_previous_ms)
        return false;
    for (const struct build *o = b->owner->all; o != NULL; o = o->next) {
        if (strcmp(o->file_name, b->file_name) != 0 || o == b)
            continue;
        if (o->state == KEPT && o->since_mono_ms > b->since_mono_ms)
            return false;
        serves |= (o->state == SERVING || o->state == REGISTERING) && !has_hash(o, b->hash);
    }
    return serves;
}

static void on_answer(struct request *request, const struct frame *f)
{
    struct build *b = container_of(request, struct build, kept.question);
    struct msg_DOCUMENT m;
    b->kept.correlation = 0;
    b->kept.ask_at_mono_ms = clock_mono_ms() + b->kept.pause_ms;
    b->kept.pause_ms *= 2;
    if (b->kept.pause_ms > KEPT_ASK_MS_MAX)
        b->kept.pause_ms = KEPT_ASK_MS_MAX;
    if (f == NULL || f->type != WIRE_DOCUMENT ||
        msg_DOCUMENT_read(f->payload, &m, NULL) != AIKI_OK || !read_open(m.value, &b->kept.open))
        return; /* asked again; until then it stays */
    b->kept.answered = true;
    if (b->kept.open == 0 && b->state == KEPT && !b->owner->cb.is_used(b, b->owner->arg) && !is_previous(b)) {
        log_info("intake", "plugin %s: no open run needs this build any more", b->label);
        keep_remove(b->owner->keep, b->hash);
        kept_drop(b);
    }
}

static void ask(struct build *b)
{
    AUTO(buf) aiki_writer args = {.data = NULL};
    char hex[BUILD_HEX_SIZE];
    struct conn *c = session_conn(b->owner->session);
    b->kept.question.on_answer = on_answer;
    b->kept.correlation = c != NULL ? session_expect(b->owner->session, &b->kept.question) : 0;
    if (b->kept.correlation == 0)
        return;
    build_hex(b->hash, hex);
    buf_init(&args);
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "build");
    aiki_mp_str(&args, hex);
    conn_send(c, QUERY, b->kept.correlation, .what = view_of("builds.get"),
              .args = aiki_writer_view(&args));
}

void kept_session_up(struct builds *bs)
{
    for (struct build *b = bs->all; b != NULL; b = b->next) {
        if (b->state != KEPT)
            continue;
        kept_register(b);
        b->kept.ask_at_mono_ms = 0;
        b->kept.pause_ms = KEPT_LOOK_MS;
    }
}

/* ---- looking after them -------------------------------------------------------------------- */

void kept_end_process(struct build *b, uint64_t grace_ms)
{
    if (build_conn(b) == NULL)
        return;
    b->kept.ending = true;
    build_end_process(b, grace_ms);
}

static void look_at(struct build *b)
{
    bool used = b->owner->cb.is_used(b, b->owner->arg);
    if (!used && b->kept.idle && b->ready && !b->kept.ending)
        kept_end_process(b, 0); /* nobody was there for the time between two looks */
    b->kept.idle = !used;
    if (b->kept.correlation == 0 && b->proc == NULL && !used &&
        clock_mono_ms() >= b->kept.ask_at_mono_ms)
        ask(b);
}

static void on_look(uv_timer_t *t)
{
    struct builds *bs = container_of(t, struct builds, look);
    bool any = false;
    for (struct build *b = bs->all, *next; b != NULL; b = next) {
        next = b->next;
        if (b->state != KEPT)
            continue;
        any = true;
        look_at(b);
    }
    if (!any)
        uv_timer_stop(t);
}

/* ---- coming and going ---------------------------------------------------------------------- */

static void drop_too_many(struct builds *bs, const char *file_name)
{
    unsigned count = 0;
    struct build *oldest = NULL;
    for (struct build *b = bs->all; b != NULL; b = b->next) {
        if (b->state != KEPT || strcmp(b->file_name, file_name) != 0)
            continue;
        count++;
        if (oldest == NULL || b->since_mono_ms < oldest->since_mono_ms)
            oldest = b;
    }
    if (count <= KEPT_PER_FILE_MAX)
        return;
    if (!oldest->kept.answered || oldest->kept.open > 0)
        log_warn("intake",
                 "plugin %s is kept no longer: over KEPT_PER_FILE_MAX (%d); open runs that only it "
                 "fits will be blocked until it is served again",
                 oldest->label, KEPT_PER_FILE_MAX);
    keep_remove(bs->keep, oldest->hash);
    kept_drop(oldest);
}

static void start_looking(struct builds *bs)
{
    if (!uv_is_active((uv_handle_t *)&bs->look))
        uv_timer_start(&bs->look, on_look, KEPT_LOOK_MS, KEPT_LOOK_MS);
}

void kept_note(struct build *b)
{
    AUTO(buf) aiki_writer sandbox;
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&sandbox);
    build_write_sandbox(b, &sandbox);
    if (b->answer.descriptor.size_bytes > 0 && !b->noted)
        keep_write_lines(b->owner->keep, b->hash, b->copy);
    if (b->answer.descriptor.size_bytes > 0 && !b->noted &&
        keep_write_note(b->owner->keep, b->owner->options.executable, b->hash, aiki_writer_view(&sandbox),
                        &b->answer, &err) != AIKI_OK)
        log_info("intake", "plugin %s: the next start of this runtime will probe it again: %s", b->label,
                 err.message);
    probe_answer_deinit(&b->answer);
    b->answer.descriptor = b->answer.entries = (aiki_view){NULL, 0};
}

void kept_begin(struct build *b)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (keep_add(b->owner->keep, b->hash, b->file_name, b->copy, &b->signature, &err) == AIKI_OK)
        kept_note(b);
    else
        log_warn("intake", "plugin %s: a restart of this runtime will not have it: %s", b->label,
                 err.message);
}

void kept_add(struct build *before)
{
    struct builds *bs = before->owner;
    char copy[CACHE_PATH_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    struct build *b = NULL;
    build_mend_copy(before);
    if (cache_link(bs->cache, before->copy, before->hash, copy, &err) == AIKI_OK)
        b = build_create(bs, before->file_name, before->hash, copy, before->needs);
    aiki_view descriptor = aiki_writer_view(&before->descriptor);
    if (b == NULL || build_take_descriptor(b, descriptor, &err) != AIKI_OK) {
        log_error("intake", "plugin %s cannot be kept: %s", before->label,
                  err.message);
        if (b != NULL)
            build_bury(b);
        return;
    }
    b->state = KEPT;
    b->signature = before->signature;
    b->since_mono_ms = clock_mono_ms();
    keep_touch(bs->keep, b->hash);
    b->kept.pause_ms = KEPT_LOOK_MS;
    b->kept.ask_at_mono_ms = b->since_mono_ms + KEPT_LOOK_MS;
    kept_file_changed(bs, b->file_name);
    drop_too_many(bs, b->file_name);
    start_looking(bs);
}

/* What a build offers that an earlier process kept. False: it cannot be read, and b is dropped. */
static bool learn(struct build *b, aiki_view descriptor)
{
    struct builds *bs = b->owner;
    aiki_error err = {.struct_size = sizeof(err)};
    bool known = build_take_descriptor(b, descriptor, &err) == AIKI_OK;
    if (known) {
        log_info("intake", "plugin %s is kept: for its open runs, or to go back to", b->label);
        kept_note(b);
        kept_register(b);
        bs->cb.on_routes(bs->arg);
    } else {
        log_error("intake", "the kept build %s is not used: %s", b->label, err.message);
        kept_drop(b);
    }
    bs->cb.on_ready(NULL, bs->arg);
    return known;
}

void kept_adopt(struct build *b, int64_t since_mono_ms)
{
    b->state = KEPT;
    b->since_mono_ms = since_mono_ms;
    b->kept.pause_ms = KEPT_LOOK_MS;
    drop_too_many(b->owner, b->file_name);
    start_looking(b->owner);
    if (b->answer.descriptor.size_bytes == 0)
        build_start_process(b);
    else
        learn(b, b->answer.descriptor);
}

void kept_drop(struct build *b)
{
    struct builds *bs = b->owner;
    build_unregister(b);
    b->state = DRAINING; /* so that nobody finds it */
    bs->cb.on_dropped(b, bs->arg);
    bs->cb.on_routes(bs->arg);
    b->state = KEPT;
    build_drain(b);
}

void kept_ready(struct build *b, aiki_view descriptor)
{
    b->load_tries = 0;
    recycle_tell_now(b);
    if (b->descriptor.size_bytes > 0 || learn(b, descriptor))
        b->owner->cb.on_ready(b, b->owner->arg);
}

void kept_gone(struct build *b, const struct proc_end *end, const char *text)
{
    bool ended = b->kept.ending, wanted = b->kept.wanted;
    b->kept.ending = b->kept.wanted = b->kept.idle = false;
    uv_timer_stop(&b->timer);
    recycle_tell_now(b);
    if (!ended && !end->was_ready && ++b->load_tries >= BUILD_LOAD_TRIES) {
        log_error("child", "%s %s while loading; it is kept no longer", b->label, text);
        struct builds *bs = b->owner;
        kept_drop(b);
        bs->cb.on_ready(NULL, bs->arg);
        return;
    }
    if (!ended) {
        b->crashes++;
        log_error("child", "%s %s; its runs are given back", b->label, text);
        wanted = !end->was_ready || b->owner->cb.is_used(b, b->owner->arg);
    }
    if (wanted)
        build_restart(b);
}

/* ---- who needs them ------------------------------------------------------------------------ */

bool build_wake(struct build *b)
{
    if (b->state == SERVING)
        return demand_wake(b);
    if (b->state != KEPT)
        return false;
    b->kept.wanted = b->kept.ending;
    if (b->proc == NULL && !uv_is_active((uv_handle_t *)&b->timer))
        build_restart(b);
    return true;
}

static bool is_tried(const struct build *b, const struct build_wanted *w)
{
    for (unsigned i = 0; i < w->tried_count; i++)
        if (has_hash(b, w->tried[i]))
            return true;
    return false;
}

struct build *builds_find_other(struct builds *bs, const struct build_wanted *w, bool *ret_later)
{
    struct build *best = NULL;
    *ret_later = bs->adopting > 0 || !bs->adopted;
    if (w->tried_count == BUILD_TRIES_MAX)
        return NULL;
    for (struct build *b = bs->all; b != NULL; b = b->next) {
        if (b->state != KEPT || is_tried(b, w))
            continue;
        bool loaded = b->descriptor.size_bytes > 0;
        if (has_hash(b, w->last) && loaded)
            return b;
        *ret_later |= !loaded;
        if (!loaded || (w->workflow.size_bytes > 0 && !build_offers(b, w->workflow, w->version)))
            continue;
        if (best == NULL || b->since_mono_ms > best->since_mono_ms)
            best = b;
    }
    return *ret_later ? NULL : best;
}

/* Its file is there, in a newer build that offers the version no more; the newest of those kept. */
bool kept_serves(const struct build *b, const struct gate_route *route)
{
    bool file_serves = false;
    for (const struct build *o = b->owner->all; o != NULL; o = o->next) {
        bool offers = build_offers(o, route->workflow, route->version);
        bool same_file = strcmp(o->file_name, b->file_name) == 0;
        if (offers && (o->state == SERVING || o->state == REGISTERING))
            return false;
        if (offers && o->state == KEPT && o->since_mono_ms > b->since_mono_ms)
            return false;
        file_serves |= same_file && o->state == SERVING;
    }
    return file_serves;
}
