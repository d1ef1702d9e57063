/* api.c - the table workflow code calls. Every function here runs on the run's fiber. [fiber]
 *
 * Suspending is fiber_yield, which returns when run_pump found that the wait is over. A run that
 * is dropped never returns from it, so nothing here holds anything across it but the run's memory.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "child/fit.h"
#include "child/stack.h"
#include "wire/error.h"
#include "wire/keys.h"
#include "wire/version.h"

/* Names of our own side values; no name a plugin may use begins with '$'. */
#define SIDE_NOW "$now"
#define SIDE_RANDOM "$random"
#define SIDE_UUID "$uuid"

/* The latest end of a sleep, in the year 2243: sums with clock times cannot overflow. */
#define SLEEP_UNTIL_MS_MAX AIKI_DAYS_MS(100000)

static struct run *run_of(const aiki_run *handle)
{
    return container_of(handle, struct run, handle);
}

/* A task that kept the handle, or a thread of the plugin's own, must not get into a run. */
static bool is_running(const struct run *r)
{
    return r->fiber != NULL && fiber_current() == r->fiber;
}

static aiki_status check_caller(const struct run *r, aiki_error *err)
{
    if (!is_running(r))
        return error_code(err, AIKI_INVALID, "NOT_IN_WORKFLOW",
                          "a run was used outside of its workflow function; tasks use their call");
    if (r->capturing)
        return error_code(err, AIKI_INVALID, "NOT_IN_WORKFLOW",
                          "the function of a side value must not take steps of the run");
    return AIKI_OK;
}

/* ---- memory and outcome ------------------------------------------------------------------ */

static const char *api_id(const aiki_run *handle)
{
    return run_of(handle)->id_text;
}

static void *api_alloc(aiki_run *handle, uint64_t size_bytes)
{
    struct run *r = run_of(handle);

    if (!is_running(r) || size_bytes > RUN_BYTES_MAX - r->user_bytes)
        return NULL;
    void *p = run_alloc(r, size_bytes);
    if (p != NULL)
        r->user_bytes += size_bytes;
    return p;
}

static aiki_status api_output(aiki_run *handle, aiki_view value)
{
    struct run *r = run_of(handle);
    bool ok;

    if (!is_running(r))
        return AIKI_INVALID;
    if (value.size_bytes > PAYLOAD_BYTES_MAX) /* the error in case the code just returns */
        return error_code(&r->error, AIKI_LIMIT, "PAYLOAD_TOO_LARGE",
                          "output of workflow %s has %llu bytes, PAYLOAD_BYTES_MAX is %d",
                          r->workflow_name, (unsigned long long)value.size_bytes,
                          PAYLOAD_BYTES_MAX);
    if (aiki_mp_check(value) != AIKI_OK)
        return AIKI_INVALID;
    aiki_view copy = run_copy(r, value, &ok);
    if (!ok)
        return AIKI_NOMEM;
    r->output = copy;
    return AIKI_OK;
}

static aiki_status api_fail(aiki_run *handle, const aiki_error *error)
{
    struct run *r = run_of(handle);

    if (error != NULL && is_running(r)) {
        aiki_error e = *error;
        e.status = e.status == AIKI_OK ? AIKI_FAILED : e.status;
        aiki_writer map = run_writer(r), stack = run_writer(r);
        stack_write(&stack, (void (*)(void))r->workflow->def.fn);
        error_write_stack(&map, &e, aiki_writer_view(&stack));
        r->fail_error = map.status == AIKI_OK ? aiki_writer_view(&map) : (aiki_view){NULL, 0};
    }
    return AIKI_FAILED;
}

/* ---- starting steps ---------------------------------------------------------------------- */

static aiki_status check_name(const char *name, const char *what, aiki_view *ret, aiki_error *err)
{
    *ret = (aiki_view){(const uint8_t *)name, name != NULL ? strnlen(name, NAME_BYTES_MAX + 1) : 0};
    if (name_is_valid(*ret))
        return AIKI_OK;
    return error_set(err, AIKI_INVALID, "%s name \"%.*s\" is not 1 to %d of [a-zA-Z0-9._-]", what,
                     (int)ret->size_bytes, name != NULL ? name : "", NAME_BYTES_MAX);
}

