/* commands.c - what clients ask of runs: signal, wait. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/error.h"
#include "wire/frame.h"

/* ---- signal ---------------------------------------------------------------------------------- */

static aiki_status read_signal(aiki_view payload, struct msg_SIGNAL *m, aiki_error *err)
{
    aiki_status status = msg_SIGNAL_read(payload, m, err);
    if (status == AIKI_OK && !name_is_valid(m->name))
        status = error_code(err, AIKI_INVALID, "BAD_NAME",
                            "a signal name is 1 to %d characters of a-z A-Z 0-9 . _ -",
                            NAME_BYTES_MAX);
    if (status == AIKI_OK)
        status = check_text(m->ref, "reference", err);
    if (status == AIKI_OK)
        status = check_payload(&m->payload, "signal payload", err);
    return status;
}

/* The engine's refusal as an error about this run. */
void refusal_error(const struct entry *e, const struct engine_refusal *r, aiki_error *err)
{
    char text[AIKI_ID_TEXT_SIZE];
    id_text(&e->id, text);
    if (r->limit > 0)
        (void)error_code(err, r->status, r->code, "run %s: %s (%llu, at most %llu)", text, r->text,
                         (unsigned long long)r->value, (unsigned long long)r->limit);
    else
        (void)error_code(err, r->status, r->code, "run %s (%s): %s", text,
                         run_state_name(e->run.state), r->text);
}

static void record_signal(struct pipeline *p, const struct command *c, struct entry *e,
                          const struct msg_SIGNAL *m)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    aiki_error err = {.struct_size = sizeof(err)};
    const struct event signal = {
        .kind = EVENT_SIGNAL,
        .as.signal = {.name = m->name, .payload = m->payload, .ref = m->ref}};
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    (void)unit_touch(p, e);
    if (!engine_signal(&e->run, &p->now, m->name, event_body(p, &signal), &e->journal, &effects,
                       &refusal)) {
        if (!was_dirty)
            unit_untouch(p, e);
        refusal_error(e, &refusal, &err);
        unit_refuse(p, c, e, &err);
        return;
    }
    refs_add(p, e, REF_SIGNAL, m->ref);
    struct owed *o = unit_owe(p, c, e);
    o->kind = OWED_OK;
    o->number = 1;
    unit_changed(p, e, from, &effects);
    metric_add(signals, 1);
}

void command_signal(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_SIGNAL m;
    struct entry *e = NULL;
    bool known = false;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_signal_received);
    aiki_status status = read_signal(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load(p, &m.run, &e, &err);
    if (status == AIKI_OK)
        status = refs_know(p, e, REF_SIGNAL, m.ref, &known, &err);
    if (status != AIKI_OK) {
        answer_refusal(p, c, &err);
    } else if (known && !BUG(signal_twice)) {
        metric_add(signals_deduplicated, 1);
        if (e->dirty != 0)
            unit_owe(p, c, e)->kind = OWED_OK;
        else
            answer(p, c, OK, .count = 0);
    } else {
        record_signal(p, c, e, &m);
    }
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* ---- wait ------------------------------------------------------------------------------------ */

void command_wait(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_WAIT m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = msg_WAIT_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &m.run, &e, &err);
    if (status == AIKI_OK && !run_state_is_terminal(e->run.state) && m.timeout_ms > 0) {
        int64_t timeout_ms = m.timeout_ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int64_t)m.timeout_ms;
        status = waiter_add(p, e, c->peer, c->correlation, m.shown, timeout_ms, &err);
        if (status == AIKI_OK)
            return;
    }
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer_result(p, e, c->peer, c->correlation, m.shown);
    if (e != NULL)
        cache_rest(&p->cache, e);
}
