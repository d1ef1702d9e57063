/* parked.c - see parked.h.
 *
 *   sizes --> start all --> all wait --> sizes --> signal, result; signal, result ... --> the rest
 *
 * The database's size is what it has in pages, whether they are in the file or still in the log
 * beside it (sqlite.org/fileformat2.html, 4.1: each frame that ends a commit has that number).
 */
#include "parked.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "doc.h"
#include "wire/error.h"

enum {
    PATH_SIZE = 4096,
    LOG_HEAD_BYTES = 32,
    FRAME_HEAD_BYTES = 24,
    POLL_MS = 2,
    RESULT_MS_MAX = 60000
};

/* ---- sizes -------------------------------------------------------------------------------- */

struct sizes {
    uint64_t memory_bytes, store_bytes; /* 0 = unknown */
};

static uint64_t memory_of(pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL && kib == 0)
        (void)sscanf(line, "RssAnon: %llu kB", &kib); /* no other line matches */
    if (f != NULL)
        (void)fclose(f); /* only read from */
    return kib * 1024;
}

/* Bytes of the database by the log's last commit; 0 when there is none in it. */
static uint64_t size_in_log(int fd)
{
    uint32_t head[LOG_HEAD_BYTES / 4], frame[FRAME_HEAD_BYTES / 4];
    uint64_t pages = 0;
    if (pread(fd, head, sizeof(head), 0) != sizeof(head))
        return 0;
    uint64_t page_bytes = be32toh(head[2]);
    off_t at = LOG_HEAD_BYTES;
    while (pread(fd, frame, sizeof(frame), at) == sizeof(frame) && frame[2] == head[4] &&
           frame[3] == head[5]) { /* else: of an earlier turn of the log */
        if (frame[1] != 0)
            pages = be32toh(frame[1]);
        at += (off_t)(sizeof(frame) + page_bytes);
    }
    return pages * page_bytes;
}

static uint64_t size_of_database(char *log_path)
{
    struct stat about;
    AUTO(close_fd) int fd = open(log_path, O_RDONLY | O_CLOEXEC);
    uint64_t size_bytes = fd >= 0 ? size_in_log(fd) : 0;
    log_path[strlen(log_path) - strlen("-wal")] = '\0';
    if (size_bytes == 0 && stat(log_path, &about) == 0)
        size_bytes = (uint64_t)about.st_size;
    return size_bytes;
}

/* The server's database is the one whose log it has open. */
uint64_t parked_store_bytes(pid_t pid)
{
    char folder[64], path[PATH_SIZE], target[PATH_SIZE];
    uint64_t size_bytes = 0;
    (void)snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && size_bytes == 0 && (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n < 4 || memcmp(target + n - 4, "-wal", 4) != 0)
            continue;
        target[n] = '\0';
        size_bytes = size_of_database(target);
    }
    if (d != NULL)
        (void)closedir(d);
    return size_bytes;
}

static struct sizes look(pid_t server)
{
    return server > 0 ? (struct sizes){memory_of(server), parked_store_bytes(server)} : (struct sizes){0};
}

/* ---- runs --------------------------------------------------------------------------------- */

typedef char run_name[AIKI_RUN_ID_SIZE];