static aiki_status check_input(aiki_view *input, const char *name, aiki_error *err)
{
    *input = value_or_nil(*input);
    if (input->size_bytes > PAYLOAD_BYTES_MAX)
        return error_code(err, AIKI_LIMIT, "PAYLOAD_TOO_LARGE",
                          "input of %s has %llu bytes, PAYLOAD_BYTES_MAX is %d", name,
                          (unsigned long long)input->size_bytes, PAYLOAD_BYTES_MAX);
    if (aiki_mp_check(*input) != AIKI_OK)
        return error_set(err, AIKI_INVALID, "input of %s is not one msgpack value", name);
    return AIKI_OK;
}

static aiki_status call(struct run *r, const struct step_call *c, aiki_future *ret_future,
                        aiki_error *err)
{
    struct step *s;
    aiki_status st = check_caller(r, err);

    if (st == AIKI_OK)
        st = replay_call(&r->replay, c, &s, err);
    if (st != AIKI_OK)
        return st;
    while (!fit_recorded(r, s) || replay_undefined(&r->replay) != NULL || run_calls_ahead(r, s))
        fiber_yield(); /* for ever: the code must not see it */
    *ret_future = s->future;
    return st;
}

static bool changes_policy(const aiki_task_options *o)
{
    return o->retry != NULL || o->flags != 0 || o->start_to_close_ms != 0 ||
           o->schedule_to_start_ms != 0 || o->schedule_to_close_ms != 0 || o->heartbeat_ms != 0 ||
           o->crashes_max != 0;
}

static bool override_ms(int64_t *timeout_ms, int64_t call_ms)
{
    if (call_ms != 0)
        *timeout_ms = call_ms;
    return call_ms >= 0;
}

/* A policy of its own for a call whose options say something. */
static aiki_status own_policy(struct run *r, const char *name, const aiki_task_options *o,
                              const struct task_policy **policy, aiki_error *err)
{
    struct task_policy *own = run_alloc(r, sizeof(*own));
    aiki_writer lists = run_writer(r);
    aiki_status st = AIKI_OK;

    if (own == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for the options of a call of %s", name);
    if (*policy != NULL)
        *own = **policy;
    if ((o->flags & ~(uint32_t)AIKI_TASK_AT_MOST_ONCE) != 0)
        return error_set(err, AIKI_INVALID, "a call of %s has flags 0x%x, of which only "
                         "AIKI_TASK_AT_MOST_ONCE is known", name, o->flags);
    own->at_most_once = own->at_most_once || o->flags != 0;
    if (!override_ms(&own->start_to_close_ms, o->start_to_close_ms) ||
        !override_ms(&own->schedule_to_start_ms, o->schedule_to_start_ms) ||
        !override_ms(&own->schedule_to_close_ms, o->schedule_to_close_ms) ||
        !override_ms(&own->heartbeat_ms, o->heartbeat_ms))
        return error_code(err, AIKI_INVALID, "BAD_TIMEOUT", "a call of %s has a negative timeout",
                          name);
    if (o->crashes_max > CRASHES_MAX || o->reserved != 0)
        return error_set(err, AIKI_INVALID, "a call of %s allows %u crashes, over CRASHES_MAX (%d)",
                         name, o->crashes_max, CRASHES_MAX);
    if (o->crashes_max != 0)
        own->crashes_max = o->crashes_max;
    if (o->retry != NULL)
        st = retry_take(&own->retry, o->retry, &lists, name, err);
    if (st != AIKI_OK)
        return st;
    retry_fill(&own->retry);
    *policy = own;
    return AIKI_OK;
}

static aiki_status take_key(const char *name, const char *key, struct step_call *c, aiki_error *err)
{
    if (key == NULL)
        return AIKI_OK;
    c->key = (aiki_view){(const uint8_t *)key, strnlen(key, CALL_KEY_BYTES_MAX + 1)};
    c->once = true;
    if (c->key.size_bytes <= CALL_KEY_BYTES_MAX && aiki_utf8_length(c->key) > 0)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_KEY",
                      "the key of a call of %s is not UTF-8 of 1 to %d bytes", name,
                      CALL_KEY_BYTES_MAX);
}

