/* main.c - plays seeds, plays some of them twice, and makes what fails small.
 *
 *   sim --seeds N [--from A]   seeds A .. A+N-1; ends at the first that fails
 *   sim --seed S               one of them; with --verbose its story
 *   further: --faults LIST|none, --primitives LIST, --runs N, --ops N, --clients N, --runtimes N, --rate N,
 *   as a failing seed prints them; --bug NAME, see planted.def
 *
 * Exit codes: 0 clean, 1 a seed failed, 2 usage.
 */
#include <signal.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/planted.h"
#include "sim.h"

int planted_bug = PLANTED_NONE;

static const char *const fault_names[] = {
#define SIM_FAULT_TEXT(name, text) text,
    SIM_FAULTS(SIM_FAULT_TEXT)
#undef SIM_FAULT_TEXT
};
static const char *const primitive_names[] = {
#define SIM_PRIMITIVE_TEXT(name, text) text,
    SIM_PRIMITIVES(SIM_PRIMITIVE_TEXT)
#undef SIM_PRIMITIVE_TEXT
};
static const char *const bug_names[] = {
#define PLANTED_TEXT(name, what) #name,
    PLANTED_BUGS(PLANTED_TEXT)
#undef PLANTED_TEXT
};

enum { KIND_SIZE = 600 };

struct options {
    uint64_t from, count, faults, primitives;
    bool has_faults, has_primitives, verbose, shrink;
    uint32_t runs, ops, clients, runtimes, rate;
    const char *bug;
};

/* ---- what a seed is -------------------------------------------------------------------------- */

/* Each seed has about half of all faults and most primitives: what is always on hides what needs it off. */
static struct config config_of(uint64_t seed, const struct options *o)
{
    struct rng g = {mix64(seed, 77)};
    struct config c = {.seed = seed, .verbose = o->verbose};
    for (uint32_t i = 0; i < FAULT_BITS; i++)
        c.faults |= (uint64_t)rng_permille(&g, 450) << i;
    if (rng_permille(&g, 50))
        c.faults = 0;
    uint64_t often = 250 + rng_below(&g, 650);
    for (uint32_t i = 0; i < PRIMITIVE_COUNT; i++)
        c.primitives |= (uint64_t)rng_permille(&g, often) << i;
    c.runs = 5 + (uint32_t)rng_below(&g, 60);
    c.request_permille = 20 + (uint32_t)rng_below(&g, 120);
    c.page_bytes = 1 + rng_below(&g, 4000);
    c.quarantine_crashes = 2 + (uint32_t)rng_below(&g, 4);
    c.unit_runs = 1 + (uint32_t)rng_below(&g, 6);
    c.ops = 2 + (uint32_t)rng_below(&g, OPS_MAX - 2);
    c.runtimes = 1 + (uint32_t)rng_below(&g, RUNTIMES_MAX);
    c.clients = 1 + (uint32_t)rng_below(&g, CLIENTS_MAX);
    c.workflows = 1 + (uint32_t)rng_below(&g, WORKFLOWS_MAX);
    c.fault_percent = 30 + (uint32_t)rng_below(&g, 200);
    c.hold_ms = rng_permille(&g, 300) ? 0 : (int64_t)rng_below(&g, 20000);
    if (o->has_faults)
        c.faults = o->faults;
    if (o->has_primitives)
        c.primitives = o->primitives;
    c.runs = o->runs != 0 ? o->runs : c.runs;
    c.ops = o->ops != 0 ? o->ops : c.ops;
    c.clients = o->clients != 0 ? o->clients : c.clients;
    c.runtimes = o->runtimes != 0 ? o->runtimes : c.runtimes;
    c.fault_percent = o->rate != 0 ? o->rate : c.fault_percent;
    return c;
}

static char sought[KIND_SIZE]; /* kind of the failure that is made smaller */

/* ---- shrinking ------------------------------------------------------------------------------- */

/* What a failure is about: its text without the numbers in it. */
static void kind_of(const char *why, char kind[KIND_SIZE])
{
    size_t n = 0;
    for (; *why != '\0' && n + 1 < KIND_SIZE; why++)
        if (strchr("0123456789abcdef-", *why) == NULL)
            kind[n++] = *why;
    kind[n] = '\0';
}

static void play_quietly(struct config c, int out)
{
    uint64_t trace;
    char kind[KIND_SIZE] = "";
    c.verbose = false;
    (void)close(STDERR_FILENO);
    if (world_play(&c, &trace))
        _exit(0);
    kind_of(sim.why, kind);
    (void)!write(out, kind, strlen(kind));
    _exit(1);
}

