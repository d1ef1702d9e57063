/* process.c - see process.h. fork, because posix_spawn cannot set the parent-death signal. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire/error.h"

enum { EXEC_FAILED = 127 };

void words_add(struct words *w, ...)
{
    va_list args;
    va_start(args, w);
    for (const char *word; (word = va_arg(args, const char *)) != NULL;) {
        char *copy = w->count < PROCESS_ARGS_MAX ? strdup(word) : NULL;
        if (copy == NULL)
            abort();
        w->list[w->count++] = copy;
        w->list[w->count] = NULL;
    }
    va_end(args);
}

void words_clear(struct words *w)
{
    for (unsigned i = 0; i < w->count; i++)
        free(w->list[i]);
    *w = (struct words){.count = 0};
}

/* Between fork and exec: async-signal-safe calls only. */
static void become(const struct words *words, pid_t parent, const struct process_io *io)
{
    (void)setpgid(0, 0); /* Ctrl-C reaches the parent, who stops the parts in order */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(EXEC_FAILED);
    (void)signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);

    int null_fd = open("/dev/null", O_RDWR);
    int ready_fd = io->ready_fd;
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
        (io->err_fd >= 0 && dup2(io->err_fd, STDERR_FILENO) < 0) ||
        dup2(io->out_fd >= 0 ? io->out_fd : STDERR_FILENO, STDOUT_FILENO) < 0)
        _exit(EXEC_FAILED);
    if (ready_fd == PROCESS_READY_FD)
        (void)fcntl(ready_fd, F_SETFD, 0); /* dup2 onto itself would keep close-on-exec */
    else if (ready_fd >= 0 && dup2(ready_fd, PROCESS_READY_FD) < 0)
        _exit(EXEC_FAILED);
    if (null_fd > STDERR_FILENO && null_fd != PROCESS_READY_FD)
        close(null_fd);
    execvp(words->list[0], words->list);
    _exit(EXEC_FAILED);
}

aiki_status process_start(const struct words *words, const struct process_io *io, pid_t *ret_pid,
                          aiki_error *err)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return error_set(err, AIKI_NOMEM, "cannot start %s: %s", words->list[0], strerror(errno));
    if (pid == 0)
        become(words, parent, io);
    *ret_pid = pid;
    return AIKI_OK;
}

const char *process_end_text(int wait_status, char *buffer, size_t size)
{
    if (WIFSIGNALED(wait_status))
        snprintf(buffer, size, "signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else if (WEXITSTATUS(wait_status) == EXEC_FAILED)
        snprintf(buffer, size, "it could not be executed; is it installed?");
    else
        snprintf(buffer, size, "exit code %d", WEXITSTATUS(wait_status));
    return buffer;
}