/* Options of an older header end earlier; those of a later one may say what nobody here knows. */
static aiki_status take_options(struct run *r, const char *name, const aiki_task_options *options,
                                struct step_call *c, aiki_error *err)
{
    aiki_task_options known = {0};

    if (options == NULL)
        return AIKI_OK;
    memcpy(&known, options,
           options->struct_size < sizeof(known) ? options->struct_size : sizeof(known));
    aiki_status st = take_key(name, known.key, c, err);
    if (st == AIKI_OK && changes_policy(&known))
        st = own_policy(r, name, &known, &c->policy, err);
    return st;
}

static aiki_status api_task_start(aiki_run *handle, const char *name, aiki_view input,
                                  const aiki_task_options *options, aiki_future *ret_future,
                                  aiki_error *err)
{
    struct run *r = run_of(handle);
    struct step_call c = {.kind = STEP_TASK, .input = input};
    aiki_status st = check_name(name, "task", &c.name, err);

    if (st == AIKI_OK)
        st = check_input(&c.input, name, err);
    if (st != AIKI_OK)
        return st;
    const struct plugin_task *task = plugin_task_find(&r->child->plugin, name);
    c.barred = task != NULL && task->quarantined;
    c.undefined = task == NULL; /* another build may have it; a result on record is as good as ever */
    c.task = task;
    c.policy = task != NULL ? &task->policy : NULL;
    st = check_caller(r, err);
    if (st == AIKI_OK)
        st = take_options(r, name, options, &c, err);
    return st == AIKI_OK ? call(r, &c, ret_future, err) : st;
}

static aiki_status api_sleep_start(aiki_run *handle, const char *name, int64_t duration_ms,
                                   aiki_future *ret_future, aiki_error *err)
{
    struct step_call c = {.kind = STEP_SLEEP, .duration_ms = duration_ms < 0 ? 0 : duration_ms};
    aiki_status st = check_name(name, "sleep", &c.name, err);

    return st == AIKI_OK ? call(run_of(handle), &c, ret_future, err) : st;
}

static aiki_status api_signal_start_as(aiki_run *handle, const char *name, int64_t timeout_ms,
                                       const aiki_record_def *record, aiki_future *ret_future,
                                       aiki_error *err)
{
    struct run *r = run_of(handle);
    struct step_call c = {.kind = STEP_SIGNAL, .duration_ms = timeout_ms, .expects = record};
    aiki_status st = check_name(name, "signal", &c.name, err);

    if (timeout_ms < AIKI_DEFAULT_MS) /* what is left of a time that has passed is not for ever */
        c.duration_ms = 0;
    if (timeout_ms == AIKI_DEFAULT_MS) {
        c.duration_ms = r->wait_timeout_ms > 0 ? r->wait_timeout_ms : AIKI_FOREVER_MS;
        c.duration_is_setting = r->wait_is_setting;
    }
    return st == AIKI_OK ? call(r, &c, ret_future, err) : st;
}

static aiki_status api_signal_start(aiki_run *handle, const char *name, int64_t timeout_ms,
                                    aiki_future *ret_future, aiki_error *err)
{
    return api_signal_start_as(handle, name, timeout_ms, NULL, ret_future, err);
}

static aiki_status api_sleep_until_start(aiki_run *handle, const char *name, int64_t at_ms,
                                         aiki_future *ret_future, aiki_error *err)
{
    struct step_call c = {.kind = STEP_SLEEP, .until = true};
    aiki_status st = check_name(name, "sleep", &c.name, err);

    c.until_ms = at_ms < 1 ? 1 : at_ms > SLEEP_UNTIL_MS_MAX ? SLEEP_UNTIL_MS_MAX : at_ms;
    return st == AIKI_OK ? call(run_of(handle), &c, ret_future, err) : st;
}

