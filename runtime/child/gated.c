/* gated.c - in a gate: the verdict on each run, and looks ahead of it. Nothing is executed.
 *
 *   the record does not fit --> VERDICT, more --> the code goes on, to tell what was changed --> VERDICT
 *   it fits, and this build lacks tasks that others have
 *                           --> VERDICT, more --> the code goes on, to see whether it calls one --> VERDICT
 *   it fits                 --> VERDICT
 *
 * What the code waits for behind the first verdict is made up (replay/ahead.c). It may loop or crash on that,
 * and has given its verdict.
 */
#include "child/run_impl.h"

#include <stdio.h>
#include <sys/time.h>

#include "base/buf.h"
#include "wire/error.h"

enum {
    AHEAD_CPU_US_MAX = 500 * 1000, /* of a look ahead */
    BEHIND_BYTES = 80
};

static void send_verdict(struct run *r, const aiki_error *err, bool more)
{
    AUTO(buf) aiki_writer map;

    buf_init(&map);
    if (err != NULL)
        error_write(&map, err);
    conn_send(r->child->conn, VERDICT, 0, .run = r->id, .steps = r->replay.next_delivery,
              .error = aiki_writer_view(&map), .more = more);
}

/* Processor time, so that a slow machine has as much of it. Code that takes longer, with outcomes that
 * are made up, ends the process by SIGPROF. */
static void limit_look_ahead(bool on)
{
    const struct itimerval t = {.it_value = {0, on ? AHEAD_CPU_US_MAX : 0}};

    (void)setitimer(ITIMER_PROF, &t, NULL); /* valid: it cannot fail */
}

void run_verdict(struct run *r, const aiki_error *err)
{
    if (r->replay.ahead.on)
        limit_look_ahead(false);
    send_verdict(r, err, false);
    run_drop(r);
}

static void look_ahead(struct run *r, const aiki_error *err)
{
    send_verdict(r, err, true);
    conn_flush(r->child->conn); /* it may be the last word */
    limit_look_ahead(true);
}

void run_diverged(struct run *r)
{
    aiki_error err;

    if (r->replay.ahead.past) {
        run_verdict(r, NULL); /* it asks for nothing that is not there, as far as one can see */
        return;
    }
    replay_explain(&r->replay, &err);
    if (!r->child->brief && r->replay.status == AIKI_OK && replay_look_ahead(&r->replay))
        look_ahead(r, &err);
    else
        run_unfit(r, &err);
}

/* ---- tasks that are gone ------------------------------------------------------------------- */

void run_fits(struct run *r)
{
    if (run_undefined(r))
        return;
    if (r->child->brief || r->child->lacks.size_bytes == 0 || !replay_look_on(&r->replay))
        run_verdict(r, NULL);
    else
        look_ahead(r, NULL);
}

static bool child_lacks(const struct child *c, aiki_view name)
{
    aiki_reader names;

    aiki_reader_init(&names, c->lacks);
    for (uint64_t left = aiki_mp_read_array(&names); left > 0 && names.status == AIKI_OK; left--) {
        aiki_view lacking = aiki_mp_read_str(&names);
        if (view_equal(lacking, name))
            return true;
    }
    return false;
}

/* A name that no build ever had may come of what was made up. */
bool run_calls_ahead(struct run *r, const struct step *s)
{
    const struct replay *p = &r->replay;

    if (p->ahead.past && s->undefined && !s->done_on_record && !s->kept &&
        (p->ahead.invented == 0 || child_lacks(r->child, s->name)))
        r->lacking = s;
    return r->lacking != NULL;
}

/* The step whose outcome the code was shown before it called s, in words. */
static void tell_behind(const struct replay *p, const struct step *s, char ret[BEHIND_BYTES])
{
    uint32_t at = s->future - 1;

    ret[0] = '\0';
    while (at > 0 && p->futures[at - 1]->phase != PHASE_SHOWN)
        at--;
    if (at == 0)
        return;
    const struct step *o = p->futures[at - 1];
    (void)snprintf(ret, BEHIND_BYTES, " behind %s %.*s", step_kind_name(o->kind),
                   o->name.size_bytes < BEHIND_BYTES / 2 ? (int)o->name.size_bytes : BEHIND_BYTES / 2,
                   (const char *)o->name.data);
}

void run_lacks(struct run *r)
{
    char behind[BEHIND_BYTES], words[2 * BEHIND_BYTES];
    const struct replay *p = &r->replay;
    aiki_error err;

    tell_behind(p, r->lacking, behind);
    (void)snprintf(words, sizeof(words), "the code calls it%s%s", behind,
                   p->ahead.invented > 0 ? ", as far as made-up results show" : "");
    run_undefined_error(r, r->lacking, words, &err);
    run_verdict(r, &err);
}
