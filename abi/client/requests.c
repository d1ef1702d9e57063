/* requests.c - see requests.h. */
#include "requests.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/keys.h"

enum {
    WAIT_ROUND_MS_MAX = 60000, /* one WAIT request; longer waits are several */
    TEXT_BYTES_MAX = 1024,     /* start key, reference, actor, reason */
    RETRY_BYTES_MAX = 16 * 1024
};

#define SAME(ours, theirs) static_assert((int)(ours) == (int)(theirs), #ours " repeats " #theirs);
SAME(AIKI_KEY_SAME, KEY_SAME)
SAME(AIKI_KEY_EXISTING, KEY_EXISTING)
SAME(AIKI_KEY_REPLACE, KEY_REPLACE)
SAME(AIKI_CONTROL_CANCEL, CONTROL_CANCEL)
SAME(AIKI_CONTROL_TERMINATE, CONTROL_TERMINATE)
SAME(AIKI_CONTROL_PAUSE, CONTROL_PAUSE)
SAME(AIKI_CONTROL_RESUME, CONTROL_RESUME)
SAME(AIKI_CONTROL_WAKE, CONTROL_WAKE)
SAME(AIKI_CONTROL_RETRY, CONTROL_RETRY)
SAME(AIKI_CONTROL_DROP, CONTROL_DROP)

void copy_in(void *to, size_t size, const void *from, uint32_t from_size)
{
    memset(to, 0, size);
    if (from != NULL)
        memcpy(to, from, from_size < size ? from_size : size);
}

/* ---- checks ------------------------------------------------------------------------------- */

static aiki_status no_memory(aiki_error *err)
{
    return error_set(err, AIKI_NOMEM, "no memory for a request");
}

/* One msgpack value of a size the server takes; empty becomes nil. */
static aiki_status check_payload(aiki_view *payload, const char *what, aiki_error *err)
{
    static const uint8_t nil = 0xc0;
    if (payload->size_bytes == 0) {
        *payload = (aiki_view){&nil, 1};
        return AIKI_OK;
    }
    if (payload->size_bytes > PAYLOAD_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "over PAYLOAD_BYTES_MAX: %s of %llu bytes, limit %d",
                         what, (unsigned long long)payload->size_bytes, PAYLOAD_BYTES_MAX);
    aiki_status st = aiki_mp_check(*payload);
    if (st != AIKI_OK)
        return error_set(err, st == AIKI_LIMIT ? AIKI_LIMIT : AIKI_INVALID, "%s %s", what,
                         st == AIKI_LIMIT ? "is nested too deeply" : "is not one msgpack value");
    return AIKI_OK;
}

static aiki_status check_text(const char *text, const char *what, aiki_error *err)
{
    if (text != NULL && strlen(text) > TEXT_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "%s is longer than %d bytes", what, TEXT_BYTES_MAX);
    return AIKI_OK;
}

static aiki_status check_name(const char *name, const char *what, aiki_error *err)
{
    if (name == NULL || !name_is_valid(view_of(name)))
        return error_set(err, AIKI_INVALID,
                         "%s '%.100s' is not 1 to %d characters of [a-zA-Z0-9._-]", what,
                         name != NULL ? name : "", NAME_BYTES_MAX);
    return AIKI_OK;
}

static aiki_view text_view(const char *text)
{
    return view_of(text != NULL ? text : "");
}

static aiki_status parse_run(const char *run_id, struct aiki_id *ret, aiki_error *err)
{
    if (run_id == NULL)
        return error_set(err, AIKI_INVALID, "no run id");
    return id_parse(run_id, strlen(run_id), ret, err);
}

static void set_deadline(const struct session *s, struct request *r)
{
    r->deadline_mono_ms = r->submitted_mono_ms + session_request_timeout_ms(s);
}

/* ---- start -------------------------------------------------------------------------------- */

