/* hello.c - the smallest useful plugin: one workflow, one task. */
#include <aiki/record.h>

#define HELLO_INPUT(F, R) F(R, str, name, AIKI_REQUIRED, AIKI_LENGTH(1, 100))
#define HELLO_OUTPUT(F, R) F(R, str, greeting, AIKI_REQUIRED)
AIKI_RECORD(hello_input, HELLO_INPUT);
AIKI_RECORD(hello_output, HELLO_OUTPUT);

/* Real work belongs in tasks: they may block, fail and be repeated. */
static aiki_status greet(aiki_call *call, const struct hello_input *in, struct hello_output *out)
{
    out->greeting = aiki_call_format(call, "Hello, %s!", in->name);
    return AIKI_OK;
}
AIKI_TASK_TYPED(greet, "greet", hello_input, hello_output);

/* Workflow code says what happens in which order; what a task answered is never asked again. */
static aiki_status hello(aiki_run *run, const struct hello_input *in, struct hello_output *out,
                         aiki_error *err)
{
    return greet_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(hello, "hello", "1.0.0", hello_input, hello_output);
AIKI_NEEDS(""); /* no files, no network, no processes */
AIKI_PLUGIN("hello", "1.0.0", AIKI_WORKFLOWS(hello_workflow), AIKI_TASKS(greet_task));
