/* stats.c - what /metrics of a runtime says about files, builds and their processes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "broker/builds_impl.h"

void stats_refused(struct build_stats *s, const char *code)
{
    for (unsigned i = 0; i < s->code_count; i++)
        if (strcmp(s->codes[i].code, code) == 0) {
            s->codes[i].count++;
            return;
        }
    if (s->code_count == STATS_CODES_MAX) {
        s->other_codes++;
        return;
    }
    struct code_count *c = &s->codes[s->code_count++];
    (void)snprintf(c->code, sizeof(c->code), "%s", code);
    c->count = 1;
}

static void put(aiki_writer *w, const char *text)
{
    aiki_mp_raw(w, text, strlen(text));
}

static void put_head(aiki_writer *w, const char *name, const char *type, const char *help)
{
    char text[300];
    (void)snprintf(text, sizeof(text), "# HELP aiki_runtime_%s %s\n# TYPE aiki_runtime_%s %s\n", name,
                   help, name, type);
    put(w, text);
}

/* Labels and codes are our own words: nothing to escape. */
static void put_labelled(aiki_writer *w, const char *name, const char *label, const char *value,
                         uint64_t number)
{
    char text[300];
    (void)snprintf(text, sizeof(text), "aiki_runtime_%s{%s=\"%s\"} %" PRIu64 "\n", name, label,
                   value, number);
    put(w, text);
}

void stats_put(aiki_writer *w, const char *name, const char *type, const char *help, uint64_t value)
{
    char text[200];
    put_head(w, name, type, help);
    (void)snprintf(text, sizeof(text), "aiki_runtime_%s %" PRIu64 "\n", name, value);
    put(w, text);
}

static void put_seconds(aiki_writer *w, const char *name, const char *help, uint64_t ms)
{
    char text[200];
    put_head(w, name, "counter", help);
    (void)snprintf(text, sizeof(text), "aiki_runtime_%s %" PRIu64 ".%03" PRIu64 "\n", name, ms / 1000,
                   ms % 1000);
    put(w, text);
}

static void put_refusals(aiki_writer *w, const struct build_stats *s)
{
    put_head(w, "files_refused_total", "counter", "Plugin files that were refused, by code");
    for (unsigned i = 0; i < s->code_count; i++)
        put_labelled(w, "files_refused_total", "code", s->codes[i].code, s->codes[i].count);
    put_labelled(w, "files_refused_total", "code", "other", s->other_codes);
}

static void put_builds(aiki_writer *w, const struct builds *bs)
{
    static const char *const names[] = {
#define BUILD_STATE_TEXT(name, text) [name] = (text),
        BUILD_STATES(BUILD_STATE_TEXT)
#undef BUILD_STATE_TEXT
    };
    uint64_t counts[ARRAY_COUNT(names)] = {0}, children = 0, quarantined = 0;
    for (const struct build *b = bs->all; b != NULL; b = b->next) {
        counts[b->state]++;
        children += b->proc != NULL;
    }
    for (const struct quarantine *q = bs->quarantines; q != NULL; q = q->next)
        quarantined++;
    put_head(w, "builds", "gauge", "Plugin builds that this runtime holds, by what they are there for");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        put_labelled(w, "builds", "state", names[i], counts[i]);
    stats_put(w, "children", "gauge", "Processes of plugins", children);
    stats_put(w, "quarantined", "gauge", "Tasks and workflows of builds that are not executed here",
              quarantined);
}

void builds_write_metrics(const struct builds *bs, aiki_writer *w)
{
    const struct build_stats *s = &bs->stats;
    unsigned serving, refused;
    builds_count(bs, &serving, &refused);
    put_refusals(w, s);
    stats_put(w, "files_refused", "gauge", "Plugin files that are refused now", refused);
    stats_put(w, "probes_total", "counter", "Plugin files that a process was asked about before they served",
              s->probes);
    put_builds(w, bs);
    stats_put(w, "child_restarts_total", "counter", "Processes of plugins that were replaced",
              s->restarts);
    stats_put(w, "loads_total", "counter", "Processes of plugins that were started because runs waited for them",
              s->loads);
    put_seconds(w, "load_seconds_total", "How long these runs waited, the longest for each process",
                s->load_ms);
    stats_put(w, "unloads_total", "counter", "Processes of plugins that ended because no run needed them",
              s->unloads);
    put_head(w, "gate_runs_total", "counter",
             "Open runs that replay gates looked at, by what becomes of them with the new build");
    put_labelled(w, "gate_runs_total", "verdict", "moves", s->gate_moves);
    put_labelled(w, "gate_runs_total", "verdict", "stays", s->gate_stays);
    put_labelled(w, "gate_runs_total", "verdict", "crashes", s->gate_crashes);
}
