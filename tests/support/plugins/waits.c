/* waits.c - workflows that mostly wait.
 *
 *   approve {"timeout_ms": T}  a task, the signal "decision" or its timeout, a short sleep, a task
 *   patient the same without tasks, in a workflow with a wait limit of its own, 300 ms
 *   nap     {"ms": N}          sleeps
 *   party   {"count": N, "ms": M}  N children that nap, awaited together
 *   collect {"count": N}       takes N signals "item" and answers them as a list
 */
#include <aiki/record.h>

#define APPROVE_INPUT(F, R) \
    F(R, i64, timeout_ms, AIKI_OPTIONAL, AIKI_MIN(-2), AIKI_DEFAULT(AIKI_FOREVER_MS))
AIKI_RECORD(approve_input, APPROVE_INPUT);
#define DECISION(F, R) F(R, bool, ok, AIKI_REQUIRED)
AIKI_RECORD(decision, DECISION);

static aiki_status ask(aiki_call *call, const struct approve_input *in, struct aiki_nothing *out)
{
    (void)call;
    (void)in;
    (void)out;
    return AIKI_OK;
}
AIKI_TASK_TYPED(ask, "ask", approve_input, aiki_nothing);

static aiki_status tell(aiki_call *call, const struct decision *in, struct decision *out)
{
    (void)call;
    *out = *in;
    return AIKI_OK;
}
AIKI_TASK_TYPED(tell, "tell", decision, decision);

static aiki_status approve(aiki_run *run, const struct approve_input *in, struct decision *out,
                           aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    struct decision decision = {false};
    aiki_view payload;
    aiki_status st;

    AIKI_TRY(ask_call(run, in, NULL, err));
    st = aiki_wait_signal(run, "decision", in->timeout_ms, &payload, err);
    if (st == AIKI_OK)
        st = decision_decode(payload, &memory, &decision, err);
    else if (st == AIKI_TIMEDOUT)
        st = AIKI_OK; /* silence means no */
    AIKI_TRY(st);
    AIKI_TRY(aiki_sleep(run, "breathe", 10, err));
    return tell_call(run, &decision, out, err);
}
AIKI_WORKFLOW_TYPED(approve, "approve", "1.0.0", approve_input, decision);

/* Raw, to be defined with a wait limit of its own. */
static aiki_status patient(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct approve_input in;

    AIKI_TRY(approve_input_decode(input, &memory, &in, err));
    aiki_status st = aiki_wait_signal(run, "decision", in.timeout_ms, NULL, err);
    if (st != AIKI_OK && st != AIKI_TIMEDOUT)
        return st;
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "ok");
    aiki_mp_bool(&w, st == AIKI_OK);
    return aiki_output(run, &w, err);
}

#define NAP(F, R) F(R, i64, ms, AIKI_REQUIRED, AIKI_MIN(0))
AIKI_RECORD(nap, NAP);

static aiki_status take_nap(aiki_run *run, const struct nap *in, struct nap *out, aiki_error *err)
{
    AIKI_TRY(aiki_sleep(run, "nap", in->ms, err));
    *out = *in;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(take_nap, "nap", "1.0.0", nap, nap);

#define PARTY(F, R)                                      \
    F(R, i64, count, AIKI_REQUIRED, AIKI_RANGE(0, 1000)) \
    F(R, i64, ms, AIKI_REQUIRED, AIKI_MIN(0))
AIKI_RECORD(party, PARTY);

static aiki_status throw_party(aiki_run *run, const struct party *in, struct party *out,
                               aiki_error *err)
{
    enum { GUESTS_MAX = 1000 };
    const struct nap nap = {.ms = in->ms};
    aiki_future *guests = aiki_alloc(run, GUESTS_MAX * sizeof(*guests));
    aiki_writer w = aiki_run_writer(run);

    if (guests == NULL)
        return aiki_error_set(err, AIKI_NOMEM, "NOMEM", "no room for guests");
    AIKI_TRY(nap_encode(&nap, &w, err));
    for (int64_t i = 0; i < in->count; i++)
        AIKI_TRY(aiki_child_start(run, "nap", "", aiki_writer_view(&w), NULL, &guests[i], err));
    *out = *in;
    return aiki_await_all(run, guests, (uint32_t)in->count, err);
}
AIKI_WORKFLOW_TYPED(throw_party, "party", "1.0.0", party, party);

#define COLLECT_INPUT(F, R) F(R, i64, count, AIKI_REQUIRED, AIKI_RANGE(0, 100000))
AIKI_RECORD(collect_input, COLLECT_INPUT);

/* Raw, because the items may be anything. */
static aiki_status collect(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct collect_input in;

    AIKI_TRY(collect_input_decode(input, &memory, &in, err));
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "items");
    aiki_mp_array(&w, (uint64_t)in.count);
    for (int64_t i = 0; i < in.count; i++) {
        aiki_view item;
        AIKI_TRY(aiki_wait_signal(run, "item", AIKI_FOREVER_MS, &item, err));
        aiki_mp_raw(&w, item.data, item.size_bytes);
    }
    return aiki_output(run, &w, err);
}

AIKI_PLUGIN("waits", "1.0.0",
            AIKI_WORKFLOWS(approve_workflow, take_nap_workflow, throw_party_workflow,
                           AIKI_WORKFLOW("patient", "1.0.0", patient, AIKI_INPUT(approve_input),
                                         AIKI_WAIT_TIMEOUT_MS(300)),
                           AIKI_WORKFLOW("collect", "1.0.0", collect,
                                         AIKI_INPUT(collect_input))),
            AIKI_TASKS(ask_task, tell_task));
