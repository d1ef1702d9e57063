// crash.cpp - crash-cpp {"path": P, "where": "task"}: an exception leaves the task, or the workflow, the
// first time, P marks it.
#include <fstream>
#include <stdexcept>
#include <string>

#include <aiki/record.h>

#define CRASH_INPUT(F, R)          \
    F(R, str, path, AIKI_REQUIRED) \
    F(R, str, where, AIKI_OPTIONAL, AIKI_ONE_OF("task|workflow"), AIKI_DEFAULT_TEXT("task"))
#define CRASH_OUTPUT(F, R) F(R, str, path, AIKI_REQUIRED)
AIKI_RECORD(crash_input, CRASH_INPUT);
AIKI_RECORD(crash_output, CRASH_OUTPUT);

static thread_local std::string kept; // has a destructor

static void throw_once(const crash_input *in)
{
    if (std::ifstream(in->path).good())
        return;
    std::ofstream(in->path) << "x";
    throw std::runtime_error("nobody catches this");
}

static aiki_status crash(aiki_call *call, const crash_input *in, crash_output *out)
{
    kept = in->path;
    if (std::string(in->where) == "task")
        throw_once(in);
    out->path = aiki_call_format(call, "%s", kept.c_str());
    return AIKI_OK;
}
AIKI_TASK_TYPED(crash, "crash-cpp", crash_input, crash_output);

static aiki_status crash_run(aiki_run *run, const crash_input *in, crash_output *out, aiki_error *err)
{
    if (std::string(in->where) == "workflow")
        throw_once(in);
    return crash_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(crash_run, "crash-cpp", "1.0.0", crash_input, crash_output);

AIKI_PLUGIN("crash-cpp", "1.0.0", AIKI_WORKFLOWS(crash_run_workflow), AIKI_TASKS(crash_task));