/* Text from the plugin that the server will look at more closely. */
static aiki_status check_text(const char *text, const char *what, size_t bytes_max, aiki_view *ret,
                              aiki_error *err)
{
    *ret = (aiki_view){(const uint8_t *)text, text != NULL ? strnlen(text, bytes_max + 1) : 0};
    if (ret->size_bytes <= bytes_max && utf8_is_valid(*ret))
        return AIKI_OK;
    return error_set(err, AIKI_INVALID, "the %s of a child is not UTF-8 text of at most %d bytes",
                     what, (int)bytes_max);
}

static aiki_status read_child_options(const aiki_child_options *from, struct child_options *ret,
                                      aiki_error *err)
{
    aiki_child_options known = {0};

    if (from != NULL)
        memcpy(&known, from, from->struct_size < sizeof(known) ? from->struct_size : sizeof(known));
    if (known.close_policy < AIKI_CLOSE_CANCEL || known.close_policy > AIKI_CLOSE_ABANDON)
        return error_set(err, AIKI_INVALID, "close policy %d of a child is none of AIKI_CLOSE_*",
                         known.close_policy);
    if (known.schedule_to_start_ms < 0)
        return error_set(err, AIKI_INVALID, "schedule_to_start_ms of a child is negative");
    ret->schedule_to_start_ms = known.schedule_to_start_ms;
    ret->close_policy = (uint64_t)known.close_policy;
    ret->detached = known.detached != 0;
    ret->shared = known.shared != 0;
    if (ret->shared && (ret->detached || known.key == NULL || known.key[0] == '\0'))
        return error_code(err, AIKI_INVALID, "BAD_KEY",
                          "a shared child needs a key, and is not detached");
    if (ret->shared)
        ret->close_policy = CLOSE_ABANDON; /* it belongs to all who follow it */
    return check_text(known.key, "key", CHILD_KEY_BYTES_MAX, &ret->key, err);
}

static aiki_status api_child_start(aiki_run *handle, const char *workflow, const char *version,
                                   aiki_view input, const aiki_child_options *options,
                                   aiki_future *ret_future, aiki_error *err)
{
    struct run *r = run_of(handle);
    struct child_options o = {.close_policy = CLOSE_CANCEL};
    struct step_call c = {.kind = STEP_CHILD, .input = input, .child = &o};
    aiki_status st = check_name(workflow, "workflow", &c.name, err);

    if (st == AIKI_OK)
        st = check_input(&c.input, workflow, err);
    if (st == AIKI_OK)
        st = check_text(version, "version", VERSION_BYTES_MAX, &o.version, err);
    if (st == AIKI_OK)
        st = read_child_options(options, &o, err);
    if (st == AIKI_OK)
        st = check_caller(r, err);
    if (st != AIKI_OK)
        return st;
    while (!replay_has_room(&r->replay))
        fiber_yield();
    return call(r, &c, ret_future, err);
}

/* ---- waiting and looking ----------------------------------------------------------------- */

static aiki_status api_await(aiki_run *handle, const aiki_future *futures, uint32_t count,
                             uint32_t needed, aiki_error *err)
{
    struct run *r = run_of(handle);
    bool satisfied;
    aiki_status st = check_caller(r, err);

    if (st == AIKI_OK)
        st = replay_await(&r->replay, futures, count, needed, &satisfied, err);
    if (st != AIKI_OK || satisfied)
        return st;
    fiber_yield();
    return r->replay.interrupted ? replay_why_cancelled(&r->replay, err) : AIKI_OK;
}

static aiki_status api_future_cancel(aiki_run *handle, aiki_future future, aiki_error *err)
{
    struct run *r = run_of(handle);
    aiki_status st = check_caller(r, err);

    if (st == AIKI_OK && !replay_cancel(&r->replay, future))
        return error_set(err, AIKI_INVALID, "future %u does not exist", future);
    if (st == AIKI_OK)
        run_stop_unwanted(r);
    return st;
}

static bool api_cancelled(const aiki_run *handle)
{
    return run_of(handle)->replay.cancel_seen;
}

