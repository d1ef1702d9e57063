/* reap.c - see reap.h. */
#include "broker/reap.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

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

bool reap_is_stopped(int pid)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

bool reap_ended(int pid)
{
    int status;
    pid_t found = waitpid(pid, &status, WNOHANG | __WALL);
    return found < 0 || (found == pid && (WIFEXITED(status) || WIFSIGNALED(status)));
}
