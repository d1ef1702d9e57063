/* sandbox.c - see sandbox.h. The rules first, then the filter: opening the paths of rules takes calls. */
#include "child/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "child/filter.h"
#include "wire/error.h"

enum {
    SANDBOX_LAST_CALL = 450, /* set_mempolicy_home_node, of Linux 5.17; what is newer does not exist */
    SCOPE_ABI = 6, /* processes it may start can be signalled, nobody else */
    SCOPE_SIGNAL = 1 << 1
};

/* Newer than the headers of the oldest system this is built on. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

/* ---- files --------------------------------------------------------------------------------- */

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                             \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                         \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define FS_ALL                                                                               \
    (FS_READ | FS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |         \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK)
/* Of a rule about something that is no directory. */
#define FS_OF_FILE                                                                           \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
     LANDLOCK_ACCESS_FS_TRUNCATE)

/* What every program finds there; who has none of it does without. */
static const struct {
    const char *path;
    uint64_t access;
    bool network;
} common[] = {
    {"/usr", FS_READ | LANDLOCK_ACCESS_FS_EXECUTE, false},
    {"/lib", FS_READ | LANDLOCK_ACCESS_FS_EXECUTE, false},
    {"/lib64", FS_READ | LANDLOCK_ACCESS_FS_EXECUTE, false},
    {"/bin", FS_READ | LANDLOCK_ACCESS_FS_EXECUTE, false},
    {"/etc/ld.so.cache", FS_READ, false},
    {"/etc/localtime", FS_READ, false},
    {"/proc/self", FS_READ, false},
    {"/proc/cpuinfo", FS_READ, false},
    {"/proc/meminfo", FS_READ, false},
    {"/proc/stat", FS_READ, false},
    {"/sys/devices/system/cpu", FS_READ, false},
    {"/sys/kernel/mm/transparent_hugepage", FS_READ, false},
    {"/dev/null", FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE, false},
    {"/dev/zero", FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE, false},
    {"/dev/random", FS_READ, false},
    {"/dev/urandom", FS_READ, false},
    {"/etc/resolv.conf", FS_READ, true},
    {"/etc/hosts", FS_READ, true},
    {"/etc/host.conf", FS_READ, true},
    {"/etc/gai.conf", FS_READ, true},
    {"/etc/nsswitch.conf", FS_READ, true},
    {"/etc/services", FS_READ, true},
    {"/etc/ssl", FS_READ, true},
    {"/etc/pki", FS_READ, true},
    {"/etc/ca-certificates", FS_READ, true},
};

static int landlock_abi(void)
{
    return (int)syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Access that this kernel knows. */
static uint64_t known_access(int abi)
{
    uint64_t access = FS_ALL;
    if (abi < 2)
        access &= ~LANDLOCK_ACCESS_FS_REFER;
    if (abi < 3)
        access &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 5)
        access |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    return access;
}

