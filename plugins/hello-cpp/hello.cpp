// hello.cpp - the smallest useful plugin in C++: one workflow, one task.
//   c++ -std=c++17 -shared -fPIC $(pkg-config --cflags aiki-plugin) hello.cpp -o hello-cpp.so
#include <exception>
#include <stdexcept>
#include <string>

#include <aiki/record.h>

#define HELLO_INPUT(F, R) F(R, str, name, AIKI_REQUIRED, AIKI_LENGTH(1, 100))
#define HELLO_OUTPUT(F, R) F(R, str, greeting, AIKI_REQUIRED)
AIKI_RECORD(hello_input, HELLO_INPUT);
AIKI_RECORD(hello_output, HELLO_OUTPUT);

// Each task thread has its own; destroyed with the thread, which the process outlives.
static thread_local std::string greeting;

// Exceptions are as usual inside, but none may leave: the host is C.
static aiki_status greet(aiki_call *call, const hello_input *in, hello_output *out)
{
    try {
        if (in->name[0] == ' ')
            throw std::invalid_argument("a name does not begin with a space");
        greeting = std::string("Hello, ") + in->name + ", from C++!";
        out->greeting = aiki_call_format(call, "%s", greeting.c_str());
        return AIKI_OK;
    } catch (const std::exception &e) {
        return aiki_fail(call, "BAD_NAME", "%s", e.what());
    }
}
AIKI_TASK_TYPED_WITH(greet, "greet-cpp", hello_input, hello_output, AIKI_NO_RETRY);

// No object with a destructor lives across a step: a run that waits may be dropped, not unwound.
static aiki_status hello(aiki_run *run, const hello_input *in, hello_output *out, aiki_error *err)
{
    AIKI_TRY(greet_call(run, in, out, err));
    return aiki_sleep(run, "rest", 20, err);
}
AIKI_WORKFLOW_TYPED(hello, "hello-cpp", "1.0.0", hello_input, hello_output);

AIKI_NEEDS(""); // no files, no network, no processes
AIKI_PLUGIN("hello-cpp", "1.0.0", AIKI_WORKFLOWS(hello_workflow), AIKI_TASKS(greet_task));