static aiki_status check_start_options(const aiki_start *s, aiki_error *err)
{
    if (s->key != NULL && s->key[0] == '\0') /* with which each repeat would be another run */
        return error_code(err, AIKI_INVALID, "BAD_KEY",
                          "the key is empty; a start without one leaves it out");
    if (s->key_policy < AIKI_KEY_SAME || s->key_policy > AIKI_KEY_REPLACE)
        return error_set(err, AIKI_INVALID, "key_policy %d is none of AIKI_KEY_*", s->key_policy);
    if (s->delay_ms < 0 || s->start_at_ms < 0 || s->run_timeout_ms < 0)
        return error_set(err, AIKI_INVALID,
                         "delay_ms, start_at_ms and run_timeout_ms are not "
                         "negative");
    if (s->delay_ms > 0 && s->start_at_ms > 0)
        return error_set(err, AIKI_INVALID, "a start has delay_ms or start_at_ms, not both");
    if (s->retry.size_bytes > RETRY_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "over RETRY_BYTES_MAX: a retry policy of %llu bytes",
                         (unsigned long long)s->retry.size_bytes);
    if (s->retry.size_bytes > 0 && aiki_mp_check(s->retry) != AIKI_OK)
        return error_set(err, AIKI_INVALID, "retry is not one msgpack value");
    return AIKI_OK;
}

aiki_status request_start(struct session *session, const aiki_start *given, bool want_result,
                          request_fn fn, void *arg, struct request **ret, aiki_error *err)
{
    aiki_start s;
    struct aiki_id run = {{0}};
    copy_in(&s, sizeof(s), given, given != NULL ? given->struct_size : 0);
    aiki_status st = check_name(s.workflow, "workflow", err);
    if (st == AIKI_OK && s.version != NULL && s.version[0] != '\0')
        st = check_name(s.version, "version", err);
    if (st == AIKI_OK)
        st = check_text(s.key, "key", err);
    if (st == AIKI_OK)
        st = check_text(s.actor, "actor", err);
    if (st == AIKI_OK)
        st = check_payload(&s.input, "input", err);
    if (st == AIKI_OK && s.run_id != NULL)
        st = parse_run(s.run_id, &run, err);
    if (st == AIKI_OK)
        st = check_start_options(&s, err);
    if (st != AIKI_OK)
        return st;

    struct request *r = request_create(WIRE_START, fn, arg);
    if (r == NULL)
        return no_memory(err);
    r->run = s.run_id != NULL ? run : id_new();
    r->want_result = want_result;
    set_deadline(session, r);
    msg_START_write(
        &r->payload,
        &(struct msg_START){.workflow = view_of(s.workflow),
                            .version = text_view(s.version),
                            .input = s.input,
                            .key = text_view(s.key),
                            .want_result = want_result,
                            .run = r->run,
                            .actor = text_view(s.actor != NULL ? s.actor : session_name(session)),
                            .key_policy = (uint64_t)s.key_policy,
                            .start_at_ms = s.start_at_ms,
                            .delay_ms = s.delay_ms,
                            .run_timeout_ms = s.run_timeout_ms,
                            .retry = s.retry});
    *ret = r;
    return AIKI_OK;
}

/* ---- wait, signal, control, query ---------------------------------------------------------- */

aiki_status request_wait(struct session *s, const char *run_id, int64_t timeout_ms, request_fn fn,
                         void *arg, struct request **ret, aiki_error *err)
{
    struct aiki_id run;
    aiki_status st = parse_run(run_id, &run, err);
    if (st != AIKI_OK)
        return st;
    struct request *r = request_create(WIRE_WAIT, fn, arg);
    if (r == NULL)
        return no_memory(err);
    uint64_t round_ms = WAIT_ROUND_MS_MAX;
    if (timeout_ms >= 0 && timeout_ms < WAIT_ROUND_MS_MAX)
        round_ms = (uint64_t)timeout_ms;
    r->run = run;
    r->look = timeout_ms == 0;
    if (r->look)
        set_deadline(s, r);
    else if (timeout_ms > 0 && timeout_ms < INT64_MAX - r->submitted_mono_ms)
        r->deadline_mono_ms = r->submitted_mono_ms + timeout_ms;
    msg_WAIT_write(&r->payload, &(struct msg_WAIT){.run = run, .timeout_ms = round_ms});
    *ret = r;
    return AIKI_OK;
}

