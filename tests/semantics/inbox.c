/* inbox.c - signals, taken one by one.
 *
 *   inbox {"names": [NAME...], "timeout_ms": T}
 *
 * Takes one signal of each name, in the order given, and answers the list of their payloads. One
 * that does not come within T leaves null. T is -1, for ever, when it is missing.
 *
 *   three-waits {"ms": N}
 *
 * Waits for a signal, for a time and for a run of "sleeping", which is in another plugin, at once.
 */
#include <aiki/record.h>

#define INBOX(F, R)                                                     \
    F(R, list(str), names, AIKI_REQUIRED, AIKI_LENGTH(1, 2000))         \
    F(R, i64, timeout_ms, AIKI_OPTIONAL, AIKI_DEFAULT(AIKI_FOREVER_MS))
AIKI_RECORD(inbox_input, INBOX);

static aiki_status inbox(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct inbox_input in;

    AIKI_TRY(inbox_input_decode(input, &memory, &in, err));
    aiki_mp_array(&w, in.names_count);
    for (uint64_t i = 0; i < in.names_count; i++) {
        aiki_view payload;
        aiki_status st = aiki_wait_signal(run, in.names[i], in.timeout_ms, &payload, err);
        if (st == AIKI_TIMEDOUT)
            aiki_mp_nil(&w);
        else if (st == AIKI_OK)
            aiki_mp_raw(&w, payload.data, payload.size_bytes);
        else
            return st;
    }
    return aiki_output(run, &w, err);
}

#define NAP(F, R) F(R, i64, ms, AIKI_REQUIRED)
AIKI_RECORD(nap, NAP);
AIKI_CHILD_DECLARE(sleeping, "sleeping", "", nap, nap);

static aiki_status three_waits(aiki_run *run, const struct nap *in, struct nap *out, aiki_error *err)
{
    aiki_future futures[3];

    AIKI_TRY(aiki_signal_start(run, "letter", AIKI_FOREVER_MS, &futures[0], err));
    AIKI_TRY(aiki_sleep_start(run, "alarm", in->ms, &futures[1], err));
    AIKI_TRY(sleeping_child_start(run, in, NULL, &futures[2], err));
    *out = *in;
    return aiki_await_all(run, futures, 3, err);
}
AIKI_WORKFLOW_TYPED(three_waits, "three-waits", "1.0.0", nap, nap);

AIKI_PLUGIN("inbox", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("inbox", "1.0.0", inbox, AIKI_INPUT(inbox_input)),
                           three_waits_workflow),
            AIKI_NO_TASKS);
