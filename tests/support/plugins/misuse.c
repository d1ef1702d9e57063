/* misuse.c - does, once, what plugin code should not do, though it does not die of it at once.
 *
 *   misuse {"how": "fork", "path": P, "where": "task"}
 *   fickle {"path": P}     hands its task what the clock says, and waits behind it
 *
 * P marks that it was done; whoever finds the mark only answers, but for "wipe" and "unlock", which do it each time. A task has 500 ms and two attempts.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <aiki/record.h>

#include "trace.h"

#define MISUSE_INPUT(F, R)             \
    F(R, str, how, AIKI_REQUIRED)      \
    F(R, str, path, AIKI_REQUIRED)     \
    F(R, str, where, AIKI_OPTIONAL, AIKI_ONE_OF("task|workflow"), AIKI_DEFAULT_TEXT("task"))
AIKI_RECORD(misuse_input, MISUSE_INPUT);
#define MISUSE_OUTPUT(F, R) F(R, i64, attempt, AIKI_REQUIRED)
AIKI_RECORD(misuse_output, MISUSE_OUTPUT);

static void sleep_long(void)
{
    (void)sleep(3600);
}

static void read_nothing(void)
{
    int ends[2];
    char c;
    if (pipe(ends) == 0)
        (void)!read(ends[0], &c, 1);
}

static void lock_twice(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&lock);
    (void)pthread_mutex_lock(&lock);
}

/* Both come back from it. */
static void fork_here(void)
{
    (void)!fork();
}

static void crash_forked(void)
{
    pid_t pid = fork();
    if (pid == 0)
        abort();
    (void)waitpid(pid, NULL, 0);
}

/* A copy of this process is to go on without it. */
static void detach(void)
{
    (void)!daemon(1, 1);
}

static void become_another(void)
{
    (void)execl("/bin/sleep", "sleep", "3600", (char *)NULL);
}

/* Stopped for its tracer, which is the process that started this one. */
static void ask_to_be_traced(void)
{
    (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    (void)raise(SIGUSR1);
}

/* As job control would, or somebody else. */
static void stop_all(void)
{
    (void)raise(SIGSTOP); /* of this thread, so that it is in here when all stop */
}

static void expect_refused(int answer)
{
    if (answer != -1 || errno != EPERM)
        abort();
}

/* Each was meant for a process of its own. */
static void signal_strangers(void)
{
    pid_t runtime = getppid();
    expect_refused(kill(runtime, SIGTERM));
    expect_refused(kill(-getpgid(runtime), SIGTERM));
    expect_refused(killpg(getpgid(runtime), SIGTERM));
    expect_refused(kill(-1, SIGWINCH)); /* which would do nobody harm */
    if (prctl(PR_GET_SECCOMP) == 2) {
        expect_refused((int)syscall(SYS_kill, runtime, SIGTERM));
        expect_refused((int)syscall(SYS_tgkill, runtime, runtime, SIGTERM));
        expect_refused((int)syscall(SYS_pidfd_open, runtime, 0));
    }
    if (kill(0, SIGTERM) != 0 || kill(runtime, 0) != 0)
        abort();
}

/* A program that it started, which is its own to end. */
static void signal_own(void)
{
    int status = 0;
    char *const argv[] = {"sleep", "3600", NULL};
    pid_t pid;
    if (posix_spawn(&pid, "/bin/sleep", NULL, NULL, argv, environ) != 0 || kill(pid, SIGKILL) != 0 ||
        waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        abort();
}

/* What the host keeps of its threads, and then the process. */
static void wipe(bool unprotect)
{
    char line[512];
    unsigned long from, to;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        if (strstr(line, "memfd:aiki-blame") != NULL && sscanf(line, "%lx-%lx", &from, &to) == 2) {
            void *page = (void *)from; /* NOLINT(performance-no-int-to-ptr): that is the point */
            if (unprotect)
                (void)mprotect(page, to - from, PROT_READ | PROT_WRITE);
            memset(page, 0, to - from);
        }
    abort();
}

static void wipe_and_die(void)
{
    wipe(false);
}

/* Nobody does that by mistake. */
static void wipe_by_all_means(void)
{
    wipe(true);
}

static void *wait_for_ever(void *arg)
{
    for (;;)
        (void)pause();
    return arg;
}

static void leave_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0)
        (void)pthread_detach(thread);
}

