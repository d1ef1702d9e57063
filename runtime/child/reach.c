/* reach.c - see reach.h. */
#include "child/reach.h"

#include <asm/ioctls.h>
#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "child/filter.h"

enum {
    REFER_ABI = 2,
    SCOPE_ABI = 6,
    SCOPE_SIGNAL = 1 << 1
};

/* ---- rules --------------------------------------------------------------------------------- */

struct rule {
    uint32_t number;
    int when; /* an argument, that is value; -1: always */
    uint32_t value;
    enum { WHOM_ANY, WHOM_OTHERS, WHOM_PARENT } whom;
    unsigned index; /* the argument that says whom */
};

static const struct rule rules[] = {
#define ALWAYS -1, 0
#define WHEN(argument, value) argument, value
#define ANY WHOM_ANY, 0
#define OTHERS(argument) WHOM_OTHERS, argument
#define PARENT(argument) WHOM_PARENT, argument
#define RULE_OF(...) {__VA_ARGS__},
#define RULE(name, when, whom) RULE_OF(__NR_##name, when, whom)
#include "base/reach_calls.def"
#undef RULE
#undef RULE_OF
#undef PARENT
#undef OTHERS
#undef ANY
#undef WHEN
#undef ALWAYS
};

static void put_whom(struct filter *f, const struct rule *r, uint32_t action)
{
    const uint32_t own[] = {0, (uint32_t)getpid(), (uint32_t)-getpid()};
    if (r->whom != WHOM_ANY)
        filter_load_argument(f, r->index);
    if (r->whom == WHOM_PARENT)
        filter_when(f, (uint32_t)getppid(), 1);
    for (unsigned i = 0; r->whom == WHOM_OTHERS && i < ARRAY_COUNT(own); i++) {
        filter_when(f, own[i], 1);
        filter_return(f, SECCOMP_RET_ALLOW);
    }
    filter_return(f, action);
}

static void put_rule(struct filter *f, const struct rule *r, uint32_t action)
{
    unsigned number = filter_case(f, r->number);
    if (r->when >= 0) {
        filter_load_argument(f, (unsigned)r->when);
        unsigned when = filter_case(f, r->value);
        put_whom(f, r, action);
        filter_end(f, when);
    } else {
        put_whom(f, r, action);
    }
    filter_load_number(f);
    filter_end(f, number);
}

/* Signal 0 only asks whether somebody is there. */
static void put_question(struct filter *f)
{
    unsigned number = filter_case(f, __NR_kill);
    filter_load_argument(f, 1);
    filter_when(f, 0, 1);
    filter_return(f, SECCOMP_RET_ALLOW);
    filter_load_number(f);
    filter_end(f, number);
}

/* ---- a probe ------------------------------------------------------------------------------- */

/* A process that is started here would outlive the verdict. */
static void put_processes(struct filter *f)
{
    static const uint32_t calls[] = {
        __NR_execve, __NR_execveat,
#ifdef __NR_fork
        __NR_fork, __NR_vfork,
#endif
    };
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        filter_when(f, calls[i], 1);
        filter_return(f, SECCOMP_RET_KILL_PROCESS);
    }
    filter_threads_only(f, SECCOMP_RET_KILL_PROCESS);
}

/* It is to end with whoever asked for it. */
static void put_parent_death(struct filter *f)
{
    unsigned number = filter_case(f, __NR_prctl);
    filter_load_argument(f, 0);
    filter_when(f, PR_SET_PDEATHSIG, 1);
    filter_return(f, FILTER_FAILS(EPERM));
    filter_load_number(f);
    filter_end(f, number);
}

/* A domain that allows every file. Without landlock there is none, and the filter alone. */
static void enter_domain(void)
{
    int abi = (int)syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < REFER_ABI)
        return; /* before that no file could be moved to another directory */
    /* The kernel's struct as it has grown. */
    const struct {
        uint64_t files, network, scoped;
    } attr = {.files = LANDLOCK_ACCESS_FS_REFER, .scoped = abi >= SCOPE_ABI ? SCOPE_SIGNAL : 0};
    AUTO(close_fd) int root = open("/", O_PATH | O_CLOEXEC);
    AUTO(close_fd) int ruleset = (int)syscall(__NR_landlock_create_ruleset, &attr,
                                              abi >= SCOPE_ABI ? sizeof(attr) : sizeof(attr.files), 0);
    const struct landlock_path_beneath_attr all = {.allowed_access = LANDLOCK_ACCESS_FS_REFER, .parent_fd = root};
    if (root < 0 || ruleset < 0 ||
        syscall(__NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &all, 0) != 0 ||
        syscall(__NR_landlock_restrict_self, ruleset, 0) != 0)
        log_warn("intake", "no domain of landlock for the probe: %s", strerror(errno));
}

void reach_limit_probe(void)
{
    struct filter f;
    filter_begin(&f, SECCOMP_RET_KILL_PROCESS);
    put_processes(&f);
    put_parent_death(&f);
    put_question(&f);
    for (unsigned i = 0; i < ARRAY_COUNT(rules); i++)
        put_rule(&f, &rules[i], SECCOMP_RET_TRAP | REACH_REFUSED);
    filter_return(&f, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        enter_domain();
    int rc = filter_enter(&f);
    if (rc != 0)
        log_warn("intake", "no system call filter for the probe: %s", strerror(rc));
}

/* ---- a child ------------------------------------------------------------------------------- */

void reach_limit_child(pid_t broker)
{
    static const uint32_t calls[] = {__NR_kill, __NR_tgkill, __NR_tkill, __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo,
                                     __NR_pidfd_open, __NR_prlimit64};
    const uint32_t groups[] = {(uint32_t)broker, (uint32_t)-getpgid(broker), (uint32_t)-1};
    struct filter f;
    filter_begin(&f, SECCOMP_RET_ALLOW); /* nobody signals the runtime by mistake from there, and tasks start such programs */
    put_question(&f);
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        unsigned number = filter_case(&f, calls[i]);
        filter_load_argument(&f, 0);
        for (unsigned k = 0; k < (calls[i] == __NR_kill ? ARRAY_COUNT(groups) : 1); k++) {
            filter_when(&f, groups[k], 1);
            filter_return(&f, FILTER_FAILS(EPERM));
        }
        filter_return(&f, SECCOMP_RET_ALLOW);
        filter_end(&f, number);
    }
    filter_return(&f, SECCOMP_RET_ALLOW);
    int rc = filter_enter(&f);
    if (rc != 0)
        log_debug("child", "no system call filter: %s", strerror(rc));
}
