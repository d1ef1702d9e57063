/* schemas.c - values that do not fit what a build expects of them, as runtime/child/fit.c treats them.
 *
 *   strict   a task fails for good, a signal is taken and its wait has failed; on record: another build
 *   warn     it passes, and the history says so, once
 *   off      nobody looks
 */
#include "base/buf.h"
#include "runtime_impl.h"
#include "wire/error.h"

bool schema_misfit(uint64_t value) { return value % 4 == 0; }

/* An error map that lives as long as the stay. */
static aiki_view why(struct stay *s, const char *code)
{
    uint8_t memory[128];
    aiki_writer w;
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_code(&err, AIKI_SCHEMA, code, "it does not fit");
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    error_write(&w, &err);
    return stay_copy(s, aiki_writer_view(&w));
}

/* Whether the value may pass; in between, the history is told. */
static bool passes(struct stay *s, struct step *step, uint64_t value, uint64_t what)
{
    uint32_t mode = s->interp.program->schema_modes[step->name.data[0] - 'a'];
    bool misfit = schema_misfit(value);
    if (misfit && mode == AIKI_SCHEMA_WARN)
        replay_warn(&s->replay, step, what, why(s, "SCHEMA"));
    return !misfit || mode != AIKI_SCHEMA_STRICT;
}

aiki_view schema_judge(void *arg, struct step *step)
{
    struct stay *s = arg;
    if (passes(s, step, number_in(step->value), WARNED_INPUT))
        return (aiki_view){NULL, 0};
    return why(s, "SCHEMA");
}

bool schema_output_passes(struct stay *s, struct step *step, uint64_t value)
{
    return !USES(SCHEMAS) || passes(s, step, value, WARNED_OUTPUT);
}

/* A run may have come to where one build diverges and the other does not take what is on record. The product
 * leaves it blocked until somebody brings a build that does; here that is both of them, after this time. */
int64_t schema_mended_ms(void)
{
    enum { MENDED_MS = 300 * 1000 };
    return sim.now_ms - sim.faults_end_ms - MENDED_MS;
}

/* Of a task, when the code looks at it. */
bool schema_record_passes(struct stay *s, struct step *step)
{
    if (!USES(SCHEMAS) || schema_mended_ms() > 0 || step->kind != STEP_TASK || !step->done_on_record ||
        step->outcome != OUTCOME_OK)
        return true;
    return passes(s, step, number_in(step->value), WARNED_RECORD);
}