static void die_of_it(void *arg)
{
    (void)arg;
    abort();
}

static void die_at_exit(void)
{
    abort();
}

/* What would be called if threads or the process ended in an orderly way, with the code unmapped. */
static void leave_handlers(void)
{
    pthread_key_t key;
    (void)atexit(die_at_exit);
    if (pthread_key_create(&key, die_of_it) == 0)
        (void)pthread_setspecific(key, &key);
}

/* What the C library keeps behind the block is not what it was. */
static void scribble(void)
{
    char *volatile block = malloc(24), *volatile behind = malloc(24);
    volatile size_t end = block != NULL && behind != NULL ? 64 : 0;
    for (size_t i = 24; i < end; i++)
        block[i] = (char)0xff;
}

/* Reaches below the guard of its stack unless each page on the way is touched. */
static void jump_over_guard(void)
{
    volatile char large[16 << 20];
    large[0] = 1;
    (void)large[0];
}

static jmp_buf workflow_place;

/* Into the workflow's function, which waits for this task on a stack of its own. */
static void jump_out(void)
{
    longjmp(workflow_place, 1);
}

/* clang-format off */
static const struct {
    const char *how;
    void (*fn)(void);
} ways[] = {
    {"sleep", sleep_long}, {"read", read_nothing}, {"deadlock", lock_twice}, {"fork", fork_here},
    {"forked_crash", crash_forked}, {"daemon", detach}, {"execve", become_another},
    {"leave_thread", leave_thread}, {"leave_handlers", leave_handlers}, {"scribble", scribble},
    {"jump", jump_over_guard}, {"longjmp", jump_out}, {"traced", ask_to_be_traced},
    {"stop", stop_all}, {"wipe", wipe_and_die}, {"unlock", wipe_by_all_means},
    {"signals", signal_strangers}, {"own_signals", signal_own},
};
/* clang-format on */

static aiki_status do_once(const struct misuse_input *in)
{
    bool again = strcmp(in->how, "wipe") == 0 || strcmp(in->how, "unlock") == 0;
    if (trace_size(in->path) > 0 && !again)
        return AIKI_OK;
    if (!trace_append(in->path, "x", 1))
        return AIKI_FAILED;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(in->how, ways[i].how) == 0)
            ways[i].fn();
    return AIKI_OK;
}

static aiki_status misuse_task_fn(aiki_call *call, const struct misuse_input *in,
                                  struct misuse_output *out)
{
    if (strcmp(in->where, "task") == 0)
        AIKI_TRY(do_once(in));
    out->attempt = aiki_attempt(call);
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(misuse_task_fn, "misuse", misuse_input, misuse_output, AIKI_TIMEOUT_MS(500),
                     AIKI_FIXED_DELAY(2, 10));

static aiki_status misuse(aiki_run *run, const struct misuse_input *in, struct misuse_output *out,
                          aiki_error *err)
{
    if (strcmp(in->where, "workflow") == 0) /* breaks the rule of purity on purpose */
        AIKI_TRY(do_once(in));
    (void)setjmp(workflow_place);
    return misuse_task_fn_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(misuse, "misuse", "1.0.0", misuse_input, misuse_output);

static aiki_status fickle(aiki_run *run, const struct misuse_input *in, struct misuse_output *out,
                          aiki_error *err)
{
    struct timespec now;
    struct misuse_input sent = *in;
    char text[32];
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(text, sizeof(text), "%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
    sent.how = text;
    AIKI_TRY(misuse_task_fn_call(run, &sent, out, err));
    return aiki_sleep(run, "rest", 50, err);
}
AIKI_WORKFLOW_TYPED(fickle, "fickle", "1.0.0", misuse_input, misuse_output);

AIKI_PLUGIN("misuse", "1.0.0", AIKI_WORKFLOWS(misuse_workflow, fickle_workflow),
            AIKI_TASKS(misuse_task_fn_task));
