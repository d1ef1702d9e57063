/* side-values.c - clock, chance and captured values, recorded once.
 *
 *   side-values {}
 *
 * Takes one of each, keeps them, waits for the signal "again", and answers {"then": [NOW, RANDOM,
 * UUID, CAPTURED], "now": the same list as this execution sees it}.
 */
#include <aiki/plugin.h>

struct values {
    int64_t now;
    uint64_t random;
    char uuid[37];
    aiki_view captured;
};

static aiki_status write_values(void *arg, aiki_writer *w)
{
    const struct values *v = (const struct values *)arg;
    aiki_mp_array(w, 4);
    aiki_mp_int(w, v->now);
    aiki_mp_uint(w, v->random >> 1); /* JSON integers end at 63 bits */
    aiki_mp_str(w, v->uuid);
    aiki_mp_raw(w, v->captured.data, v->captured.size_bytes);
    return w->status;
}

/* Never the same twice in a process: a second call would show. */
static aiki_status count_calls(void *arg, aiki_writer *w)
{
    static uint64_t calls;
    (void)arg;
    aiki_mp_uint(w, ++calls);
    return w->status;
}

static aiki_status side_values(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    struct values v;
    aiki_view then;
    (void)input;

    AIKI_TRY(aiki_now(run, &v.now, err));
    AIKI_TRY(aiki_random(run, &v.random, err));
    AIKI_TRY(aiki_uuid(run, v.uuid, err));
    AIKI_TRY(aiki_record_once(run, "captured", count_calls, NULL, &v.captured, err));
    AIKI_TRY(aiki_record_once(run, "then", write_values, &v, &then, err));
    AIKI_TRY(aiki_wait_signal(run, "again", AIKI_FOREVER_MS, NULL, err));

    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "then");
    aiki_mp_raw(&w, then.data, then.size_bytes);
    aiki_mp_str(&w, "now");
    AIKI_TRY(write_values(&v, &w));
    return aiki_output(run, &w, err);
}

AIKI_PLUGIN("side-values", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("side-values", "1.0.0", side_values)), AIKI_NO_TASKS);