static void api_protect(aiki_run *handle, bool on)
{
    struct run *r = run_of(handle);

    if (is_running(r))
        replay_protect(&r->replay, on);
}

/* The error as it stands on record, live as well: what the code sees is what a replay shows. */
static aiki_status recorded_error(struct run *r, aiki_view map, aiki_error *err)
{
    if (map.size_bytes == 0)
        return error_set(err, AIKI_FAILED, "it ended without an error on record");
    if (err != NULL && error_read(map, err, run_alloc, r) != AIKI_OK)
        (void)error_set(err, AIKI_CORRUPT, "the recorded error does not decode");
    return AIKI_FAILED;
}

static aiki_status api_result(aiki_run *handle, aiki_future future, aiki_view *ret_output,
                              aiki_error *err)
{
    struct run *r = run_of(handle);
    aiki_status st = check_caller(r, err);

    if (st != AIKI_OK)
        return st;
    const struct step *s = replay_future(&r->replay, future);
    if (s == NULL)
        return error_set(err, AIKI_INVALID, "future %u does not exist", future);
    if (s->phase != PHASE_SHOWN)
        return error_set(err, AIKI_PENDING, "%s %.*s is not done yet", step_kind_name(s->kind),
                         (int)s->name.size_bytes, (const char *)s->name.data);
    if (s->outcome == OUTCOME_FAILED)
        return recorded_error(r, s->error, err);
    if (s->kind == STEP_CHILD && s->outcome != OUTCOME_OK && s->error.size_bytes > 0) {
        (void)recorded_error(r, s->error, err);
        return s->outcome == OUTCOME_TIMEDOUT ? AIKI_TIMEDOUT : AIKI_CANCELLED;
    }
    if (s->outcome == OUTCOME_CANCELLED)
        return error_set(err, AIKI_CANCELLED, "%s %.*s was cancelled", step_kind_name(s->kind),
                         (int)s->name.size_bytes, (const char *)s->name.data);
    if (s->outcome == OUTCOME_TIMEDOUT)
        return error_set(err, AIKI_TIMEDOUT, "signal %.*s did not come in time",
                         (int)s->name.size_bytes, (const char *)s->name.data);
    if (ret_output != NULL)
        *ret_output = value_or_nil(s->value);
    return AIKI_OK;
}

static uint32_t api_schema_mode(const aiki_run *handle)
{
    return run_of(handle)->workflow->def.schema_mode;
}

static aiki_status api_result_as(aiki_run *handle, aiki_future future, const aiki_record_def *record,
                                 aiki_view *ret_output, uint32_t *ret_mode, aiki_error *err)
{
    struct run *r = run_of(handle);
    aiki_status st = record != NULL ? api_result(handle, future, ret_output, err) : AIKI_INVALID;

    if (record == NULL)
        return error_set(err, st, "future %u is asked for as no record", future);
    if (st != AIKI_OK)
        return st;
    struct step *s = replay_future(&r->replay, future);
    *ret_mode = fit_mode(r, s);
    while (!fit_result(r, s, record, *ret_mode))
        fiber_yield(); /* for ever: the code must not see it */
    return AIKI_OK;
}

static aiki_status api_kept_output(aiki_run *handle, aiki_future future, aiki_view *ret_output,
                                   aiki_error *err)
{
    aiki_view result;
    aiki_status st = api_result(handle, future, &result, err);

    if (st == AIKI_INVALID || st == AIKI_PENDING)
        return st;
    const struct step *s = replay_future(&run_of(handle)->replay, future);
    if (s->kind != STEP_TASK || s->outcome != OUTCOME_FAILED || s->value.size_bytes == 0)
        return error_set(err, AIKI_NOT_FOUND, "%s %.*s has kept no output", step_kind_name(s->kind),
                         (int)s->name.size_bytes, (const char *)s->name.data);
    *ret_output = s->value;
    return AIKI_OK;
}

/* ---- side values ------------------------------------------------------------------------- */