/* 0, or errno. */
static int allow_path(int ruleset, const char *path, uint64_t access)
{
    struct stat about;
    AUTO(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0)
        return errno;
    if (!S_ISDIR(about.st_mode))
        access &= FS_OF_FILE;
    const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    return syscall(__NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0
               ? 0
               : errno;
}

static aiki_status no_path(const struct sandbox_path *p, int rc, aiki_error *err)
{
    if (p->declared)
        return error_code(err, AIKI_INVALID, "SANDBOX_PATH",
                          "%s, which the plugin declares that it needs, is not to be had: %s; make it, or "
                          "ship a build that does without", p->text, strerror(rc));
    return error_code(err, AIKI_INVALID, "SANDBOX_PATH",
                      "%s, which the setting sandbox names, is not to be had: %s; make it, or "
                      "take it out there", p->text, strerror(rc));
}

/* refuses: a path that is not to be had is no reason to go without it. */
static aiki_status allow_paths(int ruleset, const struct sandbox_path *paths, unsigned count,
                               bool refuses, aiki_error *err)
{
    uint64_t known = known_access(landlock_abi());
    for (unsigned i = 0; i < count; i++) {
        uint64_t access = FS_READ | (paths[i].write ? FS_WRITE : 0);
        int rc = allow_path(ruleset, paths[i].text, access & known);
        if (rc == 0)
            continue;
        if (refuses)
            return no_path(&paths[i], rc, err);
        log_warn("sandbox", "%s is left out: %s", paths[i].text, strerror(rc));
    }
    return AIKI_OK;
}

/* One layer: what it does not allow is refused, whatever others say. */
static aiki_status add_layer(const struct sandbox *s, const char *plugin, const struct sandbox_path *paths,
                             unsigned count, bool refuses, aiki_error *err)
{
    int abi = landlock_abi();
    /* The kernel's struct as it has grown: network of ABI 4, whom signals reach of ABI 6. */
    const struct {
        uint64_t files, network, scoped;
    } attr = {.files = known_access(abi), .scoped = abi >= SCOPE_ABI ? SCOPE_SIGNAL : 0};
    size_t size = abi >= SCOPE_ABI ? sizeof(attr) : sizeof(attr.files);
    AUTO(close_fd) int ruleset = (int)syscall(__NR_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE", "no landlock ruleset: %s",
                          strerror(errno));
    for (unsigned i = 0; i < ARRAY_COUNT(common); i++)
        if (!common[i].network || s->network)
            (void)allow_path(ruleset, common[i].path, common[i].access & known_access(abi));
    (void)allow_path(ruleset, plugin, FS_READ); /* else loading it says why */
    aiki_status st = allow_paths(ruleset, paths, count, refuses, err);
    if (st == AIKI_OK && syscall(__NR_landlock_restrict_self, ruleset, 0) != 0)
        st = error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE", "landlock: %s", strerror(errno));
    return st;
}

/* The operator's bound is a layer of its own: a path that is declared below it may be a link that the
 * plugin itself has made, and the kernel knows where it leads. */
static aiki_status lock_files(const struct sandbox *s, const char *plugin, aiki_error *err)
{
    if (landlock_abi() < 1)
        return AIKI_OK; /* sandbox_support has said so */
    aiki_status st = add_layer(s, plugin, s->paths, s->path_count, s->mode == SANDBOX_ON, err);
    if (st == AIKI_OK && s->bounded)
        st = add_layer(s, plugin, s->within, s->within_count, false, err);
    return st;
}

/* ---- system calls -------------------------------------------------------------------------- */

/* A signal to this process itself is how it aborts. */
static void put_signal(struct filter *f, uint32_t number)
{
    filter_when(f, number, 4);
    filter_load_argument(f, 0);
    filter_when(f, (uint32_t)getpid(), 1);
    filter_return(f, SECCOMP_RET_ALLOW);
    filter_return(f, FILTER_ENDS);
}

/* Libraries look for daemons of the system at unix sockets, and go on without. */
static void put_socket(struct filter *f, bool network)
{
    static const uint32_t usual[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    filter_when(f, __NR_socket, (uint8_t)(2 + 2 * (network ? ARRAY_COUNT(usual) : 2)));
    filter_load_argument(f, 0);
    for (unsigned i = 0; i < ARRAY_COUNT(usual); i++) {
        if (!network && usual[i] != AF_INET && usual[i] != AF_INET6)
            continue;
        filter_when(f, usual[i], 1);
        filter_return(f, network ? SECCOMP_RET_ALLOW : FILTER_ENDS);
    }
    filter_return(f, FILTER_FAILS(EAFNOSUPPORT));
}

/* Limits of this process alone: the broker's are not for plugins. */
static void put_limits(struct filter *f)
{
    filter_when(f, __NR_prlimit64, 6);
    filter_load_argument(f, 0);
    filter_when(f, 0, 1);
    filter_return(f, SECCOMP_RET_ALLOW);
    filter_when(f, (uint32_t)getpid(), 1);
    filter_return(f, SECCOMP_RET_ALLOW);
    filter_return(f, FILTER_FAILS(EPERM));
}

static bool is_granted(const struct sandbox *s, const char *need)
{
    return need != NULL && ((s->network && strcmp(need, "network") == 0) ||
                            (s->processes && strcmp(need, "processes") == 0) ||
                            (s->modes && strcmp(need, "modes") == 0));
}

static void put_table(struct filter *f, const struct sandbox *s)
{
    static const struct {
        uint32_t number;
        const char *need;
        uint32_t action;
    } calls[] = {
#define ENDS FILTER_ENDS
#define FAILS(number) FILTER_FAILS(number)
#define CALL(name, need, otherwise) {__NR_##name, need, otherwise},
#include "base/sandbox_calls.def"
#undef CALL
#undef FAILS
#undef ENDS
    };
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        if (is_granted(s, calls[i].need))
            continue;
        filter_when(f, calls[i].number, 1);
        filter_return(f, calls[i].action);
    }
}

static void write_filter(struct filter *f, const struct sandbox *s)
{
    static const uint32_t signals[] = {__NR_kill, __NR_tgkill, __NR_rt_sigqueueinfo,
                                       __NR_rt_tgsigqueueinfo};
    filter_begin(f, SECCOMP_RET_KILL_PROCESS);
    filter_put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SANDBOX_LAST_CALL, 0, 1));
    filter_return(f, FILTER_FAILS(ENOSYS));
    put_socket(f, s->network);
    put_limits(f);
    if (!s->processes) {
        filter_threads_only(f, FILTER_ENDS);
        for (unsigned i = 0; i < ARRAY_COUNT(signals); i++)
            put_signal(f, signals[i]);
    }
    put_table(f, s);
    filter_return(f, SECCOMP_RET_ALLOW);
}