static int start_all(struct cli *cli, uint32_t count, aiki_view input, run_name *ids)
{
    const aiki_start start = {
        .struct_size = sizeof(start), .workflow = PARKED_WORKFLOW, .input = input};
    aiki_status st = AIKI_OK;
    for (uint32_t i = 0; i < count && st == AIKI_OK; i++)
        st = aiki_client_start(cli->client, &start, ids[i], NULL, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int parked_await(struct cli *cli, const char *id)
{
    for (bool waits = false; !waits;) {
        aiki_view run;
        int code = cli_query_one(cli, "runs.get", "id", id, &run);
        if (code != EXIT_OK)
            return code;
        waits = view_is(doc_text(run, "state"), "awaiting_signal");
        bool stuck = doc_get(run, "error").size_bytes > 0;
        aiki_client_free(run.data);
        if (stuck) {
            aiki_status st = error_set(&cli->err, AIKI_FAILED,
                                       "run %s does not wait; see aiki runs inspect %s", id, id);
            return cli_fail(cli, st, &cli->err);
        }
        if (!waits)
            (void)usleep(POLL_MS * 1000);
    }
    return EXIT_OK;
}

static aiki_status signal_go(struct cli *cli, const char *id, const char *ref, bool *ret_new)
{
    const aiki_view nil = {(const uint8_t *)"\xc0", 1};
    return aiki_client_signal(cli->client, id, "go", nil, ref, ret_new, &cli->err);
}

int parked_repeat(struct cli *cli, const char *id, const char *ref)
{
    bool is_new;
    aiki_status st = signal_go(cli, id, ref, &is_new);
    if (st == AIKI_OK && is_new)
        st = error_set(&cli->err, AIKI_FAILED, "run %s took its signal twice", id);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int parked_resume(struct cli *cli, const char *id, const char *ref)
{
    const aiki_outcome *outcome;
    aiki_status st = signal_go(cli, id, ref, NULL);
    if (st == AIKI_OK)
        st = aiki_client_wait(cli->client, id, RESULT_MS_MAX, &outcome, &cli->err);
    if (st == AIKI_OK)
        aiki_client_free(outcome);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Spread over all of them: the first ones are no warmer than the others. */
static int sample(struct cli *cli, run_name *ids, struct parked *p)
{
    int64_t times_ns[PARKED_SAMPLES_MAX];
    uint32_t stride = p->runs / p->samples;
    for (uint32_t i = 0; i < p->samples; i++) {
        int64_t began_ns = clock_mono_ns();
        int code = parked_resume(cli, ids[i * stride], NULL);
        if (code != EXIT_OK)
            return code;
        times_ns[i] = clock_mono_ns() - began_ns;
        ids[i * stride][0] = '\0';
    }
    qsort(times_ns, p->samples, sizeof(times_ns[0]), compare_ns);
    p->resume_p50_ms = (double)times_ns[p->samples / 2] / 1e6;
    p->resume_p99_ms = (double)times_ns[p->samples * 99 / 100] / 1e6;
    return EXIT_OK;
}

static double each(uint64_t before, uint64_t after, uint32_t runs)
{
    return before == 0 || after < before ? 0 : (double)(after - before) / runs;
}

static int park_and_resume(struct cli *cli, pid_t server, aiki_view input, run_name *ids,
                           struct parked *p)
{
    struct sizes before = look(server);
    int code = start_all(cli, p->runs, input, ids);
    for (uint32_t i = 0; i < p->runs && code == EXIT_OK; i++)
        code = parked_await(cli, ids[i]);
    if (code != EXIT_OK)
        return code;
    struct sizes after = look(server);
    p->memory_bytes = each(before.memory_bytes, after.memory_bytes, p->runs);
    p->store_bytes = each(before.store_bytes, after.store_bytes, p->runs);
    code = sample(cli, ids, p);
    for (uint32_t i = 0; i < p->runs && code == EXIT_OK; i++)
        if (ids[i][0] != '\0')
            code = parked_resume(cli, ids[i], NULL);
    return code;
}

int parked_measure(struct cli *cli, pid_t server, uint32_t runs, aiki_view input,
                   struct parked *ret)
{
    AUTO(free) run_name *ids = calloc(runs, sizeof(*ids));
    if (ids == NULL)
        return cli_fail(cli, AIKI_NOMEM, NULL);
    *ret = (struct parked){.runs = runs,
                           .samples = runs < PARKED_SAMPLES_MAX ? runs : PARKED_SAMPLES_MAX};
    return park_and_resume(cli, server, input, ids, ret);
}