/* In a process of its own: an assert, a crash or an endless loop is a failure like any other. It has to be
 * the one that was found (kind; empty: the process ended otherwise), not just any. */
static bool fails(const struct config *c, const char *kind)
{
    enum { SECONDS_MAX = 60 };
    int ends[2], status = 0;
    char said[KIND_SIZE] = "";
    (void)fflush(stdout);
    if (pipe(ends) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(SECONDS_MAX);
        play_quietly(*c, ends[1]);
    }
    (void)close(ends[1]);
    ssize_t n = read(ends[0], said, sizeof(said) - 1); /* it is written at once, or not at all */
    said[n > 0 ? n : 0] = '\0';
    (void)close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status != 0 && strcmp(said, kind) == 0;
}

static bool keep_if_fails(struct config *c, struct config smaller)
{
    if (!fails(&smaller, sought))
        return false;
    *c = smaller;
    return true;
}

static void shrink_bits(struct config *c, size_t offset, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct config smaller = *c;
        uint64_t *bits = (uint64_t *)(void *)((char *)&smaller + offset);
        uint64_t without = *bits & ~((uint64_t)1 << i);
        if (without == *bits)
            continue;
        *bits = without;
        (void)keep_if_fails(c, smaller);
    }
}

static void shrink_number(struct config *c, size_t offset, uint32_t least)
{
    for (uint32_t step = *(uint32_t *)(void *)((char *)c + offset) / 2; step > 0;) {
        struct config smaller = *c;
        uint32_t *number = (uint32_t *)(void *)((char *)&smaller + offset);
        if (*number < least + step) {
            step /= 2;
            continue;
        }
        *number -= step;
        if (!keep_if_fails(c, smaller))
            step /= 2;
    }
}

static void print_list(const char *flag, uint64_t bits, const char *const *names, uint32_t count)
{
    const char *comma = "";
    printf(" %s ", flag);
    for (uint32_t i = 0; i < count; i++)
        if ((bits >> i & 1) != 0) {
            printf("%s%s", comma, names[i]);
            comma = ",";
        }
    printf("%s", bits == 0 ? "none" : "");
}

static void shrink(struct config *c)
{
    for (int round = 0; round < 2; round++) {
        shrink_number(c, offsetof(struct config, runs), 1);
        shrink_bits(c, offsetof(struct config, faults), FAULT_BITS);
        shrink_number(c, offsetof(struct config, ops), 1);
        shrink_bits(c, offsetof(struct config, primitives), PRIMITIVE_COUNT);
        shrink_number(c, offsetof(struct config, runtimes), 1);
        shrink_number(c, offsetof(struct config, clients), 1);
    }
}

static void report(const struct config *found, const struct options *o)
{
    struct config c = *found;
    kind_of(sim.why, sought);
    if (o->shrink)
        shrink(&c);
    printf("again: tools/sim --seed %llu --runs %u --ops %u --runtimes %u --clients %u --rate %u",
           (unsigned long long)c.seed, c.runs, c.ops, c.runtimes, c.clients, c.fault_percent);
    print_list("--faults", c.faults, fault_names, FAULT_BITS);
    print_list("--primitives", c.primitives, primitive_names, PRIMITIVE_COUNT);
    printf("%s%s --verbose\n", o->bug != NULL ? " --bug " : "", o->bug != NULL ? o->bug : "");
}

/* ---- playing --------------------------------------------------------------------------------- */

static uint64_t playing; /* for on_crash */

