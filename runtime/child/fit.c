/* fit.c - see fit.h. */
#include "child/fit.h"

#include "wire/error.h"

/* What is left of a misfit in this mode: nothing, or a mark in the history, or the misfit. */
static aiki_status judge(struct run *r, struct step *s, uint32_t mode, uint64_t what,
                         aiki_status misfit, const aiki_error *err)
{
    if (misfit != AIKI_OK && mode == AIKI_SCHEMA_WARN)
        replay_warn(&r->replay, s, what, run_error_map(r, err));
    return mode == AIKI_SCHEMA_STRICT ? misfit : AIKI_OK;
}

static aiki_status check(struct run *r, struct step *s, const struct schema *schema, uint32_t mode,
                         uint64_t what, aiki_view value, aiki_error *err)
{
    if (schema == NULL || mode == AIKI_SCHEMA_OFF)
        return AIKI_OK;
    return judge(r, s, mode, what, schema_validate(schema, value, err), err);
}

aiki_status fit_task_input(struct run *r, struct step *s, aiki_error *err)
{
    const struct plugin_task *task = s->task;

    return check(r, s, task->input, task->def.schema_mode, WARNED_INPUT, s->input, err);
}

aiki_status fit_run_input(struct run *r, aiki_error *err)
{
    return check(r, NULL, r->workflow->input, r->workflow->def.schema_mode, WARNED_INPUT, r->input,
                 err);
}

aiki_status fit_run_output(struct run *r, aiki_error *err)
{
    return check(r, NULL, r->workflow->output, r->workflow->def.schema_mode, WARNED_OUTPUT,
                 value_or_nil(r->output), err);
}

/* ---- on record --------------------------------------------------------------------------- */

uint32_t fit_mode(const struct run *r, const struct step *s)
{
    const struct plugin_task *task = s->task;

    return task != NULL ? task->def.schema_mode : r->workflow->def.schema_mode;
}

/* Always false. */
static bool mismatch(struct run *r, const struct step *s, const char *why)
{
    r->mismatch = run_alloc(r, sizeof(*r->mismatch));
    if (r->mismatch == NULL)
        r->replay.status = AIKI_NOMEM;
    else
        (void)error_code(r->mismatch, AIKI_SCHEMA, "SCHEMA_MISMATCH",
                         "the recorded %s of %s %.*s does not fit this build: %s",
                         s->kind == STEP_SIGNAL ? "payload" : "output", step_kind_name(s->kind),
                         (int)s->name.size_bytes, (const char *)s->name.data, why);
    return false;
}

bool fit_recorded(struct run *r, struct step *s)
{
    const struct plugin_task *task = s->task;
    aiki_error err;

    if (!s->done_on_record || s->outcome != OUTCOME_OK || task == NULL ||
        check(r, s, task->output, task->def.schema_mode, WARNED_RECORD, value_or_nil(s->value),
              &err) == AIKI_OK)
        return true;
    return mismatch(r, s, err.message);
}

/* A child has ended with its output on record elsewhere; what a task of this build answers was checked
 * before it was recorded, and what another build recorded when the task was called. */
bool fit_result(struct run *r, struct step *s, const aiki_record_def *record, uint32_t mode)
{
    const struct plugin_task *task = s->task;
    aiki_error err = AIKI_ERROR_INIT;

    if (mode == AIKI_SCHEMA_OFF || s->detached || (task != NULL && task->def.output == record))
        return true;
    aiki_status misfit = aiki_record_check(record, value_or_nil(s->value), &err);
    if (judge(r, s, mode, WARNED_RECORD, misfit, &err) == AIKI_OK)
        return true;
    return mismatch(r, s, err.message);
}

/* ---- signals ----------------------------------------------------------------------------- */

aiki_view fit_signal(void *arg, struct step *s)
{
    static const aiki_view fits = {NULL, 0};
    struct run *r = arg;
    uint32_t mode = fit_mode(r, s);
    aiki_error err = AIKI_ERROR_INIT;

    if (mode == AIKI_SCHEMA_OFF)
        return fits;
    aiki_status misfit = aiki_record_check(s->expects, value_or_nil(s->value), &err);
    if (judge(r, s, mode, WARNED_INPUT, misfit, &err) == AIKI_OK)
        return fits;
    return run_error_map(r, &err);
}
