/* body.c - requests that come as JSON: starts, signals, and what is asked of a run. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/routes_impl.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { MEMBERS_TEXT_SIZE = 160 };

/* A member of a request's object, and where its value goes. */
struct member {
    const char *name;
    enum { MEMBER_INPUT, MEMBER_TEXT, MEMBER_KEY, MEMBER_MS, MEMBER_TIME, MEMBER_POLICY, MEMBER_MAP } type;
    size_t at; /* in the message */
};

/* clang-format off */
#define START_MEMBER(name, type, field) {name, type, offsetof(struct msg_START, field)}
static const struct member start_members[] = {
    START_MEMBER("input", MEMBER_INPUT, input),
    START_MEMBER("key", MEMBER_KEY, key),
    START_MEMBER("key_policy", MEMBER_POLICY, key_policy),
    START_MEMBER("version", MEMBER_TEXT, version),
    START_MEMBER("actor", MEMBER_TEXT, actor),
    START_MEMBER("delay_ms", MEMBER_MS, delay_ms),
    START_MEMBER("start_at", MEMBER_TIME, start_at_ms),
    START_MEMBER("run_timeout_ms", MEMBER_MS, run_timeout_ms),
    START_MEMBER("retry", MEMBER_MAP, retry),
    {NULL, MEMBER_TEXT, 0}};

#define CONTROL_MEMBER(name, type, field) {name, type, offsetof(struct msg_CONTROL, field)}
static const struct member control_members[] = {
    CONTROL_MEMBER("reason", MEMBER_TEXT, reason),
    CONTROL_MEMBER("actor", MEMBER_TEXT, actor),
    {NULL, MEMBER_TEXT, 0}};
static const struct member retry_members[] = {
    CONTROL_MEMBER("reason", MEMBER_TEXT, reason),
    CONTROL_MEMBER("actor", MEMBER_TEXT, actor),
    CONTROL_MEMBER("from", MEMBER_TEXT, step),
    {NULL, MEMBER_TEXT, 0}};
/* clang-format on */

/* ---- JSON ---------------------------------------------------------------------------------- */

static aiki_status check_payload(aiki_view payload, const char *what, aiki_error *err)
{
    if (payload.size_bytes > PAYLOAD_BYTES_MAX)
        return error_code(err, AIKI_LIMIT, "PAYLOAD_TOO_LARGE",
                          "the %s has %llu bytes as msgpack, PAYLOAD_BYTES_MAX is %d", what,
                          (unsigned long long)payload.size_bytes, PAYLOAD_BYTES_MAX);
    return AIKI_OK;
}

/* The body's JSON as msgpack; nothing at all is null. Depth is the caller's mistake like any other
 * malformed JSON, not one of size. */
static aiki_status read_body(const struct call *c, aiki_writer *value, aiki_error *err)
{
    if (c->body.size_bytes == 0) {
        aiki_mp_nil(value);
        return value->status;
    }
    aiki_status status = json_to_msgpack(aiki_writer_view(&c->body), value, err);
    if (status == AIKI_LIMIT && strcmp(err->code, "JSON_TOO_DEEP") == 0)
        return AIKI_INVALID;
    return status;
}

static aiki_status bad_member(const struct member *m, const char *expected, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_BODY", "%s: expected %s", m->name, expected);
}

/* "same", "existing", "replace" */
static aiki_status read_policy(const struct member *m, const aiki_mp_item *item, uint64_t *ret,
                               aiki_error *err)
{
    static const char *const names[] = {
        [KEY_SAME] = "same", [KEY_EXISTING] = "existing", [KEY_REPLACE] = "replace"};
    for (uint64_t i = 0; i < ARRAY_COUNT(names); i++)
        if (item->type == AIKI_MP_STR && view_is(item->bytes, names[i])) {
            *ret = i;
            return AIKI_OK;
        }
    return bad_member(m, "\"same\", \"existing\" or \"replace\"", err);
}

/* RFC 3339 text, or ms since 1970. */
static aiki_status read_time(const struct member *m, const aiki_mp_item *item, int64_t *ret,
                             aiki_error *err)
{
    char text[40] = "";
    if (item->type == AIKI_MP_STR && item->bytes.size_bytes < sizeof(text))
        memcpy(text, item->bytes.data, item->bytes.size_bytes);
    *ret =
        item->type == AIKI_MP_UINT && item->as.u <= INT64_MAX ? item->as.i : clock_parse_ms(text);
    if (*ret > 0)
        return AIKI_OK;
    return bad_member(m, "a time such as \"2026-11-21T07:31:02Z\", or ms since 1970", err);
}