static void on_crash(int signal_number)
{
    char text[80];
    int n = snprintf(text, sizeof(text), "seed %llu: signal %d\n", (unsigned long long)playing, signal_number);
    if (n > 0)
        (void)!write(STDOUT_FILENO, text, (size_t)n);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static bool play(uint64_t seed, const struct options *o, uint64_t *ret_handled)
{
    enum { EVERY_TWICE = 100 };
    struct config c = config_of(seed, o);
    uint64_t trace, again;
    playing = seed;
    bool good = world_play(&c, &trace);
    *ret_handled += sim.handled;
    if (good && seed % EVERY_TWICE == 0) {
        good = world_play(&c, &again);
        if (good && again != trace) {
            printf("seed %llu: two executions differ: %016llx %016llx\n", (unsigned long long)seed,
                   (unsigned long long)trace, (unsigned long long)again);
            return false;
        }
    }
    if (good && o->count == 1)
        printf("seed %llu: trace %016llx, %llu events, %llu commits, %zu executions, %llu fenced, "
               "%llu zombie writes, %llu diverged, %u runs, %llu further pages, "
               "%llu moved, %llu crashed, %llu undefined\n",
               (unsigned long long)seed, (unsigned long long)trace, (unsigned long long)sim.handled,
               (unsigned long long)sim.commits, sim.execution_count,
               (unsigned long long)sim.fenced, (unsigned long long)sim.zombie_writes,
               (unsigned long long)sim.diverged, sim.run_count, (unsigned long long)sim.pages,
               (unsigned long long)sim.moved, (unsigned long long)sim.crashed, (unsigned long long)sim.undefined);
    if (!good) {
        printf("seed %llu: %s\n", (unsigned long long)seed, sim.why);
        report(&c, o);
    }
    return good;
}

/* ---- options --------------------------------------------------------------------------------- */

_Noreturn static void usage(const char *what)
{
    fprintf(stderr, "sim: %s; see the head of tests/sim/main.c\n", what);
    exit(2);
}

static uint64_t read_list(const char *text, const char *const *names, uint32_t count)
{
    uint64_t bits = 0;
    char copy[1024], *rest = copy;
    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (char *word = strsep(&rest, ","); word != NULL; word = strsep(&rest, ",")) {
        uint32_t i = 0;
        while (i < count && strcmp(names[i], word) != 0)
            i++;
        if (i == count && strcmp(word, "none") != 0)
            usage(word);
        bits |= i < count ? (uint64_t)1 << i : 0;
    }
    return bits;
}

static void plant(const char *name)
{
    for (uint32_t i = 0; i < sizeof(bug_names) / sizeof(bug_names[0]); i++)
        if (strcmp(bug_names[i], name) == 0) {
            planted_bug = (int)i;
            return;
        }
    usage(name);
}

static void print_bugs(void)
{
    for (uint32_t i = 0; i < sizeof(bug_names) / sizeof(bug_names[0]); i++)
        printf("%s\n", bug_names[i]);
    exit(0);
}

static bool read_number(const char *flag, const char *value, struct options *o)
{
    const struct {
        const char *flag;
        uint32_t *to;
        uint32_t max;
    } numbers[] = {{"--runs", &o->runs, ROOTS_MAX},       {"--ops", &o->ops, OPS_MAX},
                   {"--clients", &o->clients, CLIENTS_MAX}, {"--runtimes", &o->runtimes, RUNTIMES_MAX},
                   {"--rate", &o->rate, 1000}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(flag, numbers[i].flag) != 0)
            continue;
        uint64_t number = strtoull(value, NULL, 10);
        *numbers[i].to = (uint32_t)(number < numbers[i].max ? number : numbers[i].max);
        return true;
    }
    return false;
}

static void read_pair(const char *flag, const char *value, struct options *o)
{
    if (strcmp(flag, "--seed") == 0) {
        o->from = strtoull(value, NULL, 10);
        o->count = 1;
    } else if (strcmp(flag, "--seeds") == 0) {
        o->count = strtoull(value, NULL, 10);
    } else if (strcmp(flag, "--from") == 0) {
        o->from = strtoull(value, NULL, 10);
    } else if (strcmp(flag, "--faults") == 0) {
        o->faults = read_list(value, fault_names, FAULT_BITS);
        o->has_faults = true;
    } else if (strcmp(flag, "--primitives") == 0) {
        o->primitives = read_list(value, primitive_names, PRIMITIVE_COUNT);
        o->has_primitives = true;
    } else if (strcmp(flag, "--bug") == 0) {
        plant(o->bug = value);
    } else if (!read_number(flag, value, o)) {
        usage(flag);
    }
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {.from = 1, .count = 300, .shrink = true};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            o.verbose = true;
        else if (strcmp(argv[i], "--no-shrink") == 0)
            o.shrink = false;
        else if (strcmp(argv[i], "--bugs") == 0)
            print_bugs();
        else if (i + 1 < argc)
            read_pair(argv[i], argv[i + 1], &o), i++;
        else
            usage(argv[i]);
    }
    return o;
}

int main(int argc, char **argv)
{
    const struct options o = read_options(argc, argv);
    uint64_t handled = 0;
    if (sodium_init() < 0)
        return 2;
    log_init("sim", o.verbose ? LOG_WARN : LOG_ERROR + 1);
    (void)signal(SIGABRT, on_crash);
    (void)signal(SIGSEGV, on_crash);
    for (uint64_t i = 0; i < o.count; i++)
        if (!play(o.from + i, &o, &handled))
            return 1;
    printf("%llu seeds clean, %llu events each\n", (unsigned long long)o.count,
           (unsigned long long)(o.count > 0 ? handled / o.count : 0));
    return 0;
}
