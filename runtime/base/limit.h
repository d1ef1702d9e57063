/* base/limit.h - what a plugin's process may use, by setting. [any]
 *
 *   child-memory = 2048,billing.so=4096     a number for all, others for some files; 0 = no limit
 *
 * Memory, descriptors, threads and processor time are watched (usage.h). From LIMIT_SOFT_PERCENT of
 * the first three on, and after so many tasks or so long, the process is replaced between tasks; over
 * the first, third and fourth it is ended. Descriptors the kernel refuses by itself. What only loads a plugin to
 * see whether it can be (intake/probe.h) may not use more memory, descriptors and threads than what will serve it.
 * child-idle and child-alone have the same form: how long a process stays that no run needs (demand.c), and how many
 * processes with one run in them there are of a file at a time (solo.c).
 */
#ifndef BASE_LIMIT_H
#define BASE_LIMIT_H

#include <aiki/status.h>

enum { LIMIT_SOFT_PERCENT = 75, LIMIT_TEXT_SIZE = 160 };

/* X(name, setting, unit, least, most, default) */
#define LIMITS(X)                                                             \
    X(MEMORY, "child-memory", "MiB of memory", 32, 16777216, "2048")          \
    X(FILES, "child-files", "descriptors", 64, 1048576, "4096")               \
    X(THREADS, "child-threads", "threads", 16, 100000, "4096")                \
    X(CPU, "child-cpu", "% of a processor", 1, 100000, "0")                   \
    X(TASKS, "child-tasks", "tasks", 1, 1000000000, "0")                      \
    X(AGE, "child-age", "seconds of age", 1, 31536000, "0")

#define LIMIT_ENUM(name, setting, unit, least, most, fallback) LIMIT_##name,
enum limit { LIMITS(LIMIT_ENUM) LIMIT_COUNT };
#undef LIMIT_ENUM

/* In the units of the table; 0 = none. */
struct limits {
    uint64_t of[LIMIT_COUNT];
};

/* The settings, as texts. Borrowed. */
struct limits_settings {
    const char *of[LIMIT_COUNT];
};

/* A limit that was come to. */
struct limit_hit {
    enum limit limit;
    uint64_t found, allowed;
    bool over; /* the limit itself; else it is time for another process */
};

#define IDLE_SETTING "child-idle"
#define IDLE_DEFAULT "300"
#define IDLE_ALWAYS UINT64_MAX /* "always": the process is there as long as the build serves */
enum { IDLE_UNSAID_S = 300 };  /* for files that the setting says nothing of */

aiki_status idle_check(const char *setting, aiki_error *err);
/* For processes of that file, or IDLE_ALWAYS; setting NULL: that, too. */
uint64_t idle_seconds(const char *setting, const char *file);

#define ALONE_SETTING "child-alone"
#define ALONE_DEFAULT "4"
enum { ALONE_UNSAID = 4 }; /* for files that the setting says nothing of */

aiki_status alone_check(const char *setting, aiki_error *err);
/* For processes of that file; 0 = no limit. setting NULL: ALONE_UNSAID. */
uint64_t alone_max(const char *setting, const char *file);

const char *limit_setting(enum limit limit);
/* AIKI_INVALID names the setting and what is wrong. task_threads: what a process has anyway. */
aiki_status limits_check(const struct limits_settings *settings, uint64_t task_threads,
                         aiki_error *err);
/* For processes of that file. No number of descriptors is more than this process may have itself. */
struct limits limits_for(const struct limits_settings *settings, const char *file);
/* Whether child-files asks for more descriptors than this process may have, which is all that it can give.
 * *ret_asked: the most that is asked for. */
bool limits_files_lack(const struct limits_settings *settings, uint64_t *ret_asked, uint64_t *ret_most);
/* Of this process, from now on: it may have no more descriptors than that; 0: as many as before. */
void limits_take_files(uint64_t files_max);
/* "1540 MiB of memory, child-memory is 2048". Returns text. */
const char *limit_text(const struct limit_hit *hit, char text[LIMIT_TEXT_SIZE]);

#endif
