/* greedy.c - uses what it is told to, and does not give it back.
 *
 *   greedy {"what": "memory", "amount": 10, "ms": 0, "times": 3}
 *
 * Each of `times` tasks, one after the other, takes `amount` MiB, descriptors or threads, or computes or prints
 * for it, then waits `ms` and until the file `gate` is there. The answer: how often it did, and in which processes.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <aiki/record.h>

#include "trace.h"

#define GREEDY_INPUT(F, R)                                                                     \
    F(R, str, what, AIKI_REQUIRED, AIKI_LENGTH(1, 20))                                         \
    F(R, i64, amount, AIKI_OPTIONAL, AIKI_RANGE(0, 1000000))                                   \
    F(R, i64, ms, AIKI_OPTIONAL, AIKI_RANGE(0, 60000))                                         \
    F(R, i64, times, AIKI_OPTIONAL, AIKI_RANGE(0, 10000), AIKI_DEFAULT(1))                     \
    F(R, bool, apart, AIKI_OPTIONAL)                                                           \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                                      \
    F(R, str, text, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(greedy_input, GREEDY_INPUT);
#define GREEDY_OUTPUT(F, R)            \
    F(R, i64, times, AIKI_REQUIRED)    \
    F(R, i64, processes, AIKI_REQUIRED)
AIKI_RECORD(greedy_output, GREEDY_OUTPUT);
#define GREEDY_PID(F, R) F(R, i64, pid, AIKI_REQUIRED)
AIKI_RECORD(greedy_pid, GREEDY_PID);

enum { MIB = 1024 * 1024, STACK_BYTES = 64 * 1024 };

/* Only what was touched is there. */
static aiki_status take_memory(aiki_call *call, const struct greedy_input *in)
{
    for (int64_t i = 0; i < in->amount; i++) {
        char *block = malloc(MIB);
        if (block == NULL)
            return aiki_fail(call, "NO_MEMORY", "after %lld MiB", (long long)i);
        memset(block, 1, MIB);
    }
    return AIKI_OK;
}

static aiki_status take_files(aiki_call *call, const struct greedy_input *in)
{
    for (int64_t i = 0; i < in->amount; i++)
        if (open("/dev/null", O_RDONLY) < 0)
            return aiki_fail_final(call, "NO_FILE", "after %lld", (long long)i);
    return AIKI_OK;
}

static void *wait_for_ever(void *arg)
{
    for (;;)
        (void)pause();
    return arg;
}

static void *return_at_once(void *arg)
{
    return arg;
}

/* Never joined: the first kind stays a thread, the second leaves its stack behind. */
static aiki_status take_threads(aiki_call *call, const struct greedy_input *in)
{
    pthread_attr_t attr;
    pthread_t thread;
    bool stays = strcmp(in->what, "threads") == 0;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (int64_t i = 0; i < in->amount; i++)
        if (pthread_create(&thread, &attr, stays ? wait_for_ever : return_at_once, NULL) != 0)
            return aiki_fail(call, "NO_THREAD", "after %lld", (long long)i);
    return AIKI_OK;
}

/* amount: milliseconds of processor time. */
static aiki_status take_time(aiki_call *call, const struct greedy_input *in)
{
    struct timespec t;
    int64_t end_ms = 0, now_ms = 0;
    for (bool first = true; first || now_ms < end_ms; first = false) {
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        now_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
        if (first)
            end_ms = now_ms + in->amount;
    }
    (void)call;
    return AIKI_OK;
}

/* amount lines. */
static aiki_status print(aiki_call *call, const struct greedy_input *in)
{
    (void)call;
    for (int64_t i = 0; i < in->amount; i++)
        (void)fprintf(i % 2 == 0 ? stdout : stderr, "%s %lld\n", in->text, (long long)i);
    return AIKI_OK;
}

/* Past stdio, amount KiB of it, after the text. */
static aiki_status print_raw(aiki_call *call, const struct greedy_input *in)
{
    static const char noise[1024] = "\x80\x01\x02\0\x1b[31m";
    (void)call;
    ssize_t n = write(STDOUT_FILENO, in->text, strlen(in->text));
    n += write(STDOUT_FILENO, "\n", 1);
    for (int64_t i = 0; i < in->amount && n > 0; i++)
        n = write(STDOUT_FILENO, noise, sizeof(noise));
    return n < 0 || write(STDOUT_FILENO, "\n", 1) < 0 ? AIKI_FAILED : AIKI_OK;
}

/* clang-format off */
static const struct {
    const char *what;
    aiki_status (*fn)(aiki_call *call, const struct greedy_input *in);
} ways[] = {
    {"memory", take_memory}, {"files", take_files}, {"threads", take_threads},
    {"unjoined", take_threads}, {"time", take_time}, {"print", print}, {"raw", print_raw},
};
/* clang-format on */

static aiki_status take(aiki_call *call, const struct greedy_input *in, struct greedy_pid *out)
{
    aiki_status st = AIKI_OK;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(in->what, ways[i].what) == 0)
            st = ways[i].fn(call, in);
    (void)usleep((useconds_t)in->ms * 1000);
    trace_await(call, in->gate);
    out->pid = getpid();
    return st;
}
AIKI_TASK_TYPED(take, "take", greedy_input, greedy_pid);

static aiki_status take_apart(aiki_call *call, const struct greedy_input *in, struct greedy_pid *out)
{
    return take(call, in, out);
}
AIKI_TASK_TYPED_WITH(take_apart, "take-apart", greedy_input, greedy_pid, AIKI_ISOLATED);

static aiki_status greedy(aiki_run *run, const struct greedy_input *in, struct greedy_output *out,
                          aiki_error *err)
{
    struct greedy_pid last = {.pid = 0}, now;
    for (; out->times < in->times; out->times++) {
        AIKI_TRY(in->apart ? take_apart_call(run, in, &now, err) : take_call(run, in, &now, err));
        out->processes += now.pid != last.pid;
        last = now;
    }
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(greedy, "greedy", "1.0.0", greedy_input, greedy_output);

AIKI_PLUGIN("greedy", "1.0.0", AIKI_WORKFLOWS(greedy_workflow), AIKI_TASKS(take_task, take_apart_task));