/* The step of a side value; *ret_new when the caller must capture it now. */
static aiki_status side_step(struct run *r, aiki_view name, bool once, struct step **ret,
                             bool *ret_new, aiki_error *err)
{
    const struct step_call c = {.kind = STEP_SIDE, .name = name, .once = once};
    aiki_status st = check_caller(r, err);

    if (st == AIKI_OK)
        st = replay_call(&r->replay, &c, ret, err);
    if (st != AIKI_OK)
        return st;
    /* In a gate it is never captured: the run is live when it would be. */
    while ((*ret_new = (*ret)->phase != PHASE_SHOWN) &&
           (!replay_side_ready(&r->replay) || r->child->gating))
        fiber_yield();
    r->acted |= *ret_new;
    return AIKI_OK;
}

/* A side value that the host captures: record `value` unless one is on record; read that. */
static aiki_status host_side(struct run *r, const char *name, aiki_view (*capture)(struct run *r,
                             aiki_writer *w), aiki_reader *ret, aiki_error *err)
{
    uint8_t memory[64];
    aiki_writer w;
    struct step *s;
    bool is_new;
    aiki_status st = side_step(r, view_of(name), false, &s, &is_new, err);

    if (st == AIKI_OK && s->invented && s->value.size_bytes == 0) { /* by us it may be captured */
        w = run_writer(r);
        s->value = capture(r, &w);
    } else if (st == AIKI_OK && is_new) {
        aiki_writer_init_fixed(&w, memory, sizeof(memory));
        st = replay_side(&r->replay, s, capture(r, &w), (aiki_view){NULL, 0});
        if (st != AIKI_OK)
            return error_set(err, st, "no memory for side value %s", name);
    }
    if (st == AIKI_OK)
        aiki_reader_init(ret, s->value);
    return st;
}

static aiki_status side_read(const aiki_reader *r, const char *name, aiki_error *err)
{
    if (r->status == AIKI_OK)
        return AIKI_OK;
    return error_set(err, AIKI_CORRUPT, "the recorded value of %s has another type", name);
}

static aiki_view capture_now(struct run *r, aiki_writer *w)
{
    aiki_mp_int(w, child_now_ms(r->child));
    return aiki_writer_view(w);
}

static aiki_view capture_random(struct run *r, aiki_writer *w)
{
    uint64_t value;
    (void)r;

    randombytes_buf(&value, sizeof(value));
    aiki_mp_uint(w, value);
    return aiki_writer_view(w);
}

