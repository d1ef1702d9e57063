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

/* Whether the task has answered with its input, as it does. */
static inline aiki_status pair_echoed(struct pair *p, const char *task, const char *text, bool *ret)
{
    uint8_t memory[64];
    aiki_view input = pair_text(memory, sizeof(memory), text), output;
    pair_note(p, task);
    AIKI_TRY(aiki_task(p->run, task, input, &output, p->err));
    *ret = output.size_bytes == input.size_bytes;
    for (uint64_t i = 0; *ret && i < input.size_bytes; i++)
        *ret = output.data[i] == input.data[i];
    return AIKI_OK;
}

static inline aiki_status pair_child(struct pair *p, const char *workflow, const char *text)
{
    uint8_t memory[64];
    aiki_future child;
    pair_note(p, "k");
    AIKI_TRY(aiki_child_start(p->run, workflow, NULL, pair_text(memory, sizeof(memory), text), NULL,
                              &child, p->err));
    return aiki_await(p->run, child, NULL, p->err);
}

static inline aiki_status pair_begin(struct pair *p, const char *task, aiki_future *ret)
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
#define BEGIN(task, future) AIKI_TRY(pair_begin(&p, task, &(future)))
#define JOIN(future) AIKI_TRY(aiki_await(run, future, NULL, err))
#define WAIT(name) WAIT_FOR(name, AIKI_FOREVER_MS)
#define WAIT_FOR(name, ms)                                          \
    do {                                                            \
        pair_note(&p, "-");                                         \
        AIKI_TRY(aiki_wait_signal(run, name, ms, NULL, err));       \
    } while (0)
#define COUNT(futures) ((uint32_t)(sizeof(futures) / sizeof((futures)[0])))
#define ALL(futures) AIKI_TRY(aiki_await_all(run, futures, COUNT(futures), err))
#define ANY(futures)                                                                  \
    do {                                                                              \
        uint32_t which;                                                               \
        AIKI_TRY(aiki_await_any(run, futures, COUNT(futures), &which, err));          \
    } while (0)
#define CHILD(workflow, text) AIKI_TRY(pair_child(&p, workflow, text))
#define TASK_ECHOED(task, input, otherwise)           \
    do {                                              \
        bool echoed = false;                          \
        AIKI_TRY(pair_echoed(&p, task, input, &echoed)); \
        if (!echoed)                                  \
            otherwise;                                \
    } while (0)
#define NAP_UNTIL(name, ms) AIKI_TRY(aiki_sleep_until(run, name, ms, err))
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

/* The workflow of children. */
static aiki_status kid(aiki_run *run, aiki_view in, aiki_error *err)
{
    (void)run, (void)in, (void)err;
    return AIKI_OK;
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
