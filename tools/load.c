/* load.c - see load.h.
 *
 *   main: ask for anything, wait for the end
 *   client's thread: answer --> start a run in every slot
 *                    outcome --> note the time --> start the next run in the same slot
 *
 * So all counters belong to the client's thread; the lock only hands the end over.
 */
#include "load.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "wire/error.h"

struct load;
struct slot {
    struct load *load;
    int64_t began_ns;
};

struct load {
    aiki_client *client;
    const struct load_plan *plan;
    struct slot *slots;    /* owned; plan->inflight of them */
    int64_t *latencies_ns; /* owned; of completed runs */
    uint32_t issued, ended, completed, failed;
    int64_t began_ns, ended_ns;
    aiki_error first_error;
    pthread_mutex_t lock;
    pthread_cond_t finished;
    bool is_finished;
};

static void on_outcome(void *arg, aiki_status st, const aiki_outcome *outcome,
                       const aiki_error *err);

static void note_failure(struct load *l, const aiki_error *err)
{
    l->ended++;
    if (l->failed++ == 0)
        (void)error_code(&l->first_error, err->status, err->code, "%s", err->message);
}

static aiki_status start_run(struct slot *s, aiki_error *err)
{
    const struct load_plan *plan = s->load->plan;
    const aiki_start start = {
        .struct_size = sizeof(start), .workflow = plan->workflow, .input = plan->input};
    s->began_ns = clock_mono_ns();
    return aiki_client_start_async(s->load->client, &start, NULL, on_outcome, s, err);
}

/* The next run in this slot, if any is left. */
static void keep_busy(struct slot *s)
{
    struct load *l = s->load;
    aiki_error err = {.struct_size = sizeof(err)};
    while (l->issued < l->plan->runs) {
        l->issued++;
        if (start_run(s, &err) == AIKI_OK)
            return;
        note_failure(l, &err);
    }
}

static void finish_if_over(struct load *l)
{
    if (l->ended < l->issued || l->issued < l->plan->runs)
        return;
    l->ended_ns = clock_mono_ns();
    pthread_mutex_lock(&l->lock);
    l->is_finished = true;
    pthread_cond_signal(&l->finished);
    pthread_mutex_unlock(&l->lock);
}

static void on_outcome(void *arg, aiki_status st, const aiki_outcome *outcome,
                       const aiki_error *err)
{
    struct slot *s = arg;
    struct load *l = s->load;
    (void)outcome;
    if (st == AIKI_OK) {
        l->latencies_ns[l->completed++] = clock_mono_ns() - s->began_ns;
        l->ended++;
    } else {
        note_failure(l, err);
    }
    if (st != AIKI_OK && st != AIKI_FAILED) { /* no use in more of that */
        l->failed += l->plan->runs - l->issued;
        l->ended += l->plan->runs - l->issued;
        l->issued = l->plan->runs;
    }
    keep_busy(s);
    finish_if_over(l);
}

static void on_client_thread(void *arg, aiki_status st, aiki_view document, const aiki_error *err)
{
    struct load *l = arg;
    (void)st; /* a server that does not answer this will not start runs either */
    (void)document;
    (void)err;
    l->began_ns = clock_mono_ns();
    for (uint32_t i = 0; i < l->plan->inflight; i++) {
        l->slots[i].load = l;
        keep_busy(&l->slots[i]);
    }
    finish_if_over(l);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank of sorted values. */
static double percentile_ms(const struct load *l, double share)
{
    if (l->completed == 0)
        return 0;
    uint32_t rank = (uint32_t)(share * (double)l->completed);
    if (rank >= l->completed)
        rank = l->completed - 1;
    return (double)l->latencies_ns[rank] / 1e6;
}

static void summarise(struct load *l, struct load_result *ret)
{
    double sum_ns = 0;
    qsort(l->latencies_ns, l->completed, sizeof(*l->latencies_ns), compare_ns);
    for (uint32_t i = 0; i < l->completed; i++)
        sum_ns += (double)l->latencies_ns[i];
    *ret = (struct load_result){.seconds = (double)(l->ended_ns - l->began_ns) / 1e9,
                                .completed = l->completed,
                                .failed = l->failed,
                                .p50_ms = percentile_ms(l, 0.50),
                                .p95_ms = percentile_ms(l, 0.95),
                                .p99_ms = percentile_ms(l, 0.99),
                                .max_ms = percentile_ms(l, 1.0),
                                .mean_ms = l->completed > 0 ? sum_ns / l->completed / 1e6 : 0};
}

static aiki_status run_to_end(struct load *l, aiki_error *err)
{
    aiki_view none = {NULL, 0};
    aiki_status st =
        aiki_client_query_async(l->client, "server.stats", none, on_client_thread, l, err);
    if (st != AIKI_OK)
        return st;
    pthread_mutex_lock(&l->lock);
    while (!l->is_finished)
        pthread_cond_wait(&l->finished, &l->lock);
    pthread_mutex_unlock(&l->lock);
    return AIKI_OK;
}

aiki_status load_run(aiki_client *client, const struct load_plan *plan, struct load_result *ret,
                     aiki_error *err)
{
    struct load l = {.client = client, .plan = plan};
    l.first_error.struct_size = sizeof(l.first_error);
    l.slots = calloc(plan->inflight, sizeof(*l.slots));
    l.latencies_ns = calloc(plan->runs, sizeof(*l.latencies_ns));
    aiki_status st = AIKI_OK;
    if (l.slots == NULL || l.latencies_ns == NULL) {
        st = error_set(err, AIKI_NOMEM, "no memory for the times of %u runs", plan->runs);
    } else {
        pthread_mutex_init(&l.lock, NULL);
        pthread_cond_init(&l.finished, NULL);
        st = run_to_end(&l, err);
        pthread_cond_destroy(&l.finished);
        pthread_mutex_destroy(&l.lock);
    }
    if (st == AIKI_OK) {
        summarise(&l, ret);
        if (err != NULL && l.failed > 0)
            *err = l.first_error;
    }
    free(l.slots);
    free(l.latencies_ns);
    return st;
}
