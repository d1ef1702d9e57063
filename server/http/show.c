/* show.c - what the core answered, as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/routes_impl.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/message.h"

static void put_id(aiki_writer *w, const struct aiki_id *id)
{
    char text[AIKI_ID_TEXT_SIZE];
    id_text(id, text);
    aiki_mp_str(w, "id");
    aiki_mp_str(w, text);
}

static void put_state(aiki_writer *w, uint64_t state)
{
    aiki_mp_str(w, "state");
    aiki_mp_str(w, run_state_name(state));
}

static void put_raw(aiki_writer *w, const char *name, aiki_view value)
{
    aiki_mp_str(w, name);
    if (value.size_bytes > 0)
        aiki_mp_raw(w, value.data, value.size_bytes);
    else
        aiki_mp_nil(w);
}

/* 201 for a new run; 200 for one that the key had named before. */
static aiki_status show_started(const struct call *c, aiki_view payload, aiki_writer *w,
                                struct answer *a, aiki_error *err)
{
    struct msg_STARTED m;
    char text[AIKI_ID_TEXT_SIZE];
    aiki_status status = msg_STARTED_read(payload, &m, err);
    if (status != AIKI_OK)
        return status;
    aiki_mp_map(w, 5);
    put_id(w, &m.run);
    aiki_mp_str(w, "workflow");
    aiki_mp_str(w, c->variables[0]);
    aiki_mp_str(w, "version");
    aiki_mp_strn(w, m.version.data, m.version.size_bytes);
    put_state(w, m.state);
    aiki_mp_str(w, "created");
    aiki_mp_bool(w, m.created);
    id_text(&m.run, text);
    (void)snprintf(a->location, sizeof(a->location), "/v1/runs/%s", text);
    a->status = m.created ? 201 : 200;
    return AIKI_OK;
}

/* 200 once the run has ended, however it did; 202 while it goes on. */
static aiki_status show_result(aiki_view payload, aiki_writer *w, struct answer *a, aiki_error *err)
{
    struct msg_RESULT m;
    aiki_status status = msg_RESULT_read(payload, &m, err);
    if (status != AIKI_OK)
        return status;
    bool ended = run_state_is_terminal(m.state);
    aiki_mp_map(w, ended ? 4 : 2);
    put_id(w, &m.run);
    put_state(w, m.state);
    if (ended) {
        put_raw(w, "output", m.output);
        put_raw(w, "error", m.error);
    }
    a->status = ended ? 200 : 202;
    return AIKI_OK;
}

static aiki_status show_done(const struct call *c, aiki_view payload, aiki_writer *w,
                             struct answer *a, aiki_error *err)
{
    struct msg_OK m;
    aiki_status status = msg_OK_read(payload, &m, err);
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "id");
    aiki_mp_str(w, c->variables[0]);
    aiki_mp_str(w, c->type == WIRE_SIGNAL ? "recorded" : "changed");
    aiki_mp_bool(w, m.count > 0);
    a->status = 200;
    return status;
}

void call_show(struct call *c, uint32_t type, aiki_view payload, struct answer *ret)
{
    AUTO(buf) aiki_writer w;
    aiki_error err = AIKI_ERROR_INIT;
    struct msg_FAULT fault;
    struct msg_DOCUMENT document;
    aiki_status status;
    buf_init(&w);
    switch (type) {
    case WIRE_STARTED: status = show_started(c, payload, &w, ret, &err); break;
    case WIRE_RESULT: status = show_result(payload, &w, ret, &err); break;
    case WIRE_OK: status = show_done(c, payload, &w, ret, &err); break;
    case WIRE_DOCUMENT:
        status = msg_DOCUMENT_read(payload, &document, &err);
        if (status == AIKI_OK && c->streams)
            status = show_events(c, document.value, ret, &err);
        else if (status == AIKI_OK)
            answer_value(ret, 200, document.value);
        if (status == AIKI_OK)
            return;
        break;
    case WIRE_FAULT:
        status = msg_FAULT_read(payload, &fault, &err);
        if (status == AIKI_OK) {
            answer_fault(ret, (aiki_status)fault.status, fault.error);
            return;
        }
        break;
    default:
        status = error_set(&err, AIKI_INTERNAL, "the core answered with %s", wire_type_name(type));
    }
    if (status == AIKI_OK && w.status != AIKI_OK)
        status = error_set(&err, AIKI_NOMEM, "no memory for the answer");
    if (status != AIKI_OK)
        answer_error(ret, http_status_of(status), &err);
    else
        answer_value(ret, ret->status, aiki_writer_view(&w));
}
