/* crash.c - takes its process down on request.
 *
 *   crash {"how": "segv", "times": 2, "path": P}
 *
 * The task dies `times` times, counted by marks in P that outlive the process, then answers how
 * often it did. With "where": "workflow" the workflow itself dies instead of the task. With "begun" each
 * execution of the task leaves a mark there. It takes `ms` and waits until the file "gate" is there, before it dies
 * or answers. "later" leaves a thread that dies when P is there. Who made a mark dies: a host that stops its threads because another one crashes is not heard from the
 * mark on.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <aiki/record.h>

#include "trace.h"

#define CRASH_INPUT(F, R)                                                                      \
    F(R, str, how, AIKI_REQUIRED, AIKI_LENGTH(1, 20))                                          \
    F(R, str, begun, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                                     \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                                      \
    F(R, i64, ms, AIKI_OPTIONAL, AIKI_RANGE(0, 60000))                                         \
    F(R, i64, times, AIKI_OPTIONAL, AIKI_RANGE(0, 1000), AIKI_DEFAULT(1))                      \
    F(R, str, path, AIKI_REQUIRED)                                                             \
    F(R, str, where, AIKI_OPTIONAL, AIKI_ONE_OF("task|workflow"), AIKI_DEFAULT_TEXT("task"))
AIKI_RECORD(crash_input, CRASH_INPUT);
#define CRASH_OUTPUT(F, R) F(R, i64, crashes, AIKI_REQUIRED)
AIKI_RECORD(crash_output, CRASH_OUTPUT);

static volatile unsigned sink; /* wraps: the loop is for ever */

/* Deeper than any stack; the array keeps the compiler from turning it into a loop. */
static int overflow(int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

static void die_by_null(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}

static void die_by_division(void)
{
    volatile unsigned zero = 0;
    sink = 7000 / zero;
}

static void die_by_instruction(void)
{
    __builtin_trap();
}

static void exit_0(void)
{
    exit(0);
}

static void exit_at_once(void)
{
    _exit(3);
}

static void exit_quickly(void)
{
    quick_exit(4);
}

static void die_by_signal(void)
{
    (void)raise(SIGSEGV);
}

static void die_by_bus(void)
{
    (void)raise(SIGBUS);
}

static void die_by_kill(void)
{
    (void)kill(getpid(), SIGKILL);
}

static void use_up_stack(void)
{
    sink = (unsigned)overflow(1);
}

static void go_on_for_ever(void)
{
    for (;;)
        sink++;
}

/* The descriptors of the host among them. */
static void close_everything(void)
{
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
}

static void die_without_handlers(void)
{
    (void)signal(SIGSEGV, SIG_DFL);
    die_by_null();
}

/* The C library notices. */
static void free_twice(void)
{
    void *volatile block = malloc(24), *volatile same = block;
    free(block);
    free(same);
}

/* As malloc would, and code that cannot go on without; no more is taken for it. */
static void ask_for_too_much(void)
{
    if (mmap(NULL, (size_t)1 << 62, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
        abort();
}

/* More than the test lets it have, and then nothing. */
static void take_too_much(void)
{
    enum { TOO_MUCH = 400 << 20 };
    void *taken = mmap(NULL, TOO_MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taken != MAP_FAILED)
        memset(taken, 1, TOO_MUCH);
    for (;;)
        (void)pause();
}

static void *die_elsewhere(void *arg)
{
    die_by_null();
    return arg;
}

/* Long after who started it, perhaps. */
static void *die_when_told(void *arg)
{
    char *path = arg;
    while (access(path, F_OK) != 0)
        (void)usleep(5000);
    die_by_null();
    return path;
}

static void leave_thread(const char *path)
{
    pthread_t thread;
    char *copy = strdup(path);
    if (copy != NULL && pthread_create(&thread, NULL, die_when_told, copy) == 0)
        (void)pthread_detach(thread);
}

static void die_in_own_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, die_elsewhere, NULL) == 0)
        (void)pthread_join(thread, NULL);
}

/* clang-format off */
static const struct {
    const char *how;
    void (*fn)(void);
} ways[] = {
    {"segv", die_by_signal}, {"null", die_by_null}, {"bus", die_by_bus},
    {"division", die_by_division}, {"instruction", die_by_instruction}, {"abort", abort},
    {"exit", exit_0}, {"_exit", exit_at_once}, {"quick_exit", exit_quickly},
    {"kill", die_by_kill}, {"stack", use_up_stack}, {"loop", go_on_for_ever},
    {"close", close_everything}, {"handlers", die_without_handlers}, {"heap", free_twice},
    {"thread", die_in_own_thread}, {"memory", ask_for_too_much}, {"greed", take_too_much},
};
/* clang-format on */

static void die(const char *how)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(how, ways[i].how) == 0)
            ways[i].fn();
}

static void block_stops(int how)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
        (void)sigaddset(&set, i);
    (void)pthread_sigmask(how, &set, NULL);
}

static aiki_status maybe_die(const struct crash_input *in)
{
    block_stops(SIG_BLOCK);
    if (trace_size(in->path) < in->times && trace_append(in->path, "x", 1))
        die(in->how);
    block_stops(SIG_UNBLOCK);
    return AIKI_OK;
}

static aiki_status crash_task_fn(aiki_call *call, const struct crash_input *in,
                                 struct crash_output *out)
{
    if (in->begun[0] != '\0' && !trace_append(in->begun, "b", 1))
        return AIKI_FAILED;
    (void)usleep((useconds_t)in->ms * 1000);
    if (strcmp(in->how, "later") == 0)
        leave_thread(in->path);
    else
        trace_await(call, in->gate);
    if (strcmp(in->where, "task") == 0 && strcmp(in->how, "later") != 0)
        AIKI_TRY(maybe_die(in));
    out->crashes = trace_size(in->path);
    return AIKI_OK;
}
AIKI_TASK_TYPED(crash_task_fn, "crash", crash_input, crash_output);

static aiki_status crash(aiki_run *run, const struct crash_input *in, struct crash_output *out,
                         aiki_error *err)
{
    if (strcmp(in->where, "workflow") == 0) /* breaks the rule of purity on purpose */
        AIKI_TRY(maybe_die(in));
    return crash_task_fn_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(crash, "crash", "1.0.0", crash_input, crash_output);

#ifndef CRASH_RELEASE
#define CRASH_RELEASE "1.0.0"
#endif
AIKI_PLUGIN("crash", CRASH_RELEASE, AIKI_WORKFLOWS(crash_workflow), AIKI_TASKS(crash_task_fn_task));
