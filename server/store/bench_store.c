/* bench_store.c - how fast the store commits, for docs/performance.md.
 *
 *   store-bench [URL [SECONDS [RUNS [UNIT]]]]   default: a new SQLite file here, 3 s, 256 runs, all
 *
 * The load is that of a busy server: RUNS runs of three steps are under way, and a commit takes
 * the next UNIT changes in turn. A run is four changes: insert with STARTED; CLAIMED and the first
 * result; the second result; the third result and COMPLETED. Whatever ended is followed by a new
 * run. Only the thread that commits is measured.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/store.h"

enum { UNIT_MAX = 1024, COMMITS_MAX = 1000000, CHANGES = 4, EVENTS_BYTES_MAX = 512 };

/* What each change of a run records, as the order-processing example does with 200-byte values. */
static const struct {
    uint64_t events, size_bytes;
    uint32_t state;
} changes[CHANGES] = {
    {1, 300, RUN_QUEUED},
    {2, 420, RUN_RUNNING},
    {1, 300, RUN_RUNNING},
    {2, 512, RUN_COMPLETED},
};

struct bench {
    struct store *s;
    struct run_write *runs; /* the latest write to each */
    uint32_t *done;         /* changes made to each */
    size_t run_count;
    size_t next; /* run whose turn it is */
    uint64_t no_max;
    uint8_t events[EVENTS_BYTES_MAX];
    struct run_write unit[UNIT_MAX];
    int64_t *commit_ns;
};

static void die(const char *what, const aiki_error *err)
{
    (void)fprintf(stderr, "store-bench: %s: %s\n", what, err->message);
    exit(1);
}

static struct run_write new_run(uint64_t no)
{
    return (struct run_write){
        .insert = true,
        .row =
            {
                .no = no,
                .id = id_new(),
                .space = view_of("default"),
                .workflow = view_of("order-processing"),
                .version = view_of("1.0.0"),
                .actor = view_of("bench"),
                .epoch = (UINT64_C(1) << 32) + no,
                .created_at_ms = clock_wall_ms(),
            },
    };
}

/* The next change of the run whose turn it is. */
static struct run_write advance(struct bench *b)
{
    size_t i = b->next;
    struct run_write *w = &b->runs[i];
    uint32_t step = b->done[i]++ % CHANGES;
    b->next = (b->next + 1) % b->run_count;
    if (step == 0)
        *w = new_run(++b->no_max);
    w->insert = step == 0;
    w->seq_before = w->row.seq;
    w->row.seq += changes[step].events;
    w->row.state = changes[step].state;
    w->row.updated_at_ms = clock_wall_ms();
    memset(w->row.hash, (int)w->row.seq, sizeof(w->row.hash));
    w->events = (aiki_view){b->events, changes[step].size_bytes};
    return *w;
}

static int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Time it took; adds the processor time to *cpu_ns. */
static int64_t commit(struct bench *b, size_t size, int64_t *cpu_ns)
{
    aiki_error err = {.struct_size = sizeof(err)};
    for (size_t i = 0; i < size; i++)
        b->unit[i] = advance(b);
    struct unit unit = {.runs = b->unit, .run_count = size};
    int64_t began_ns = clock_mono_ns(), cpu_began_ns = thread_cpu_ns();
    if (b->s->ops->commit(b->s, &unit, &err) != AIKI_OK)
        die("commit", &err);
    *cpu_ns += thread_cpu_ns() - cpu_began_ns;
    return clock_mono_ns() - began_ns;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Bytes this process passed to write calls. */
static double written_bytes(void)
{
    double bytes = 0;
    char line[80];
    FILE *io = fopen("/proc/self/io", "r");
    while (io != NULL && fgets(line, sizeof(line), io) != NULL)
        (void)sscanf(line, "wchar: %lf", &bytes);
    if (io != NULL)
        (void)fclose(io);
    return bytes;
}

static void measure(struct bench *b, size_t size, double seconds)
{
    size_t commits = 0;
    int64_t cpu_ns = 0, began_ns = clock_mono_ns();
    double took_s = 0, written_before = written_bytes();
    while (took_s < seconds && commits < COMMITS_MAX) {
        b->commit_ns[commits++] = commit(b, size, &cpu_ns);
        took_s = (double)(clock_mono_ns() - began_ns) / 1e9;
    }
    double runs = (double)(commits * size) / CHANGES;
    qsort(b->commit_ns, commits, sizeof(int64_t), by_size);
    printf("%5zu %9.0f %10.0f %10.2f %8.1f %8.3f %8.3f %8.3f\n", size, runs / took_s,
           (double)commits / took_s, (double)cpu_ns / 1e3 / runs,
           (written_bytes() - written_before) / 1024 / runs,
           (double)b->commit_ns[commits / 2] / 1e6, (double)b->commit_ns[commits * 99 / 100] / 1e6,
           (double)b->commit_ns[commits - 1] / 1e6);
    (void)fflush(stdout);
}

static void run_all(struct bench *b, double seconds, size_t only)
{
    static const size_t sizes[] = {1, 16, 64, 256};
    int64_t cpu_ns = 0;
    printf("%5s %9s %10s %10s %8s %8s %8s %8s\n", "unit", "runs/s", "commits/s", "cpu us/run",
           "KB/run", "p50 ms", "p99 ms", "max ms");
    for (size_t i = 0; i < b->run_count; i++) { /* so that runs are at different steps */
        b->next = i;
        for (size_t left = i % CHANGES; left > 0; left--, b->next = i)
            (void)commit(b, 1, &cpu_ns);
    }
    if (only != 0)
        measure(b, only < UNIT_MAX ? only : UNIT_MAX, seconds);
    for (size_t i = 0; only == 0 && i < sizeof(sizes) / sizeof(sizes[0]); i++)
        measure(b, sizes[i], seconds);
}

int main(int argc, char **argv)
{
    char directory[] = "store-bench-XXXXXX", url[64];
    aiki_error err = {.struct_size = sizeof(err)};
    struct bench b = {.run_count = argc > 3 ? strtoul(argv[3], NULL, 10) : 256};
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    if (argc < 2 && mkdtemp(directory) == NULL) {
        perror("store-bench: temporary directory");
        return 1;
    }
    (void)snprintf(url, sizeof(url), "sqlite:%s/bench.db", directory);
    b.runs = calloc(b.run_count, sizeof(*b.runs));
    b.done = calloc(b.run_count, sizeof(*b.done));
    b.commit_ns = calloc(COMMITS_MAX, sizeof(*b.commit_ns));
    memset(b.events, 0xa5, sizeof(b.events));
    if (b.runs == NULL || b.done == NULL || b.commit_ns == NULL || b.run_count == 0)
        return 1;
    if (store_open(&b.s, argc > 1 ? argv[1] : url, &err) != AIKI_OK)
        die("open", &err);
    b.no_max = b.s->run_no_max;
    run_all(&b, seconds, argc > 4 ? strtoul(argv[4], NULL, 10) : 0);
    store_close(b.s);
    free(b.runs);
    free(b.done);
    free(b.commit_ns);
    if (argc < 2)
        printf("file: %s/bench.db\n", directory);
    return 0;
}
