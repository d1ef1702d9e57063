/* metrics.c - counters as text and as a map. */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>

struct metrics metrics;

static const struct {
    const char *name, *help;
    const _Atomic uint64_t *value;
} rows[] = {
#define METRIC_ROW(name, help) {#name, help, &metrics.name},
    METRICS(METRIC_ROW)
#undef METRIC_ROW
};
enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

void metrics_write(aiki_writer *w)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        char text[400];
        int n = snprintf(text, sizeof(text),
                         "# HELP aiki_%s_total %s\n# TYPE aiki_%s_total counter\n"
                         "aiki_%s_total %" PRIu64 "\n",
                         rows[i].name, rows[i].help, rows[i].name, rows[i].name,
                         atomic_load_explicit(rows[i].value, memory_order_relaxed));
        aiki_mp_raw(w, text, (uint64_t)n);
    }
}

void metrics_write_map(aiki_writer *w)
{
    aiki_mp_map(w, ROW_COUNT);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        aiki_mp_str(w, rows[i].name);
        aiki_mp_uint(w, atomic_load_explicit(rows[i].value, memory_order_relaxed));
    }
}
