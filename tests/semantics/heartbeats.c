/* heartbeats.c - a long task tells how far it is, and its next attempt goes on from there.
 *
 *   heartbeats {"path": FILE, "items": N, "pause_ms": T, "silent_after": M, "gate": G}
 *
 * The task handles N items: appends a mark to FILE and says with a heartbeat how many are done. An attempt
 * that begins at the first item falls silent after M, if M is not 0, and does not return until it is told to.
 * There are pauses until the file G is there. Silence of a second ends an attempt. The output tells where the last attempt began.
 */
#include <time.h>

#include <aiki/record.h>

#include "trace.h"

enum { SILENCE_MS = 1000 };

#define ITEMS(F, R)                                                  \
    F(R, str, path, AIKI_REQUIRED)                                   \
    F(R, i64, items, AIKI_REQUIRED, AIKI_RANGE(0, 10000))            \
    F(R, i64, pause_ms, AIKI_OPTIONAL, AIKI_DEFAULT(1))              \
    F(R, i64, silent_after, AIKI_OPTIONAL)                           \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(items, ITEMS);
#define HANDLED(F, R)                  \
    F(R, i64, attempt, AIKI_REQUIRED)  \
    F(R, i64, began_at, AIKI_REQUIRED)
AIKI_RECORD(handled, HANDLED);

static void pause_ms(int64_t ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL); /* an early end is none of our business */
}

/* How many items the attempt before this one had done. */
static int64_t items_done(const aiki_call *call)
{
    aiki_view details = aiki_last_details(call);
    aiki_reader r;

    aiki_reader_init(&r, details);
    return details.size_bytes == 0 ? 0 : aiki_mp_read_int(&r);
}

static aiki_status say(aiki_call *call, int64_t done)
{
    uint8_t memory[16];
    aiki_writer w;

    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_int(&w, done);
    return aiki_heartbeat(call, aiki_writer_view(&w));
}

static aiki_status handle(aiki_call *call, const struct items *in, struct handled *out)
{
    out->attempt = aiki_attempt(call);
    out->began_at = items_done(call);
    for (int64_t done = out->began_at; done < in->items; done++) {
        while (out->began_at == 0 && in->silent_after > 0 && done == in->silent_after) {
            if (aiki_cancelled(call))
                return aiki_fail(call, "STOPPED", "told to stop while silent");
            pause_ms(in->pause_ms);
        }
        if (!trace_append(in->path, ".", 1))
            return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
        if (say(call, done + 1) == AIKI_CANCELLED)
            return aiki_fail(call, "STOPPED", "told to stop");
        if (in->gate[0] == '\0' || !trace_open(in->gate))
            pause_ms(in->pause_ms);
    }
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(handle, "handle", items, handled, AIKI_FIXED_DELAY(3, 20),
                     AIKI_HEARTBEAT_MS(SILENCE_MS));

static aiki_status heartbeats(aiki_run *run, const struct items *in, struct handled *out,
                              aiki_error *err)
{
    return handle_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(heartbeats, "heartbeats", "1.0.0", items, handled);

AIKI_PLUGIN("heartbeats", "1.0.0", AIKI_WORKFLOWS(heartbeats_workflow), AIKI_TASKS(handle_task));
