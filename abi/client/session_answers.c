/* session_answers.c - what the server says to a request. */
#include "session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "outcome.h"
#include "wire/error.h"
#include "wire/event.h"

enum {
    BUSY_MS = 100 /* before asking a server again that answered UNAVAILABLE */
};

static void answer_fault(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_FAULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = msg_FAULT_read(payload, &m, &err);
    if (st == AIKI_OK)
        st = error_read(m.error, &err, NULL, NULL);
    if (st != AIKI_OK) {
        session_fail(s, r, AIKI_CORRUPT, "the server's refusal does not decode");
        return;
    }
    st = m.status == AIKI_OK ? AIKI_INTERNAL : (aiki_status)m.status;
    if (st == AIKI_UNAVAILABLE) {
        r->resend_mono_ms = clock_mono_ms() + BUSY_MS;
        r->was_busy = true;
        snprintf(s->why_busy, sizeof(s->why_busy), "%s", err.message);
        session_arm_due(s, r->resend_mono_ms);
        return;
    }
    err.status = st;
    session_finish(s, r, st, NULL, &err);
}

static void answer_started(struct session *s, struct request *r, aiki_view payload)
{
    struct answer a = {.type = WIRE_STARTED};
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_STARTED_read(payload, &a.as.started, &err) != AIKI_OK) {
        session_fail(s, r, AIKI_CORRUPT, err.message);
    } else if (!r->want_result) {
        session_finish(s, r, AIKI_OK, &a, NULL);
    } else if (!r->started) { /* else: the echo of a repeat */
        r->started = true;
        r->deadline_mono_ms = 0;
        r->fn(r, AIKI_OK, &a, NULL);
    }
}

/* Whether the server's limit on a wait ended well before ours. */
static bool wait_goes_on(const struct request *r)
{
    enum { ROUNDING_MS = 10 };
    return r->deadline_mono_ms == 0 || clock_mono_ms() + ROUNDING_MS < r->deadline_mono_ms;
}

static void answer_result(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_RESULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_RESULT_read(payload, &m, &err) != AIKI_OK) {
        session_fail(s, r, AIKI_CORRUPT, err.message);
        return;
    }
    bool is_final = run_state_is_terminal(m.state);
    if (!is_final && !r->look && wait_goes_on(r)) {
        session_send(s, r);
        return;
    }
    struct answer a = {.type = WIRE_RESULT, .outcome = outcome_create(&m)};
    if (a.outcome == NULL) {
        session_fail(s, r, AIKI_NOMEM, "no memory for the run's result");
    } else if (m.state == RUN_COMPLETED) {
        session_finish(s, r, AIKI_OK, &a, NULL);
    } else if (is_final) {
        (void)error_set(&err, AIKI_FAILED, "run ended %s", run_state_name(m.state));
        session_finish(s, r, AIKI_FAILED, &a, a.outcome->error != NULL ? a.outcome->error : &err);
    } else {
        (void)error_set(&err, AIKI_TIMEDOUT, "the run is still %s", run_state_name(m.state));
        session_finish(s, r, AIKI_TIMEDOUT, &a, &err);
    }
    free(a.outcome);
}

static void answer_ok(struct session *s, struct request *r, aiki_view payload)
{
    struct answer a = {.type = WIRE_OK};
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_OK_read(payload, &a.as.ok, &err) != AIKI_OK)
        session_fail(s, r, AIKI_CORRUPT, err.message);
    else
        session_finish(s, r, AIKI_OK, &a, NULL);
}

static void answer_document(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_DOCUMENT m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_DOCUMENT_read(payload, &m, &err) != AIKI_OK) {
        session_fail(s, r, AIKI_CORRUPT, err.message);
        return;
    }
    struct answer a = {.type = WIRE_DOCUMENT, .as.document = m.value};
    session_finish(s, r, AIKI_OK, &a, NULL);
}

void session_answer(struct session *s, struct request *r, const struct frame *f)
{
    bool asked_result = r->type == WIRE_WAIT || (r->type == WIRE_START && r->want_result);
    if (f->type == WIRE_FAULT) {
        answer_fault(s, r, f->payload);
    } else if (f->type == WIRE_STARTED && r->type == WIRE_START) {
        answer_started(s, r, f->payload);
    } else if (f->type == WIRE_RESULT && asked_result) {
        answer_result(s, r, f->payload);
    } else if (f->type == WIRE_OK && (r->type == WIRE_SIGNAL || r->type == WIRE_CONTROL)) {
        answer_ok(s, r, f->payload);
    } else if (f->type == WIRE_DOCUMENT && r->type == WIRE_QUERY) {
        answer_document(s, r, f->payload);
    } else {
        char message[AIKI_MESSAGE_SIZE];
        snprintf(message, sizeof(message), "server %s answered %s to %s", s->address,
                 wire_type_name(f->type), wire_type_name(r->type));
        session_fail(s, r, AIKI_CORRUPT, message);
    }
}
