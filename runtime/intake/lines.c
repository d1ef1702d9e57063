/* lines.c - see lines.h. */
#include "intake/lines.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child_env.h"
#include "base/cleanup.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/sibling.h"

/* ---- is there anything to read? -------------------------------------------------------------- */

/* Every offset is checked: only the program headers have been so far (elf.h). */
static bool names_lines(const uint8_t *file, uint64_t size)
{
    ElfW(Ehdr) head;
    if (size < sizeof(head))
        return false;
    memcpy(&head, file, sizeof(head));
    uint64_t table_bytes = head.e_shnum * (uint64_t)sizeof(ElfW(Shdr));
    if (head.e_shentsize != sizeof(ElfW(Shdr)) || head.e_shoff > size || table_bytes > size - head.e_shoff ||
        head.e_shstrndx >= head.e_shnum)
        return false;
    ElfW(Shdr) names, section;
    memcpy(&names, file + head.e_shoff + head.e_shstrndx * sizeof(names), sizeof(names));
    if (names.sh_offset > size || names.sh_size > size - names.sh_offset)
        return false;
    static const char wanted[] = ".debug_line";
    for (unsigned i = 0; i < head.e_shnum; i++) {
        memcpy(&section, file + head.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_name < names.sh_size && names.sh_size - section.sh_name >= sizeof(wanted) &&
            memcmp(file + names.sh_offset + section.sh_name, wanted, sizeof(wanted)) == 0)
            return true;
    }
    return false;
}

static bool has_lines(int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0 || about.st_size <= 0)
        return false;
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return false;
    bool found = names_lines(map, (uint64_t)about.st_size);
    (void)munmap(map, (size_t)about.st_size);
    return found;
}

/* ---- reading it ------------------------------------------------------------------------------ */

static int spawn(const char *program, int from, int to, pid_t *ret_pid)
{
    char *args[] = {"aiki-lines", NULL};
    char *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return rc;
    if ((rc = posix_spawnattr_init(&attributes)) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(&attributes, &none); /* these cannot fail with what they are given */
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if ((rc = posix_spawn_file_actions_adddup2(&actions, from, STDIN_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)) == 0)
        rc = posix_spawn(ret_pid, program, &actions, &attributes, args, env);
    if (rc == 0)
        child_give_way(*ret_pid);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* It limits itself; who was taken over by what it read might not. */
static bool await(pid_t pid)
{
    int status = 0;
    AUTO(close_fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (fd >= 0 && poll(&p, 1, LINES_MS) <= 0)
        (void)kill(pid, SIGKILL); /* it is not waited for yet: the pid is still its own */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool read_into(const char *path, int from)
{
    char program[PATH_MAX], draft[PATH_MAX];
    pid_t pid;
    if (!sibling_path("aiki-lines", program, sizeof(program)) ||
        snprintf(draft, sizeof(draft), "%s.%d", path, (int)gettid()) >= PATH_MAX)
        return false;
    AUTO(close_fd) int to = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return false;
    bool done = spawn(program, from, to, &pid) == 0 && await(pid) && rename(draft, path) == 0;
    if (!done)
        (void)unlink(draft); /* a leftover is removed with the directory */
    return done;
}

void lines_make(const char *copy)
{
    char path[PATH_MAX];
    AUTO(close_fd) int from = open(copy, O_RDONLY | O_CLOEXEC);
    if (from < 0 || !lines_path(copy, path, sizeof(path)) || access(path, F_OK) == 0 || !has_lines(from))
        return;
    if (!read_into(path, from))
        log_warn("intake", "the debug information of %s does not read: errors name functions and offsets, "
                 "no lines", strrchr(copy, '/') + 1);
}

void lines_forget(const char *copy)
{
    char path[PATH_MAX];
    if (lines_path(copy, path, sizeof(path)))
        (void)unlink(path); /* most builds have none */
}
