/* pair.h - words in which tests/integration/gate_pairs.py writes old and new workflow functions.
 *
 * Each step adds a letter to what the run answers, so the answer tells which build ended it.
 */
#ifndef PAIR_H
#define PAIR_H

#include <aiki/plugin.h>

struct pair {
    aiki_run *run;
    aiki_error *err;
    char steps[64];
};

static inline void pair_note(struct pair *p, const char *text)
{
    size_t at = 0, i = 0;
    while (p->steps[at] != '\0')
        at++;
    for (; text[i] != '\0' && at + i + 1 < sizeof(p->steps); i++)
        p->steps[at + i] = text[i];
    p->steps[at + i] = '\0';
}

static inline aiki_view pair_text(uint8_t *memory, uint64_t size, const char *text)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, size);
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "order");
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "amount");
    aiki_mp_str(&w, text);
    return aiki_writer_view(&w);
}

static inline aiki_status pair_task(struct pair *p, const char *task, const char *input,
                                    const aiki_task_options *options)
{
    uint8_t memory[64];
    pair_note(p, task);
    return aiki_task_with(p->run, task, pair_text(memory, sizeof(memory), input), options, NULL,
                          p->err);
}

static inline aiki_status pair_child_like(struct pair *p, const char *task, aiki_future *ret)
{
    uint8_t memory[64];
    pair_note(p, task);
    return aiki_task_start(p->run, task, pair_text(memory, sizeof(memory), "1"), ret, p->err);
}

static inline aiki_status pair_side(void *arg, aiki_writer *w)
{
    (void)arg;
    aiki_mp_uint(w, 7);
    return AIKI_OK;
}

#define TASK(task) AIKI_TRY(pair_task(&p, task, "1", NULL))
#define TASK_OF(task, input) AIKI_TRY(pair_task(&p, task, input, NULL))
#define TASK_WITH(task, options) AIKI_TRY(pair_task(&p, task, "1", options))
#define BEGIN(task, future) AIKI_TRY(pair_child_like(&p, task, &(future)))
#define JOIN(future) AIKI_TRY(aiki_await(run, future, NULL, err))
#define WAIT(name) WAIT_FOR(name, AIKI_FOREVER_MS)
#define WAIT_FOR(name, ms)                                          \
    do {                                                            \
        pair_note(&p, "-");                                         \
        AIKI_TRY(aiki_wait_signal(run, name, ms, NULL, err));       \
    } while (0)
#define NAP(name, ms) AIKI_TRY(aiki_sleep(run, name, ms, err))
#define SIDE(name) AIKI_TRY(aiki_record_once(run, name, pair_side, NULL, NULL, err))

static inline aiki_status pair_answer(struct pair *p)
{
    aiki_writer w = aiki_run_writer(p->run);
    aiki_mp_str(&w, p->steps);
    return aiki_output(p->run, &w, p->err);
}

static aiki_status echo(aiki_call *call, aiki_view input)
{
    return call->api->output(call, input);
}

#define PAIR_FUNCTION(fn, ...)                                                       \
    static aiki_status fn(aiki_run *run, aiki_view in, aiki_error *err)              \
    {                                                                                \
        struct pair p = {run, err, ""};                                              \
        (void)in;                                                                    \
        __VA_ARGS__                                                                  \
        return pair_answer(&p);                                                      \
    }
#define PAIR_TASKS(...)                                                               \
    AIKI_TASKS(AIKI_TASK("a", echo), AIKI_TASK("b", echo), AIKI_TASK("c", echo),      \
               AIKI_TASK("d", echo), AIKI_TASK("x", echo) __VA_ARGS__)

#endif
