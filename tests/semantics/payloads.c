/* payloads.c - values are checked wherever they cross a boundary.
 *
 *   payloads {"lines": [{"sku": "tea", "quantity": 1}], "fault": "task"|"output"}
 *
 *   modes {"task": "strict"|"warn"|"off", "quantity": N}     a typed task of that mode that answers N
 *   lax {"quantity": N}                                      answers N, in mode warn
 *
 * N is to be 1 to 990. "fault" asks for a task, or the workflow, that answers what its own schema forbids.
 */
#include <string.h>

#include <aiki/record.h>

#define LINE(F, R)                                        \
    F(R, str, sku, AIKI_REQUIRED, AIKI_LENGTH(1, 20))     \
    F(R, i64, quantity, AIKI_REQUIRED, AIKI_RANGE(1, 99))
AIKI_RECORD(line, LINE);
#define ORDER(F, R)                                                                 \
    F(R, list(record(line)), lines, AIKI_REQUIRED, AIKI_LENGTH(1, 10))              \
    F(R, str, fault, AIKI_OPTIONAL, AIKI_ONE_OF("nothing|task|output"),             \
      AIKI_DEFAULT_TEXT("nothing"))
AIKI_RECORD(order, ORDER);
#define TOTAL(F, R) F(R, i64, quantity, AIKI_REQUIRED, AIKI_RANGE(1, 990))
AIKI_RECORD(total, TOTAL);

/* Raw with a schema, so that it can answer what a typed task could not. */
static aiki_status answer(aiki_writer *w, int64_t quantity)
{
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "quantity");
    aiki_mp_int(w, quantity);
    return w->status;
}

static aiki_status add_up(aiki_call *call, aiki_view input)
{
    const aiki_memory memory = aiki_call_memory(call);
    aiki_writer w = aiki_call_writer(call);
    aiki_error err = AIKI_ERROR_INIT;
    struct order in;
    int64_t quantity = 0;

    if (order_decode(input, &memory, &in, &err) != AIKI_OK)
        return call->api->fail(call, &err);
    for (uint64_t i = 0; i < in.lines_count; i++)
        quantity += in.lines[i].quantity;
    AIKI_TRY(answer(&w, strcmp(in.fault, "task") == 0 ? -1 : quantity));
    return aiki_call_output(call, &w);
}

static aiki_status payloads(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct order in;
    aiki_view sum;

    AIKI_TRY(order_decode(input, &memory, &in, err));
    AIKI_TRY(aiki_task(run, "add-up", input, &sum, err));
    if (strcmp(in.fault, "output") != 0)
        return run->api->output(run, sum);
    AIKI_TRY(answer(&w, -1));
    return aiki_output(run, &w, err);
}

/* ---- modes ------------------------------------------------------------------------------- */

static aiki_status echo(aiki_call *call, const struct total *in, struct total *out)
{
    (void)call;
    *out = *in;
    return AIKI_OK;
}
#define ECHO(mode, setting)                                                                  \
    static aiki_status mode(aiki_call *call, const struct total *in, struct total *out)     \
    {                                                                                        \
        return echo(call, in, out);                                                          \
    }                                                                                        \
    AIKI_TASK_TYPED_WITH(mode, #mode, total, total, AIKI_SCHEMA(setting))
ECHO(strict, AIKI_SCHEMA_STRICT);
ECHO(warn, AIKI_SCHEMA_WARN);
ECHO(off, AIKI_SCHEMA_OFF);

#define MODES_INPUT(F, R)                                                \
    F(R, str, task, AIKI_REQUIRED, AIKI_ONE_OF("strict|warn|off"))       \
    F(R, i64, quantity, AIKI_REQUIRED)
AIKI_RECORD(modes_input, MODES_INPUT);

static aiki_status modes(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct modes_input in;
    aiki_view output;

    AIKI_TRY(modes_input_decode(input, &memory, &in, err));
    AIKI_TRY(answer(&w, in.quantity));
    AIKI_TRY(aiki_task(run, in.task, aiki_writer_view(&w), &output, err));
    return run->api->output(run, output);
}

static aiki_status lax(aiki_run *run, const struct total *in, struct total *out, aiki_error *err)
{
    (void)run;
    (void)err;
    *out = *in;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED_WITH(lax, "lax", "1.0.0", total, total, AIKI_SCHEMA(AIKI_SCHEMA_WARN));

AIKI_PLUGIN("payloads", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("payloads", "1.0.0", payloads, AIKI_INPUT(order),
                                         AIKI_OUTPUT(total)),
                           AIKI_WORKFLOW("modes", "1.0.0", modes, AIKI_INPUT(modes_input)),
                           lax_workflow),
            AIKI_TASKS(AIKI_TASK("add-up", add_up, AIKI_INPUT(order), AIKI_OUTPUT(total)),
                       strict_task, warn_task, off_task));
