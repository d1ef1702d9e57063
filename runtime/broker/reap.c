/* reap.c - see reap.h. */
#include "broker/reap.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

bool reap_goes_on(int pid)
{
    return waitpid(pid, NULL, WNOHANG) == 0; /* ECHILD: libuv has had its end */
}

void reap_threads(int pid)
{
    char path[64];
    struct dirent *e;
    (void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    while (threads != NULL && (e = readdir(threads)) != NULL) {
        int thread = atoi(e->d_name);
        if (thread > 0 && thread != pid) /* its own end is libuv's, or for reap_ended */
            (void)waitpid(thread, NULL, WNOHANG | __WALL); /* ECHILD: not traced */
    }
    if (threads != NULL)
        (void)closedir(threads);
}

/* "PID (NAME) STATE ...", proc(5). To wait for it would not do: beside a thread that is traced the others stop, and nobody is
 * told. */
char reap_state(int pid)
{
    char path[64], text[128];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && strlen(name_end) > 2 ? name_end[2] : '\0';
}

bool reap_ended(int pid)
{
    int status;
    pid_t found = waitpid(pid, &status, WNOHANG | __WALL);
    return found < 0 || (found == pid && (WIFEXITED(status) || WIFSIGNALED(status)));
}