aiki_status request_signal(struct session *s, const char *run_id, const char *name,
                           aiki_view payload, const char *ref, request_fn fn, void *arg,
                           struct request **ret, aiki_error *err)
{
    struct aiki_id run;
    char own_ref[AIKI_RUN_ID_SIZE];
    aiki_status st = parse_run(run_id, &run, err);
    if (st == AIKI_OK)
        st = check_name(name, "signal", err);
    if (st == AIKI_OK)
        st = check_text(ref, "reference", err);
    if (st == AIKI_OK)
        st = check_payload(&payload, "payload", err);
    if (st != AIKI_OK)
        return st;
    if (ref == NULL || ref[0] == '\0') { /* so that a repeat after a lost answer counts once */
        aiki_run_id_new(own_ref);
        ref = own_ref;
    }
    struct request *r = request_create(WIRE_SIGNAL, fn, arg);
    if (r == NULL)
        return no_memory(err);
    set_deadline(s, r);
    msg_SIGNAL_write(&r->payload, &(struct msg_SIGNAL){.run = run,
                                                       .name = view_of(name),
                                                       .payload = payload,
                                                       .ref = view_of(ref)});
    *ret = r;
    return AIKI_OK;
}

aiki_status request_control(struct session *s, const char *run_id, const aiki_control *given,
                            request_fn fn, void *arg, struct request **ret, aiki_error *err)
{
    struct aiki_id run;
    aiki_control c;
    char own_ref[AIKI_RUN_ID_SIZE];
    copy_in(&c, sizeof(c), given, given != NULL ? given->struct_size : 0);
    aiki_status st = parse_run(run_id, &run, err);
    if (st == AIKI_OK && (c.action < AIKI_CONTROL_CANCEL || c.action > AIKI_CONTROL_DROP))
        st = error_set(err, AIKI_INVALID, "action %d is none of AIKI_CONTROL_*", c.action);
    if (st == AIKI_OK && c.from_step != NULL && c.action != AIKI_CONTROL_RETRY)
        st = error_set(err, AIKI_INVALID, "from_step goes with AIKI_CONTROL_RETRY");
    if (st == AIKI_OK && c.from_step != NULL)
        st = check_name(c.from_step, "step", err);
    if (st == AIKI_OK)
        st = check_text(c.reason, "reason", err);
    if (st == AIKI_OK)
        st = check_text(c.actor, "actor", err);
    if (st == AIKI_OK)
        st = check_text(c.ref, "reference", err);
    if (st != AIKI_OK)
        return st;
    if (c.ref == NULL || c.ref[0] == '\0') { /* so that a repeat after a lost answer counts once */
        aiki_run_id_new(own_ref);
        c.ref = own_ref;
    }
    struct request *r = request_create(WIRE_CONTROL, fn, arg);
    if (r == NULL)
        return no_memory(err);
    set_deadline(s, r);
    msg_CONTROL_write(
        &r->payload,
        &(struct msg_CONTROL){.run = run,
                              .action = (uint64_t)c.action,
                              .reason = text_view(c.reason),
                              .actor = text_view(c.actor != NULL ? c.actor : session_name(s)),
                              .step = text_view(c.from_step),
                              .ref = text_view(c.ref)});
    *ret = r;
    return AIKI_OK;
}

aiki_status request_query(struct session *s, const char *what, aiki_view args, request_fn fn,
                          void *arg, struct request **ret, aiki_error *err)
{
    aiki_status st = check_name(what, "query", err);
    if (st == AIKI_OK)
        st = check_payload(&args, "arguments", err);
    if (st != AIKI_OK)
        return st;
    struct request *r = request_create(WIRE_QUERY, fn, arg);
    if (r == NULL)
        return no_memory(err);
    set_deadline(s, r);
    msg_QUERY_write(&r->payload, &(struct msg_QUERY){.what = view_of(what), .args = args});
    *ret = r;
    return AIKI_OK;
}
