/* lint_names.c - functions whose answers differ from call to call, or that reach outside. */
#include "intake/lint_impl.h"

#include <stdlib.h>
#include <string.h>

#define CLOCK  "a clock; ask aiki_now"
#define PAUSE  "blocks; ask aiki_sleep"
#define CHANCE "chance; ask aiki_random or aiki_uuid"
#define FILES  "files; leave them to a task"
#define NET    "the network; leave it to a task"
#define THREAD "threads and processes; leave them to a task"
#define PLACE  "what differs between hosts; pass it in the input or take it from a task"

/* Sorted by name. */
static const struct {
    const char *name, *what;
} names[] = {
    {"_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode", FILES},
    {"_ZNSt13random_device16_M_getval_pretr1Ev", CHANCE},
    {"_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE", CHANCE},
    {"_ZNSt13random_device9_M_getvalEv", CHANCE},
    {"_ZNSt14basic_ifstreamIcSt11char_traitsIcEEC1EPKcSt13_Ios_Openmode", FILES},
    {"_ZNSt14basic_ofstreamIcSt11char_traitsIcEEC1EPKcSt13_Ios_Openmode", FILES},
    {"_ZNSt6chrono3_V212steady_clock3nowEv", CLOCK},
    {"_ZNSt6chrono3_V212system_clock3nowEv", CLOCK},
    {"_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE", THREAD},
    {"accept", NET}, {"accept4", NET}, {"access", FILES}, {"arc4random", CHANCE},
    {"arc4random_buf", CHANCE}, {"arc4random_uniform", CHANCE}, {"bind", NET}, {"clock", CLOCK},
    {"clock_getres", CLOCK}, {"clock_gettime", CLOCK}, {"clock_nanosleep", PAUSE}, {"clone", THREAD},
    {"connect", NET}, {"creat", FILES}, {"creat64", FILES}, {"drand48", CHANCE}, {"execl", THREAD},
    {"execlp", THREAD}, {"execv", THREAD}, {"execve", THREAD}, {"execvp", THREAD}, {"fopen", FILES},
    {"fopen64", FILES}, {"fork", THREAD}, {"freopen", FILES}, {"freopen64", FILES}, {"fstat", FILES},
    {"fstat64", FILES}, {"ftime", CLOCK}, {"getaddrinfo", NET}, {"getentropy", CHANCE},
    {"getenv", PLACE}, {"gethostbyname", NET}, {"gethostname", PLACE}, {"getpid", PLACE},
    {"getppid", PLACE}, {"getrandom", CHANCE}, {"gettid", PLACE}, {"gettimeofday", CLOCK},
    {"jrand48", CHANCE}, {"listen", NET}, {"localtime", PLACE}, {"localtime_r", PLACE},
    {"lrand48", CHANCE}, {"lstat", FILES}, {"lstat64", FILES}, {"mkdir", FILES}, {"mkstemp", FILES},
    {"mkstemp64", FILES}, {"mktime", PLACE}, {"mrand48", CHANCE}, {"nanosleep", PAUSE},
    {"open", FILES}, {"open64", FILES}, {"openat", FILES}, {"openat64", FILES}, {"opendir", FILES},
    {"popen", THREAD}, {"posix_spawn", THREAD}, {"posix_spawnp", THREAD}, {"pthread_create", THREAD},
    {"rand", CHANCE}, {"random", CHANCE}, {"random_r", CHANCE}, {"readdir", FILES},
    {"readdir64", FILES}, {"recv", NET}, {"recvfrom", NET}, {"recvmsg", NET}, {"remove", FILES},
    {"rename", FILES}, {"secure_getenv", PLACE}, {"select", PAUSE}, {"send", NET}, {"sendmsg", NET},
    {"sendto", NET}, {"sleep", PAUSE}, {"socket", NET}, {"socketpair", NET}, {"srand", CHANCE},
    {"srand48", CHANCE}, {"srandom", CHANCE}, {"stat", FILES}, {"stat64", FILES}, {"statx", FILES},
    {"syscall", "system calls; leave them to a task"}, {"system", THREAD}, {"thrd_create", THREAD},
    {"thrd_sleep", PAUSE}, {"time", CLOCK}, {"timerfd_create", CLOCK}, {"times", CLOCK},
    {"timespec_get", CLOCK}, {"tmpfile", FILES}, {"tmpfile64", FILES}, {"uname", PLACE},
    {"unlink", FILES}, {"unlinkat", FILES}, {"usleep", PAUSE}, {"vfork", THREAD},
};

static int compare(const void *key, const void *entry)
{
    const char *const *name = entry; /* the first member */
    return strcmp(key, *name);
}

const char *lint_what(const char *symbol)
{
    const void *found = bsearch(symbol, names, sizeof(names) / sizeof(names[0]), sizeof(names[0]),
                                compare);
    return found != NULL ? ((const char *const *)found)[1] : NULL;
}
