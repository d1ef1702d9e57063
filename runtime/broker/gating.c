/* gating.c - what a replay gate means for the build it is about.
 *
 *   loaded --off--> REGISTERING
 *     +-- GATING --report--> fits, or safe: REGISTERING
 *           ^  |             does not fit, and strict; crashes in replay: refused
 *           |  | session lost
 *           +--+ the next session
 */
#include "broker/builds_impl.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"

static void begin_registering(struct build *b)
{
    b->state = REGISTERING;
    build_register(b);
}

/* False: it may serve. */
static bool is_refused(const struct build *b, const struct gate_result *result, aiki_error *err)
{
    aiki_error worst = {.struct_size = sizeof(worst)};
    bool strict = gate_policy_of(b->owner->options.gate, b->file_name) == GATE_STRICT;
    if (result->crashed == 0 && (!strict || result->stay == 0))
        return false;
    (void)error_read(result->worst, &worst, NULL, NULL);
    if (result->crashed > 0)
        (void)error_code(err, AIKI_CRASHED, "GATE_CRASHED", "open runs crash it: %s",
                         worst.message);
    else
        (void)error_code(err, AIKI_DIVERGED, "GATE_REFUSED",
                         "%" PRIu64 " of %" PRIu64 " replayed open runs do not fit: %s",
                         result->stay, result->replayed, worst.message);
    err->details = result->report;
    return true;
}

static void on_gate_done(const struct gate_result *result, void *arg)
{
    struct build *b = arg;
    aiki_error err = {.struct_size = sizeof(err)};
    b->gate = NULL;
    if (result->lost)
        return; /* builds_session_up goes on */
    b->owner->stats.gate_moves += result->move;
    b->owner->stats.gate_stays += result->stay;
    b->owner->stats.gate_crashes += result->crashed;
    buf_clear(&b->gate_report, 0);
    if (result->open > 0)
        aiki_mp_raw(&b->gate_report, result->report.data, result->report.size_bytes);
    gate_report_log(b->label, result);
    if (is_refused(b, result, &err))
        build_refuse(b, &err);
    else
        begin_registering(b);
}

void build_gate(struct build *b)
{
    struct builds *bs = b->owner;
    aiki_error err = {.struct_size = sizeof(err)};
    struct gate_options options = {.executable = bs->options.executable,
                                   .label = b->label,
                                   .path = b->copy,
                                   .file = b->file_name,
                                   .policy = gate_policy_of(bs->options.gate, b->file_name),
                                   .descriptor = aiki_writer_view(&b->descriptor),
                                   .routes = b->routes,
                                   .route_count = b->route_count,
                                   .ms_max = GATE_MS_MAX,
                                   .limits = limits_for(&bs->options.child_limits, b->file_name)};
    if (options.policy == GATE_OFF) {
        begin_registering(b);
        return;
    }
    AUTO(buf) aiki_writer sandbox;
    buf_init(&sandbox);
    build_write_sandbox(b, &sandbox);
    options.sandbox = aiki_writer_view(&sandbox);
    b->state = GATING;
    memcpy(options.build, b->hash, BUILD_BYTES);
    if (session_conn(bs->session) != NULL &&
        gate_start(&b->gate, bs->loop, bs->conns, bs->session, &options, on_gate_done, b, &err) !=
            AIKI_OK)
        log_debug("gate", "%s", err.message); /* builds_session_up goes on */
}
