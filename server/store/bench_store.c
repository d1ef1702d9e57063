/* bench_store.c - how fast the store commits, for docs/performance.md.
 *
 *   store-bench [URL [SECONDS [RUNS [UNIT]]]]   default: a SQLite file here, 3 s, 256 runs, all
 *
 * Two loads, each in units of 1, 8, 64 and 512 writes of one 260-byte event:
 *   append  one event to an existing run: an update and a journal row
 *   life    runs of three steps: insert, two appends, an append that completes
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/store.h"

enum { EVENT_BYTES = 260, UNIT_MAX = 512, COMMITS_MAX = 1000000, STEPS = 3 };

struct bench {
    struct store *s;
    struct run_write *runs; /* the latest write to each */
    size_t run_count;
    size_t next; /* run whose turn it is */
    uint64_t no_max;
    uint8_t event[EVENT_BYTES];
    struct run_write unit[UNIT_MAX];
    int64_t *commit_ns;
};

static void die(const char *what, const aiki_error *err)
{
    (void)fprintf(stderr, "store-bench: %s: %s\n", what, err->message);
    exit(1);
}

static void new_run(struct bench *b, struct run_write *w)
{
    *w = (struct run_write){
        .insert = true,
        .row =
            {
                .no = ++b->no_max,
                .id = id_new(),
                .space = view_of("default"),
                .workflow = view_of("order-processing"),
                .version = view_of("1.0.0"),
                .actor = view_of("bench"),
                .state = RUN_QUEUED,
                .epoch = UINT64_C(1) << 32,
                .seq = 1,
                .created_at_ms = clock_wall_ms(),
                .updated_at_ms = clock_wall_ms(),
            },
        .events = {b->event, sizeof(b->event)},
    };
}

static void append(struct run_write *w)
{
    w->insert = false;
    w->seq_before = w->row.seq++;
    w->row.epoch++;
    w->row.updated_at_ms++;
    w->row.state = RUN_RUNNING;
    memcpy(w->row.hash, &w->row.seq, sizeof(w->row.seq));
}

/* The next write of the next run. */
static struct run_write advance(struct bench *b, bool life)
{
    struct run_write *w = &b->runs[b->next];
    b->next = (b->next + 1) % b->run_count;
    if (w->row.no == 0 || (life && run_state_is_terminal(w->row.state)))
        new_run(b, w);
    else
        append(w);
    if (life && w->row.seq > STEPS)
        w->row.state = RUN_COMPLETED;
    return *w;
}

static int64_t commit(struct bench *b, size_t size, bool life)
{
    aiki_error err = {.struct_size = sizeof(err)};
    for (size_t i = 0; i < size; i++)
        b->unit[i] = advance(b, life);
    struct unit unit = {.runs = b->unit, .run_count = size};
    int64_t began_ns = clock_mono_ns();
    if (b->s->ops->commit(b->s, &unit, &err) != AIKI_OK)
        die("commit", &err);
    return clock_mono_ns() - began_ns;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void measure(struct bench *b, bool life, size_t size, double seconds)
{
    size_t commits = 0;
    double cpu_before_s = cpu_s();
    int64_t began_ns = clock_mono_ns();
    double took_s = 0;
    while (took_s < seconds && commits < COMMITS_MAX) {
        b->commit_ns[commits++] = commit(b, size, life);
        took_s = (double)(clock_mono_ns() - began_ns) / 1e9;
    }
    double rows = (double)(commits * size);
    qsort(b->commit_ns, commits, sizeof(int64_t), by_size);
    printf("%-7s %5zu %9.0f %10.0f %8.3f %8.3f %10.2f\n", life ? "life" : "append", size,
           rows / took_s, (double)commits / took_s, (double)b->commit_ns[commits / 2] / 1e6,
           (double)b->commit_ns[commits * 99 / 100] / 1e6, (cpu_s() - cpu_before_s) * 1e6 / rows);
    (void)fflush(stdout);
}

static void run_all(struct bench *b, double seconds, size_t only)
{
    static const size_t sizes[] = {1, 8, 64, 512};
    printf("%-7s %5s %9s %10s %8s %8s %10s\n", "load", "unit", "rows/s", "commits/s", "p50 ms",
           "p99 ms", "cpu us/row");
    for (int life = 0; life < 2; life++) {
        memset(b->runs, 0, b->run_count * sizeof(*b->runs));
        for (size_t i = 0; i < b->run_count; i++)
            (void)commit(b, 1, life);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            if (only == 0 || only == sizes[i])
                measure(b, life, sizes[i], seconds);
    }
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
    b.commit_ns = calloc(COMMITS_MAX, sizeof(*b.commit_ns));
    memset(b.event, 0xa5, sizeof(b.event));
    if (b.runs == NULL || b.commit_ns == NULL || b.run_count == 0)
        return 1;
    if (store_open(&b.s, argc > 1 ? argv[1] : url, &err) != AIKI_OK)
        die("open", &err);
    b.no_max = b.s->run_no_max;
    run_all(&b, seconds, argc > 4 ? strtoul(argv[4], NULL, 10) : 0);
    store_close(b.s);
    free(b.runs);
    free(b.commit_ns);
    if (argc < 2)
        printf("file: %s/bench.db\n", directory);
    return 0;
}