static aiki_view capture_uuid(struct run *r, aiki_writer *w)
{
    uint8_t b[16];
    char text[37];
    (void)r;

    randombytes_buf(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 4122 4.4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(text, sizeof(text),
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    aiki_mp_strn(w, text, 36);
    return aiki_writer_view(w);
}

static aiki_status api_now(aiki_run *handle, int64_t *ret_at_ms, aiki_error *err)
{
    aiki_reader value = {.status = AIKI_OK};
    aiki_status st = host_side(run_of(handle), SIDE_NOW, capture_now, &value, err);

    if (st != AIKI_OK)
        return st;
    int64_t at_ms = aiki_mp_read_int(&value);
    st = side_read(&value, SIDE_NOW, err);
    if (st == AIKI_OK)
        *ret_at_ms = at_ms;
    return st;
}

static aiki_status api_random(aiki_run *handle, uint64_t *ret_value, aiki_error *err)
{
    aiki_reader value = {.status = AIKI_OK};
    aiki_status st = host_side(run_of(handle), SIDE_RANDOM, capture_random, &value, err);

    if (st != AIKI_OK)
        return st;
    uint64_t number = aiki_mp_read_uint(&value);
    st = side_read(&value, SIDE_RANDOM, err);
    if (st == AIKI_OK)
        *ret_value = number;
    return st;
}

static aiki_status api_uuid(aiki_run *handle, char ret_text[37], aiki_error *err)
{
    aiki_reader value;
    aiki_status st = host_side(run_of(handle), SIDE_UUID, capture_uuid, &value, err);

    if (st != AIKI_OK)
        return st;
    aiki_view text = aiki_mp_read_str(&value);
    if (text.size_bytes != 36)
        value.status = AIKI_CORRUPT;
    st = side_read(&value, SIDE_UUID, err);
    if (st != AIKI_OK)
        return st;
    memcpy(ret_text, text.data, 36);
    ret_text[36] = '\0';
    return AIKI_OK;
}

/* Call fn and record what it wrote, or that it failed: either way the same ever after. */
static aiki_status capture(struct run *r, struct step *s,
                           aiki_status (*fn)(void *arg, aiki_writer *output), void *arg)
{
    aiki_writer w = run_writer(r);
    aiki_error failure;
    aiki_view none = {NULL, 0};
    r->capturing = true;
    aiki_status st = fn(arg, &w);
    r->capturing = false;
    int name_size = (int)s->name.size_bytes;
    const char *name = (const char *)s->name.data;

    if (st == AIKI_OK)
        st = w.status;
    bool large = st == AIKI_OK && w.size_bytes > PAYLOAD_BYTES_MAX;
    if (st == AIKI_OK && w.size_bytes > 0 && !large)
        st = aiki_mp_check(aiki_writer_view(&w));
    if (st == AIKI_OK && !large)
        return replay_side(&r->replay, s, aiki_writer_view(&w), none);
    if (large)
        (void)error_code(&failure, AIKI_LIMIT, "PAYLOAD_TOO_LARGE",
                         "side value %.*s has %llu bytes, PAYLOAD_BYTES_MAX is %d", name_size, name,
                         (unsigned long long)w.size_bytes, PAYLOAD_BYTES_MAX);
    else
        (void)error_set(&failure, st, "capturing %.*s: %s", name_size, name,
                        aiki_status_text(st));
    return replay_side(&r->replay, s, none, run_error_map(r, &failure));
}

static aiki_status api_record_once(aiki_run *handle, const char *name,
                                   aiki_status (*fn)(void *arg, aiki_writer *output), void *arg,
                                   aiki_view *ret_value, aiki_error *err)
{
    struct run *r = run_of(handle);
    struct step *s;
    aiki_view view;
    bool is_new;
    aiki_status st = check_name(name, "side value", &view, err);

    if (st == AIKI_OK && fn == NULL)
        return error_set(err, AIKI_INVALID, "side value %s has no function", name);
    if (st == AIKI_OK)
        st = side_step(r, view, true, &s, &is_new, err);
    if (st != AIKI_OK)
        return st;
    if (is_new && (st = capture(r, s, fn, arg)) != AIKI_OK)
        return error_set(err, st, "no memory for side value %s", name);
    if (s->outcome == OUTCOME_FAILED)
        return recorded_error(r, s->error, err);
    if (ret_value != NULL)
        *ret_value = value_or_nil(s->value);
    return AIKI_OK;
}

/* ---- log --------------------------------------------------------------------------------- */

static bool api_replaying(const aiki_run *handle)
{
    return !run_of(handle)->replay.live;
}

static void api_log(aiki_run *handle, int32_t level, const char *text)
{
    struct run *r = run_of(handle);

    if (text != NULL && is_running(r) && r->replay.live)
        child_log(r->child, level, &r->id, (aiki_view){NULL, 0}, 0, text);
}

const aiki_run_api run_api = {
    .struct_size = sizeof(run_api),
    .id = api_id,
    .alloc = api_alloc,
    .output = api_output,
    .fail = api_fail,
    .task_start = api_task_start,
    .sleep_start = api_sleep_start,
    .signal_start = api_signal_start,
    .await = api_await,
    .result = api_result,
    .now = api_now,
    .random = api_random,
    .uuid = api_uuid,
    .record_once = api_record_once,
    .replaying = api_replaying,
    .log = api_log,
    .child_start = api_child_start,
    .sleep_until_start = api_sleep_until_start,
    .future_cancel = api_future_cancel,
    .cancelled = api_cancelled,
    .protect = api_protect,
    .schema_mode = api_schema_mode,
    .result_as = api_result_as,
    .signal_start_as = api_signal_start_as,
    .kept_output = api_kept_output,
};
