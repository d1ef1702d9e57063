/* ledger.c - leaves a trace of every execution, to check the engine from outside.
 *
 *   aiki workflows trigger ledger --input '{"steps":10,"task_ms":0,"path":"/tmp/l","width":1}'
 *
 * With "gate" each step takes until that file is there, too. Each step appends one line RUN STEP ATTEMPT PID MONOTONIC_NS to path. A line is one write with
 * O_APPEND, so lines of any number of processes never mix. Steps count from 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <aiki/record.h>

enum { WIDTH_MAX = 1000, LINE_SIZE = 256, NAP_MS = 20 };

#define LEDGER_INPUT(F, R)                                                      \
    F(R, i64, steps, AIKI_REQUIRED, AIKI_RANGE(0, 100000))                      \
    F(R, i64, task_ms, AIKI_OPTIONAL, AIKI_RANGE(0, 3600000), AIKI_DEFAULT(0))  \
    F(R, str, path, AIKI_REQUIRED, AIKI_LENGTH(1, 4000))                        \
    F(R, i64, width, AIKI_OPTIONAL, AIKI_RANGE(1, WIDTH_MAX), AIKI_DEFAULT(1))  \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(ledger_input, LEDGER_INPUT);

#define LEDGER_OUTPUT(F, R) F(R, i64, steps, AIKI_REQUIRED)
AIKI_RECORD(ledger_output, LEDGER_OUTPUT);

#define APPEND_INPUT(F, R)              \
    F(R, i64, step, AIKI_REQUIRED)      \
    F(R, i64, task_ms, AIKI_REQUIRED)   \
    F(R, str, path, AIKI_REQUIRED)      \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(append_input, APPEND_INPUT);

static int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool append_line(const char *path, const char *line, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    ssize_t written;
    if (fd < 0)
        return false;
    written = write(fd, line, size_bytes);
    close(fd);
    return written == (ssize_t)size_bytes;
}

/* In short naps, so that a task nobody waits for ends soon. */
static void take_time(const aiki_call *call, int64_t duration_ms)
{
    const int64_t end_ns = monotonic_ns() + duration_ms * 1000000;
    int64_t left_ns;
    while ((left_ns = end_ns - monotonic_ns()) > 0 && !aiki_cancelled(call)) {
        struct timespec nap = {0, left_ns < NAP_MS * 1000000 ? left_ns : NAP_MS * 1000000};
        nanosleep(&nap, NULL);
    }
}

static void await_gate(const aiki_call *call, const char *gate)
{
    while (gate[0] != '\0' && access(gate, F_OK) != 0 && !aiki_cancelled(call))
        take_time(call, NAP_MS);
}

static aiki_status append(aiki_call *call, const struct append_input *in, struct aiki_nothing *out)
{
    char line[LINE_SIZE];
    int size = snprintf(line, sizeof(line), "%s %lld %u %ld %lld\n", aiki_call_run_id(call),
                        (long long)in->step, aiki_attempt(call), (long)getpid(),
                        (long long)monotonic_ns());
    (void)out;
    if (!append_line(in->path, line, (size_t)size))
        return aiki_fail(call, "LEDGER_WRITE", "%s: %s", in->path, strerror(errno));
    take_time(call, in->task_ms);
    await_gate(call, in->gate);
    return AIKI_OK;
}
AIKI_TASK_TYPED(append, "append", append_input, aiki_nothing);

static aiki_status ledger(aiki_run *run, const struct ledger_input *in, struct ledger_output *out,
                          aiki_error *err)
{
    aiki_future futures[WIDTH_MAX];
    for (int64_t begin = 0; begin < in->steps; begin += in->width) {
        uint32_t count = 0;
        for (int64_t step = begin; step < in->steps && step < begin + in->width; step++) {
            const struct append_input entry = {step, in->task_ms, in->path, in->gate};
            AIKI_TRY(append_start(run, &entry, NULL, &futures[count++], err));
        }
        AIKI_TRY(aiki_await_all(run, futures, count, err));
    }
    out->steps = in->steps;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(ledger, "ledger", "1.0.0", ledger_input, ledger_output);

AIKI_PLUGIN("ledger", "1.0.0", AIKI_WORKFLOWS(ledger_workflow), AIKI_TASKS(append_task));
