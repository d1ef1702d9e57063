/* fault.c - act at a named point on the pass that AIKI_FAULT asks for. */
#include "base/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[FAULT_COUNT] = {
#define FAULT_NAME(name, text) [FAULT_##name] = text,
    FAULT_POINTS(FAULT_NAME)
#undef FAULT_NAME
#define FAULT_EDGE_NAME(name, number, text)        \
    [FAULT_before_##name] = "server.before." text, \
    [FAULT_after_##name] = "server.after." text,
    EVENT_KIND_MAP(FAULT_EDGE_NAME)
#undef FAULT_EDGE_NAME
};

const char *fault_name(enum fault point) { return names[point]; }

#ifdef AIKI_FAULT_INJECTION

enum action { ACT_NONE, ACT_KILL, ACT_STOP, ACT_EXIT, ACT_FAIL, ACT_COUNT };
enum { FAULT_EXIT_CODE = 41, USAGE_EXIT_CODE = 2 };
static const char *const action_names[ACT_COUNT] = {"none", "kill", "stop", "exit", "fail"};

static struct {
    enum action action;
    unsigned long at_pass;
} plan[FAULT_COUNT];
static atomic_ulong passes[FAULT_COUNT];
static const char *const mode_names[FAULT_MODE_COUNT] = {
#define MODE_NAME(name, text) [FAULT_MODE_##name] = text,
    FAULT_MODES(MODE_NAME)
#undef MODE_NAME
};
static bool modes[FAULT_MODE_COUNT];
enum { REPLY_TYPES = 128 };
static atomic_bool replies_seen[REPLY_TYPES];
static pthread_once_t planned = PTHREAD_ONCE_INIT;

static void refuse(const char *item, const char *why)
{
    fprintf(stderr, "AIKI_FAULT: \"%s\": %s; expected NAME=kill|stop|exit|fail[@N]\n", item, why);
    _exit(USAGE_EXIT_CODE);
}

static enum fault point_of(const char *name, size_t size)
{
    int point = 0;
    while (point < FAULT_COUNT &&
           (strlen(names[point]) != size || strncmp(names[point], name, size) != 0))
        point++;
    return (enum fault)point;
}

static enum action action_of(const char *name, size_t size)
{
    int action = ACT_KILL;
    while (action < ACT_COUNT && (strlen(action_names[action]) != size ||
                                  strncmp(action_names[action], name, size) != 0))
        action++;
    return (enum action)action;
}

static void plan_item(const char *item)
{
    const char *equals = strchr(item, '=');
    if (equals == NULL)
        refuse(item, "no \"=\"");
    enum fault point = point_of(item, (size_t)(equals - item));
    if (point == FAULT_COUNT)
        refuse(item, "no such point in fault.def");

    const char *word = equals + 1;
    size_t size = strcspn(word, "@");
    enum action action = action_of(word, size);
    if (action == ACT_COUNT)
        refuse(item, "no such action");

    unsigned long at_pass = 1;
    if (word[size] == '@') {
        char *end = NULL;
        at_pass = strtoul(word + size + 1, &end, 10);
        if (at_pass == 0 || *end != '\0')
            refuse(item, "the number after \"@\" counts from 1");
    }
    plan[point].action = action;
    plan[point].at_pass = at_pass;
}

static void plan_mode(const char *item)
{
    int mode = 0;
    while (mode < FAULT_MODE_COUNT && strcmp(mode_names[mode], item) != 0)
        mode++;
    if (mode < FAULT_MODE_COUNT) {
        modes[mode] = true;
        return;
    }
    fprintf(stderr, "AIKI_FAULT_MODE: \"%s\" is none of FAULT_MODES in base/fault.h\n", item);
    _exit(USAGE_EXIT_CODE);
}

static void read_list(const char *variable, void (*take)(const char *item))
{
    const char *text = getenv(variable);
    char *copy = text != NULL ? strdup(text) : NULL;
    char *rest = NULL;
    if (copy == NULL)
        return;
    for (char *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest))
        take(item);
    free(copy);
}

static void read_plan(void)
{
    read_list("AIKI_FAULT", plan_item);
    read_list("AIKI_FAULT_MODE", plan_mode);
}

/* One O_APPEND write, so that processes sharing the file do not tear lines. */
static void note_passed(enum fault point)
{
    char line[128];
    const char *path = getenv("AIKI_FAULT_LOG");
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    int size = snprintf(line, sizeof(line), "%s\n", names[point]);
    ssize_t written = write(fd, line, (size_t)size);
    (void)written; /* the suite misses the line and says so */
    (void)close(fd);
}

/* Whether this process is the one that acts. */
static bool take_turn(void)
{
    const char *path = getenv("AIKI_FAULT_ONCE");
    if (path == NULL)
        return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

bool fault_hit(enum fault point)
{
    (void)pthread_once(&planned, read_plan);
    unsigned long pass = atomic_fetch_add(&passes[point], 1) + 1;
    if (pass == 1)
        note_passed(point);
    if (plan[point].action == ACT_NONE || pass != plan[point].at_pass || !take_turn())
        return false;

    switch (plan[point].action) {
    case ACT_KILL: (void)raise(SIGKILL); break;
    case ACT_STOP: (void)raise(SIGSTOP); break; /* the process, but this thread at once */
    case ACT_EXIT: _exit(FAULT_EXIT_CODE);
    case ACT_FAIL: return true;
    case ACT_NONE:
    case ACT_COUNT: abort();
    }
    return false;
}

void fault_edges(aiki_view events, bool committed)
{
    static const enum fault before[] = {
#define FAULT_EDGE_OF(name, number, text) [number] = FAULT_before_##name,
        EVENT_KIND_MAP(FAULT_EDGE_OF)
#undef FAULT_EDGE_OF
    };
    aiki_reader r;
    struct event e;

    aiki_reader_init(&r, events);
    while (event_read_stored(&r, &e, NULL) == AIKI_OK)
        if (e.kind < sizeof(before) / sizeof(before[0]) && before[e.kind] != 0)
            (void)fault_hit(before[e.kind] + (committed ? 1 : 0));
}

bool fault_mode_on(enum fault_mode mode)
{
    (void)pthread_once(&planned, read_plan);
    return modes[mode];
}

bool fault_drops_reply(uint32_t type)
{
    return fault_mode(drop_first_reply) && type < REPLY_TYPES &&
           !atomic_exchange(&replies_seen[type], true);
}

#endif
