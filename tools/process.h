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

/* Start words->list[0] (searched in PATH) in a process group of its own, killed by the kernel
 * when this process ends in whatever way. Standard input is empty; standard output goes to
 * out_fd (-1: to standard error). ready_fd (-1: none) becomes descriptor PROCESS_READY_FD. */
aiki_status process_start(const struct words *words, int ready_fd, int out_fd, pid_t *ret_pid,
                          aiki_error *err);
/* "exit code 1", "signal 9 (Killed)", "could not be executed; is it installed?" */
const char *process_end_text(int wait_status, char *buffer, size_t size);

#endif
