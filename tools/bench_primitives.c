/* bench_primitives.c - see bench_primitives.h. */
#include "bench_primitives.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "bench.h"
#include "wire/error.h"

enum { SHARED_FACTOR = 10, RESULT_MS_MAX = 60000 };

/* What somebody has to do while the run is open. */
enum from_outside { NOBODY, SIGNALS, CANCELS };

static const struct {
    const char *name, *title;
    enum from_outside from_outside;
} table[PRIMITIVE_COUNT] = {
#define PRIMITIVE_ROW(name, title, from_outside) {#name, title, from_outside},
    PRIMITIVES(PRIMITIVE_ROW)
#undef PRIMITIVE_ROW
};

const char *primitive_name(int primitive)
{
    return table[primitive].name;
}

const char *primitive_title(int primitive)
{
    return table[primitive].title;
}

/* A run that is cancelled waits for a signal meanwhile. */
static const char *asks_for(int primitive)
{
    return table[primitive].from_outside == CANCELS ? "signal" : table[primitive].name;
}

static uint32_t times_of(int primitive)
{
    return table[primitive].from_outside == CANCELS ? 1 : PRIMITIVE_TIMES;
}

/* primitive < 0: nothing. */
static void write_input(aiki_writer *w, int primitive)
{
    aiki_mp_map(w, primitive < 0 ? 0 : 1);
    if (primitive < 0)
        return;
    aiki_mp_str(w, asks_for(primitive));
    aiki_mp_uint(w, times_of(primitive));
}

/* ---- one run ------------------------------------------------------------------------------ */

static int act(struct cli *cli, int primitive, const char *id)
{
    const aiki_view nil = {(const uint8_t *)"\xc0", 1};
    enum from_outside from_outside = primitive < 0 ? NOBODY : table[primitive].from_outside;
    aiki_status st = AIKI_OK;
    int code = from_outside == CANCELS ? parked_await(cli, id) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    if (from_outside == CANCELS)
        st = aiki_client_cancel(cli->client, id, NULL, &cli->err);
    for (int i = 0; i < PRIMITIVE_TIMES && from_outside == SIGNALS && st == AIKI_OK; i++) {
        code = parked_await(cli, id);
        if (code != EXIT_OK)
            return code;
        st = aiki_client_signal(cli->client, id, "go", nil, NULL, NULL, &cli->err);
    }
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int execute(struct cli *cli, int primitive, aiki_view input)
{
    char id[AIKI_RUN_ID_SIZE];
    const aiki_outcome *outcome = NULL;
    const aiki_start start = {
        .struct_size = sizeof(start), .workflow = EACH_WORKFLOW, .input = input};
    aiki_status st = aiki_client_start(cli->client, &start, id, NULL, &cli->err);
    int code = st == AIKI_OK ? act(cli, primitive, id) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    if (st == AIKI_OK)
        st = aiki_client_wait(cli->client, id, RESULT_MS_MAX, &outcome, &cli->err);
    if (primitive == PRIMITIVE_cancel && st == AIKI_FAILED && outcome != NULL &&
        outcome->state == AIKI_RUN_CANCELLED)
        st = AIKI_OK;
    if (st == AIKI_OK)
        aiki_client_free(outcome);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

/* ---- many --------------------------------------------------------------------------------- */

struct look {
    struct counters counters;
    struct usage used;
    uint64_t store_bytes;
};

static int look(struct cli *cli, const struct usage_pids *pids, struct look *ret)
{
    pid_t server;
    usage_read(pids, &ret->used);
    ret->store_bytes = parked_store_bytes(pids->server);
    return bench_count(cli, &ret->counters, &server);
}

static double each(uint64_t before, uint64_t after, uint32_t runs)
{
    return after < before ? 0 : (double)(after - before) / runs;
}

static double cpu_us(const struct look *before, const struct look *after, uint32_t runs)
{
    const struct usage used = usage_between(&before->used, &after->used);
    return usage_total_s(&used) * 1e6 / runs;
}

static int measure_alone(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                         int primitive, aiki_view input, struct cost *ret)
{
    struct look before, after;
    int code = look(cli, pids, &before);
    for (uint32_t i = 0; i < runs && code == EXIT_OK; i++)
        code = execute(cli, primitive, input);
    if (code == EXIT_OK)
        code = look(cli, pids, &after);
    if (code != EXIT_OK)
        return code;
    ret->commits = each(before.counters.commits, after.counters.commits, runs);
    ret->events = each(before.counters.events, after.counters.events, runs);
    ret->store_bytes = each(before.store_bytes, after.store_bytes, runs);
    ret->alone_us = cpu_us(&before, &after, runs);
    return EXIT_OK;
}

static int measure_shared(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                          aiki_view input, struct cost *ret)
{
    struct look before, after;
    struct load_result result;
    const struct load_plan plan = {
        .workflow = EACH_WORKFLOW, .input = input, .runs = runs, .inflight = PRIMITIVE_INFLIGHT};
    int code = look(cli, pids, &before);
    if (code != EXIT_OK)
        return code;
    aiki_status st = load_run(cli->client, &plan, &result, &cli->err);
    if (st != AIKI_OK || result.failed > 0)
        return cli_fail(cli, st != AIKI_OK ? st : cli->err.status, &cli->err);
    code = look(cli, pids, &after);
    if (code == EXIT_OK)
        ret->shared_us = cpu_us(&before, &after, runs);
    return code;
}

static int measure_kind(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                        int primitive, struct cost *ret)
{
    AUTO(buf) aiki_writer input;
    buf_init(&input);
    write_input(&input, primitive);
    if (input.status != AIKI_OK)
        return cli_fail(cli, input.status, NULL);
    aiki_view view = aiki_writer_view(&input);
    int code = measure_alone(cli, pids, runs, primitive, view, ret);
    if (code == EXIT_OK && (primitive < 0 || table[primitive].from_outside == NOBODY))
        code = measure_shared(cli, pids, SHARED_FACTOR * runs, view, ret);
    return code;
}

/* Noise may make a difference negative. */
static double share(double whole, double base, uint32_t times)
{
    return whole > base ? (whole - base) / times : 0;
}

int primitives_measure(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                       struct primitives *ret)
{
    *ret = (struct primitives){.runs = runs};
    int code = measure_kind(cli, pids, runs, -1, &ret->run);
    for (int i = 0; i < PRIMITIVE_COUNT && code == EXIT_OK; i++) {
        struct cost whole = {.shared_us = 0};
        code = measure_kind(cli, pids, runs, i, &whole);
        ret->each[i] = (struct cost){
            .commits = share(whole.commits, ret->run.commits, times_of(i)),
            .events = share(whole.events, ret->run.events, times_of(i)),
            .store_bytes = share(whole.store_bytes, ret->run.store_bytes, times_of(i)),
            .alone_us = share(whole.alone_us, ret->run.alone_us, times_of(i)),
            .shared_us = share(whole.shared_us, ret->run.shared_us, times_of(i))};
    }
    return code;
}
