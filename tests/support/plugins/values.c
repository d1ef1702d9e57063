/* values.c - side values must be the same on every replay.
 *
 * Takes each of them twice, keeps what it saw with record_once, waits for the signal "go", and
 * answers {"before": what was kept, "after": what this execution sees}.
 */
#include <aiki/plugin.h>

struct seen {
    int64_t now[2];
    uint64_t random[2];
    char uuid[2][37];
    aiki_view captured[2];
};

static aiki_status write_seen(void *arg, aiki_writer *w)
{
    const struct seen *seen = (const struct seen *)arg;
    aiki_mp_array(w, 8);
    for (int i = 0; i < 2; i++) {
        aiki_mp_int(w, seen->now[i]);
        aiki_mp_uint(w, seen->random[i] >> 1); /* JSON integers end at 63 bits */
        aiki_mp_str(w, seen->uuid[i]);
        aiki_mp_raw(w, seen->captured[i].data, seen->captured[i].size_bytes);
    }
    return w->status;
}

/* Never the same twice in a process, so a second call would show. */
static aiki_status write_counter(void *arg, aiki_writer *w)
{
    static uint64_t counter;
    (void)arg;
    aiki_mp_uint(w, ++counter);
    return w->status;
}

static aiki_status values(aiki_run *run, aiki_view input, aiki_error *err)
{
    struct seen seen;
    aiki_view before;
    aiki_writer w = aiki_run_writer(run);
    (void)input;
    for (int i = 0; i < 2; i++) {
        AIKI_TRY(aiki_now(run, &seen.now[i], err));
        AIKI_TRY(aiki_random(run, &seen.random[i], err));
        AIKI_TRY(aiki_uuid(run, seen.uuid[i], err));
        AIKI_TRY(aiki_record_once(run, i == 0 ? "first" : "second", write_counter, NULL,
                                  &seen.captured[i], err));
    }
    AIKI_TRY(aiki_record_once(run, "seen", write_seen, &seen, &before, err));
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));

    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "before");
    aiki_mp_raw(&w, before.data, before.size_bytes);
    aiki_mp_str(&w, "after");
    AIKI_TRY(write_seen(&seen, &w));
    return aiki_output(run, &w, err);
}

AIKI_PLUGIN("values", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("values", "1.0.0", values)),
            AIKI_NO_TASKS);