static aiki_status filter_calls(const struct sandbox *s, aiki_error *err)
{
    struct filter f;
    write_filter(&f, s);
    int rc = filter_enter(&f);
    if (rc == 0)
        return AIKI_OK;
    return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE", "no system call filter: %s", strerror(rc));
}

/* ---- both ---------------------------------------------------------------------------------- */

aiki_status sandbox_support(aiki_error *err)
{
    uint32_t action = SECCOMP_RET_TRAP;
    int abi = landlock_abi();
    if (abi < 0)
        return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE",
                          "this kernel has no landlock (%s), so files cannot be kept from plugins",
                          strerror(errno));
    if (abi < SANDBOX_LANDLOCK_MIN)
        return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE",
                          "landlock of this kernel has version %d, before %d (Linux 6.2) plugins could "
                          "truncate files", abi, SANDBOX_LANDLOCK_MIN);
    if (syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
        return AIKI_OK;
    return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE",
                      "this kernel has no system call filters (%s), so plugins could call what they "
                      "like", strerror(errno));
}

aiki_status sandbox_enter(const struct sandbox *s, const char *plugin, aiki_error *err)
{
    aiki_error lacks = AIKI_ERROR_INIT;
    if (s->mode == SANDBOX_OFF)
        return AIKI_OK;
    aiki_status st = s->mode == SANDBOX_ON ? sandbox_support(err) : AIKI_OK;
    if (st == AIKI_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        st = error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE", "no_new_privs: %s",
                        strerror(errno));
    if (st == AIKI_OK)
        st = lock_files(s, plugin, err);
    if (st == AIKI_OK)
        st = filter_calls(s, &lacks);
    if (lacks.status != AIKI_OK && s->mode == SANDBOX_TRY)
        return AIKI_OK; /* the runtime has said so when it started */
    if (lacks.status != AIKI_OK)
        return error_code(err, lacks.status, lacks.code, "%s", lacks.message);
    return st;
}