static aiki_status read_value(aiki_reader *r, const struct member *m, void *field, aiki_error *err)
{
    aiki_mp_item item;
    aiki_view value = aiki_mp_value(r);
    aiki_reader one;
    aiki_reader_init(&one, value);
    (void)aiki_mp_next(&one, &item); /* it was made from JSON just now */
    if (m->type == MEMBER_INPUT) {
        *(aiki_view *)field = value;
        return check_payload(value, m->name, err);
    }
    if (item.type == AIKI_MP_NIL) /* as if it were missing */
        return AIKI_OK;
    switch (m->type) {
    case MEMBER_POLICY: return read_policy(m, &item, field, err);
    case MEMBER_TIME: return read_time(m, &item, field, err);
    case MEMBER_MS:
        if (item.type != AIKI_MP_UINT || item.as.u > INT64_MAX)
            return bad_member(m, "a number of milliseconds", err);
        *(int64_t *)field = item.as.i;
        return AIKI_OK;
    case MEMBER_MAP:
        if (item.type != AIKI_MP_MAP)
            return bad_member(m, "an object such as {\"kind\": \"fixed\", \"delay_ms\": 200}", err);
        *(aiki_view *)field = value;
        return AIKI_OK;
    case MEMBER_INPUT:
    case MEMBER_TEXT:
    case MEMBER_KEY: break;
    }
    if (item.type != AIKI_MP_STR)
        return bad_member(m, "text", err);
    if (m->type == MEMBER_KEY && item.bytes.size_bytes == 0) /* each repeat would be another run */
        return error_code(err, AIKI_INVALID, "BAD_KEY",
                          "the key is empty; a start without one leaves it out");
    *(aiki_view *)field = item.bytes;
    return AIKI_OK;
}

static aiki_status unknown_member(const struct member *members, aiki_view name, aiki_error *err)
{
    char known[MEMBERS_TEXT_SIZE] = "";
    for (const struct member *m = members; m->name != NULL; m++) {
        strncat(known, m == members ? "" : ", ", sizeof(known) - strlen(known) - 1);
        strncat(known, m->name, sizeof(known) - strlen(known) - 1);
    }
    return error_code(
        err, AIKI_INVALID, "UNKNOWN_MEMBER", "the body knows no member \"%.*s\"; there are %s",
        (int)(name.size_bytes > 60 ? 60 : name.size_bytes), (const char *)name.data, known);
}

/* The body's object into the message; no body is an object without members. value keeps what the
 * message then borrows. */
static aiki_status read_object(const struct call *c, const struct member *members,
                               const char *example, aiki_writer *value, void *message,
                               aiki_error *err)
{
    aiki_reader r;
    aiki_mp_item item = {.type = AIKI_MP_NIL};
    aiki_status status = read_body(c, value, err);
    if (status != AIKI_OK)
        return status;
    aiki_reader_init(&r, aiki_writer_view(value));
    (void)aiki_mp_next(&r, &item);
    if (item.type != AIKI_MP_MAP && c->body.size_bytes > 0)
        return error_code(err, AIKI_INVALID, "BAD_BODY", "expected an object such as %s", example);
    for (uint64_t left = item.type == AIKI_MP_MAP ? item.as.count : 0; left > 0; left--) {
        const struct member *m = members;
        aiki_view name = aiki_mp_read_str(&r);
        while (m->name != NULL && !view_is(name, m->name))
            m++;
        if (m->name == NULL)
            return unknown_member(members, name, err);
        status = read_value(&r, m, (char *)message + m->at, err);
        if (status != AIKI_OK)
            return status;
    }
    return AIKI_OK;
}

/* ---- requests ------------------------------------------------------------------------------ */

aiki_status prepare_signal(struct call *c, aiki_error *err)
{
    AUTO(buf) aiki_writer value;
    const char *ref = target_param(&c->target, "ref");
    struct msg_SIGNAL m = {.name = view_of(c->variables[1])};
    buf_init(&value);
    aiki_status status = call_check_params(c, err);
    if (status == AIKI_OK)
        status = call_read_id(c, &m.run, err);
    if (status == AIKI_OK)
        status = read_body(c, &value, err);
    m.payload = aiki_writer_view(&value);
    if (status == AIKI_OK)
        status = check_payload(m.payload, "signal payload", err);
    if (status != AIKI_OK)
        return status;
    if (ref != NULL)
        m.ref = view_of(ref);
    c->type = WIRE_SIGNAL;
    msg_SIGNAL_write(&c->message, &m);
    return AIKI_OK;
}

aiki_status prepare_start(struct call *c, aiki_error *err)
{
    AUTO(buf) aiki_writer value;
    struct msg_START m = {.workflow = view_of(c->variables[0])};
    buf_init(&value);
    aiki_status status = call_check_params(c, err);
    if (status == AIKI_OK)
        status =
            read_object(c, start_members, "{\"input\": {...}, \"key\": \"...\"}", &value, &m, err);
    if (status == AIKI_OK && m.delay_ms > 0 && m.start_at_ms > 0)
        status =
            error_code(err, AIKI_INVALID, "BAD_BODY", "a start has delay_ms or start_at, not both");
    if (status != AIKI_OK)
        return status;
    c->type = WIRE_START;
    msg_START_write(&c->message, &m);
    return AIKI_OK;
}

aiki_status prepare_control(struct call *c, aiki_error *err)
{
    AUTO(buf) aiki_writer value;
    struct msg_CONTROL m = {.action = c->route->action};
    bool retry = m.action == CONTROL_RETRY;
    const char *ref = target_param(&c->target, "ref");
    buf_init(&value);
    aiki_status status = call_check_params(c, err);
    if (status == AIKI_OK)
        status = call_read_id(c, &m.run, err);
    if (status == AIKI_OK)
        status = read_object(c, retry ? retry_members : control_members,
                             retry ? "{\"from\": \"charge\"}" : "{\"reason\": \"...\"}", &value, &m,
                             err);
    if (status != AIKI_OK)
        return status;
    if (ref != NULL)
        m.ref = view_of(ref);
    c->type = WIRE_CONTROL;
    msg_CONTROL_write(&c->message, &m);
    return AIKI_OK;
}
