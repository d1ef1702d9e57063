/* confined.c - does one thing that a sandbox may refuse.
 *
 *   confined {"what": "read", "path": "/etc/hosts"} --> {"errno": 13}
 *
 * 0: it could be done. A task that is ended on the way has no answer. -DNEEDS: what it declares; -DVERSION: of
 * plugin and workflow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <aiki/record.h>

#ifndef VERSION
#define VERSION "1.0.0"
#endif

#define CONFINED_INPUT(F, R)                                      \
    F(R, str, what, AIKI_REQUIRED, AIKI_LENGTH(1, 20))            \
    F(R, str, path, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT("/dev/null")) \
    F(R, bool, later, AIKI_OPTIONAL)
AIKI_RECORD(confined_input, CONFINED_INPUT);
#define CONFINED_OUTPUT(F, R) F(R, i64, errno_was, AIKI_REQUIRED)
AIKI_RECORD(confined_output, CONFINED_OUTPUT);

static int close_or_errno(int fd)
{
    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

static int read_file(const char *path)
{
    return close_or_errno(open(path, O_RDONLY | O_CLOEXEC));
}

static int write_file(const char *path)
{
    return close_or_errno(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int cut_file(const char *path)
{
    return truncate(path, 0) == 0 ? 0 : errno;
}

static int change_mode(const char *path)
{
    return chmod(path, 0600) == 0 ? 0 : errno;
}

static int open_socket(const char *path)
{
    (void)path;
    return close_or_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int open_local_socket(const char *path)
{
    (void)path;
    return close_or_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int wait_for(pid_t pid)
{
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int start_process(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl(path, path, (char *)NULL);
        _exit(127);
    }
    return wait_for(pid);
}

/* Makes its process while all signals are blocked. */
static int start_by_shell(const char *path)
{
    return system(path); /* NOLINT(cert-env33-c): that is the point */
}

static int become(const char *path)
{
    (void)execl(path, path, (char *)NULL);
    return errno;
}

/* The other process does not end as it should, but comes back as if it were this one. */
static int come_back_twice(const char *path)
{
    (void)path;
    pid_t pid = fork();
    return pid == 0 ? 0 : wait_for(pid);
}

/* It leaves by the door that other code of this process has put handlers at. */
static int exit_in_copy(const char *path)
{
    (void)path;
    pid_t pid = fork();
    if (pid == 0)
        exit(5);
    return wait_for(pid) == 5 ? 0 : EINVAL;
}

static int crash_in_copy(const char *path)
{
    (void)path;
    pid_t pid = fork();
    if (pid == 0)
        abort();
    return wait_for(pid) == 256 + SIGABRT ? 0 : EINVAL;
}

static int trace(const char *path)
{
    (void)path;
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : errno;
}

static int signal_parent(const char *path)
{
    (void)path;
    return kill(getppid(), 0) == 0 ? 0 : errno;
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* What every plugin may do. */
static int live(const char *path)
{
    const struct timespec pause = {0, 1000000};
    pthread_t thread;
    void *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)path;
    if (pages == MAP_FAILED || pthread_create(&thread, NULL, do_nothing, NULL) != 0)
        return errno;
    (void)pthread_join(thread, NULL);
    (void)nanosleep(&pause, NULL);
    (void)memset(pages, 1, 1 << 20);
    return munmap(pages, 1 << 20) == 0 && raise(SIGCONT) == 0 ? 0 : errno;
}

static const struct {
    const char *what;
    int (*fn)(const char *path);
} deeds[] = {
    {"read", read_file}, {"write", write_file}, {"truncate", cut_file}, {"chmod", change_mode},
    {"socket", open_socket}, {"unix", open_local_socket}, {"fork", start_process}, {"system", start_by_shell},
    {"exec", become}, {"twice", come_back_twice}, {"copy-exits", exit_in_copy},
    {"copy-crashes", crash_in_copy}, {"ptrace", trace}, {"kill", signal_parent}, {"live", live},
};

static int do_it(const struct confined_input *in)
{
    for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
        if (strcmp(in->what, deeds[i].what) == 0)
            return deeds[i].fn(in->path);
    return ENOSYS;
}

static aiki_status deed(aiki_call *call, const struct confined_input *in, struct confined_output *out)
{
    (void)call;
    out->errno_was = do_it(in);
    return AIKI_OK;
}
AIKI_TASK_TYPED(deed, "deed", confined_input, confined_output);

static aiki_status confined(aiki_run *run, const struct confined_input *in,
                            struct confined_output *out, aiki_error *err)
{
    if (strcmp(in->what, "flow-twice") == 0) /* breaks the rule of purity on purpose */
        (void)fork();
    if (in->later)
        AIKI_TRY(aiki_wait_signal(run, "now", AIKI_FOREVER_MS, NULL, err));
    return deed_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(confined, "confined", VERSION, confined_input, confined_output);

#ifdef AT_LOAD
static void __attribute__((constructor)) at_load(void)
{
    (void)open_socket("");
}
#endif

#ifdef NEEDS
AIKI_NEEDS(NEEDS);
#endif
AIKI_PLUGIN("confined", VERSION, AIKI_WORKFLOWS(confined_workflow), AIKI_TASKS(deed_task));
