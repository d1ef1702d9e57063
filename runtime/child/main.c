/* main.c - the program that loads a plugin: its process, or a probe of it. Only aiki-runtime starts it.
 *
 *   aiki-child --child FD LABEL RELEASE     a plugin's process (child.h)
 *   aiki-child --probe FD RELEASE           loads a plugin to see whether it can be (probe.h)
 *
 * Apart from aiki-runtime because it is started much more often: again after a crash, and once for each run that
 * is executed alone. Without the libraries of TLS, Redis and HTTP that costs a third.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/blame.h"
#include "base/log.h"
#include "base/sibling.h"
#include "child/child.h"
#include "child/print.h"
#include "child/probe.h"
#include "child/stack.h"
#include "child/stray.h"

enum { EXIT_USAGE = 2, EXIT_ORPHAN = 71 };

/* What another release says may be more than this one hears: the sandbox to be in, for instance. */
static bool is_ours(const char *release)
{
    if (strcmp(release, sibling_release()) == 0)
        return true;
    log_error("child", "aiki-child is of release %s, the aiki-runtime that started it of %s; install both, and "
              "start that again", sibling_release(), release);
    return false;
}

/* Before any plugin code: nothing of the broker's to reach, nothing left behind when it dies. */
static int be_child(const char *fd_text, const char *label, const char *release)
{
    const struct rlimit no_core = {0, 0}; /* a plugin's memory holds what customers sent */
    struct ucred broker = {0};
    socklen_t size = sizeof(broker);
    int fd = atoi(fd_text);
    log_init("child", LOG_INFO);
    stack_name_build(label);
    if (!is_ours(release))
        return EXIT_ORPHAN;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &broker, &size) != 0 || getppid() != broker.pid) {
        log_error("child", "no broker on descriptor %s; aiki-runtime starts this program",
                  fd_text);
        return EXIT_ORPHAN;
    }
    stray_protect(broker.pid);
    (void)setrlimit(RLIMIT_CORE, &no_core); /* lowering cannot fail */
    if (blame_attach(fd + 1) != AIKI_OK) {
        log_error("child", "no page on descriptor %d", fd + 1);
        return EXIT_ORPHAN;
    }
    (void)close_range((unsigned)fd + 1, UINT_MAX, 0); /* the broker opens all with O_CLOEXEC */
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);             /* it is there: the broker sees what execs end */
    print_tagged();
    return child_main(fd);
}

/* The same with less: it lives for some milliseconds. */
static int be_probe(const char *fd_text, const char *release)
{
    int fd = atoi(fd_text);
    log_init("probe", LOG_INFO);
    if (!is_ours(release) || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return EXIT_ORPHAN;
    (void)close_range((unsigned)fd + 1, UINT_MAX, 0);
    return probe_main(fd);
}

int main(int argc, char **argv)
{
    (void)prctl(PR_SET_NAME, "aiki-child"); /* for people: it was started by a number */
    if (argc == 5 && strcmp(argv[1], "--child") == 0)
        return be_child(argv[2], argv[3], argv[4]);
    if (argc == 4 && strcmp(argv[1], "--probe") == 0)
        return be_probe(argv[2], argv[3]);
    fprintf(stderr, "aiki-child %s loads plugins for aiki-runtime, which starts it\n", sibling_release());
    return EXIT_USAGE;
}
