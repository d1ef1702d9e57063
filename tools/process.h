/* process.h - start programs that die with this one. [main thread] */
#ifndef TOOLS_PROCESS_H
#define TOOLS_PROCESS_H

#include <aiki/status.h>
#include <sys/types.h>

enum { PROCESS_ARGS_MAX = 32, PROCESS_READY_FD = 3 };

/* A command line under construction. Words are copied. */
struct words {
    char *list[PROCESS_ARGS_MAX + 1]; /* owned; NULL-terminated */
    unsigned count;
};
/* NULL words end the list. Over PROCESS_ARGS_MAX or out of memory is a bug here and aborts. */
void words_add(struct words *w, ...) __attribute__((sentinel));
void words_clear(struct words *w);

/* Where the descriptors of a program go; -1 as stated. Standard input is empty. */
struct process_io {
    int ready_fd; /* becomes PROCESS_READY_FD; -1: none */
    int out_fd;   /* standard output; -1: the same as standard error */
    int err_fd;   /* standard error; -1: that of this process */
};

/* Start words->list[0] (searched in PATH) in a process group of its own, killed by the kernel
 * when this process ends in whatever way. */
aiki_status process_start(const struct words *words, const struct process_io *io, pid_t *ret_pid,
                          aiki_error *err);
/* "exit code 1", "signal 9 (Killed)", "could not be executed; is it installed?" */
const char *process_end_text(int wait_status, char *buffer, size_t size);

#endif
