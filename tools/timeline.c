/* timeline.c - see timeline.h.
 *
 *   07:31:02.114      0ms  started         process-order 1.0.0
 *   07:31:02.121      7ms  done            task charge-payment, attempt 2, took 3.0ms
 *                            in  {"order":"1042"}
 *                            out {"reference":"pay-77"}
 */
#include "timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "doc.h"
#include "text.h"

enum { JSON_SIZE = 2048, INDENT = 28, BUILD_SHOWN = 12, CAUSES_MAX = 8 };

void timeline_deinit(struct timeline *t)
{
    steps_deinit(&t->steps);
    *t = (struct timeline){.brief = t->brief};
}

/* One line: on a terminal what does not fit is cut, `--json` and a pipe show everything. */
static void detail(const char *title, const char *text)
{
    int room = out_width() - (INDENT + 4), size = (int)strlen(text);
    bool cut = room > (int)strlen("...") && size > room;
    if (cut)
        size = room - (int)strlen("...");
    while (cut && size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--; /* not within a character */
    if (text[0] != '\0')
        printf("%*s%s%-3s%s %.*s%s\n", INDENT, "", out_dim(), title, out_plain(), size, text,
               cut ? "..." : "");
}

static void detail_value(const char *title, aiki_view value)
{
    char text[JSON_SIZE];
    detail(title, short_json(value, text, sizeof(text)));
}

/* Frames end with a source line, or with the build where that has no debug information. */
static void detail_stack(aiki_view error)
{
    bool any = false, lines = false;
    for (struct doc_list l = doc_list(error, "stack"); doc_next(&l); any = true) {
        aiki_reader r;
        aiki_reader_init(&r, l.item);
        aiki_view frame = aiki_mp_read_str(&r);
        lines |= frame.size_bytes > 0 && frame.data[frame.size_bytes - 1] != ')';
        printf("%*s  at ", INDENT, "");
        print_clean(frame);
        printf("\n");
    }
    if (any && !lines)
        printf("%*s  %sno source lines: compile the plugin with -g, or ask eu-addr2line -e FILE "
               "FUNCTION+OFFSET about a file of this build that has them%s\n",
               INDENT, "", out_dim(), out_plain());
}

/* The error, what it says in detail, where it came from, and what led to it. */
static void detail_error(aiki_view error)
{
    for (int depth = 0; error.size_bytes > 0 && depth <= CAUSES_MAX; depth++) {
        printf("%*s%s%s%s ", INDENT, "", out_state(view_of("failed")),
               depth == 0 ? "err" : "because", out_plain());
        print_clean(doc_text(error, "code"));
        printf(": ");
        print_clean(doc_text(error, "message"));
        printf("\n");
        detail_value("details", doc_get(error, "details"));
        detail_stack(error);
        error = doc_get(error, "cause");
    }
}

/* Begins the line; the caller ends it. */
static void begin_line(struct timeline *t, aiki_view event, const char *what, const char *state)
{
    char at[HUMAN_SIZE], after[HUMAN_SIZE];
    int64_t at_ms = doc_time_ms(event, "at");
    printf("%s%s%s %9s  %s%-16s%s", out_dim(), human_time(at, at_ms), out_plain(),
           human_ms(after, at_ms - t->steps.from_ms), out_state(view_of(state)), what,
           out_state(view_of(state))[0] != '\0' ? out_plain() : "");
}

static void print_until(const char *what, aiki_view event, const char *key)
{
    char at[HUMAN_SIZE];
    int64_t at_ms = doc_time_ms(event, key);
    if (at_ms > 0)
        printf(", %s %s", what, human_time(at, at_ms));
}

static void print_attempt(aiki_view event)
{
    char took[HUMAN_SIZE];
    int64_t attempt = doc_int(event, "attempt"), us = doc_int(event, "duration_us");
    if (attempt > 0)
        printf(", attempt %lld", (long long)attempt);
    if (us > 0)
        printf(", took %s", human_us(took, us));
}

/* What happened to a step, in two words, and the state it is coloured like. */
static const char *step_words(aiki_view event, aiki_view kind, const char **ret_state)
{
    aiki_view outcome = doc_text(event, "outcome");
    *ret_state = "";
    if (view_is(kind, "step_begun"))
        return "begun";
    if (view_is(kind, "heartbeat"))
        return "heartbeat";
    *ret_state = "failed";
    if (view_is(kind, "attempt_failed") ||
        (view_is(kind, "attempt_done") && view_is(outcome, "failed")))
        return "attempt failed";
    if (view_is(outcome, "timed_out"))
        return "timed out";
    if (view_is(outcome, "failed"))
        return "step failed";
    *ret_state = "completed";
    if (view_is(kind, "attempt_done"))
        return "attempt done";
    *ret_state = view_is(outcome, "cancelled") ? "cancelled" : "completed";
    return view_is(outcome, "cancelled") ? "step cancelled" : "done";
}

/* Once a step: which policy decides about its attempts. */
static void print_policy(struct step *s, aiki_view event)
{
    aiki_view retry = doc_get(event, "retry");
    if (s == NULL || s->policy_shown || retry.size_bytes == 0)
        return;
    s->policy_shown = true;
    detail_value("retry", retry);
}

static void print_step(struct timeline *t, struct step *s, aiki_view event, aiki_view kind)
{
    const char *state;
    const char *what = step_words(event, kind, &state);
    bool done = view_is(kind, "step_done"), ended = done || view_is(kind, "attempt_done");
    begin_line(t, event, what, state);
    printf("%s", s != NULL ? s->text : "");
    print_attempt(event);
    print_until("due", event, "due_at");
    print_until("next", event, "next_at");
    bool late = done && strcmp(state, "cancelled") == 0 && doc_int(event, "attempt") > 0;
    printf("%s%s\n", doc_bool(event, "detached") ? ", detached" : "",
           late ? " was under way: what it answers is dropped" : "");
    bool failed_first = view_is(kind, "attempt_failed") && doc_int(event, "attempt") == 1;
    if (!t->brief && (done || failed_first) && s != NULL && s->input != NULL)
        detail("in", s->input);
    /* A signal's step holds the number of the signal event, which shows the payload itself. */
    bool is_signal = s != NULL && strncmp(s->text, "signal ", 7) == 0;
    if (!t->brief && ended && !is_signal)
        detail_value("out", doc_get(event, "output"));
    if (!t->brief)
        detail_value("beat", doc_get(event, "details"));
    detail_error(doc_get(event, "error"));
    print_policy(s, event);
    if (done && s != NULL) { /* it is not shown again */
        free(s->input);
        s->input = NULL;
    }
}

static void print_words(aiki_view event, const char *const *keys)
{
    bool any = false;
    for (; *keys != NULL; keys++) {
        aiki_view text = doc_text(event, *keys);
        if (text.size_bytes == 0)
            continue;
        if (strcmp(*keys, "build") == 0 && text.size_bytes > BUILD_SHOWN)
            text.size_bytes = BUILD_SHOWN;
        if (any)
            printf(" ");
        print_clean(text);
        any = true;
    }
    printf("\n");
}

/* clang-format off */
static const struct {
    const char *kind, *what, *state;
    const char *words[4], *value, *value_title;
} lines[] = {
    {"started", "started", "", {"workflow", "version", "key"}, "input", "in"},
    {"claimed", "claimed", "", {"runtime", "build"}, NULL, NULL},
    {"signal", "signal", "", {"name", "ref"}, "payload", "in"},
    {"completed", "completed", "completed", {NULL}, "output", "out"},
    {"failed", "failed", "failed", {NULL}, NULL, NULL},
    {"blocked", "blocked", "blocked", {NULL}, NULL, NULL},
    {"unblocked", "unblocked", "", {NULL}, NULL, NULL},
    {"cancel_requested", "cancel asked", "cancelled", {"reason", "actor"}, NULL, NULL},
    {"cancel_seen", "cancel seen", "cancelled", {NULL}, NULL, NULL},
    {"cancelled", "cancelled", "cancelled", {NULL}, NULL, NULL},
    {"timed_out", "timed out", "failed", {NULL}, NULL, NULL},
    {"terminated", "terminated", "terminated", {"reason", "actor"}, NULL, NULL},
    {"paused", "paused", "", {"reason", "actor"}, NULL, NULL},
    {"resumed", "resumed", "", {"reason", "actor"}, NULL, NULL},
    {"woken", "woken", "", {"reason", "actor"}, NULL, NULL},
    {"dropped", "dropped", "", {"reason", "actor"}, NULL, NULL},
    {"crashed", "crashed", "failed", {"step", "name", "build"}, NULL, NULL},
    {"child_done", "child ended", "", {"child", "state", "by"}, "output", "out"},
    {"joined", "joined by", "", {"run"}, NULL, NULL},
};
/* clang-format on */

static void print_retried(struct timeline *t, aiki_view event)
{
    static const char *const who[] = {"reason", "actor", NULL};
    int64_t from = doc_int(event, "from_seq");
    begin_line(t, event, "run retried", "");
    printf("attempt %lld", (long long)doc_int(event, "attempt"));
    if (from > 0)
        printf(", from event %lld on", (long long)from);
    print_until("next", event, "next_at");
    printf(" ");
    print_words(event, who);
    detail_error(doc_get(event, "error"));
}

/* From whom, until when, and by which policy, where that was said. */
static void print_start_options(aiki_view event)
{
    static const struct {
        const char *key, *title;
    } times[] = {{"start_at", "not before"}, {"deadline_at", "until"}};
    char at[HUMAN_SIZE];
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (doc_time_ms(event, times[i].key) > 0)
            detail(times[i].title, human_time(at, doc_time_ms(event, times[i].key)));
    detail_value("retry", doc_get(event, "retry"));
    detail_value("parent", doc_get(event, "parent"));
}

/* A value passed that does not fit its schema. */
static void print_warned(struct timeline *t, const struct step *s, aiki_view event)
{
    begin_line(t, event, "warned", "failed");
    printf("%s, ", s != NULL ? s->text : "the run");
    print_clean(doc_text(event, "value"));
    printf("\n");
    detail_error(doc_get(event, "error"));
}

/* It was claimed for a plugin that nobody had needed for a while. */
static void print_load(aiki_view event)
{
    char took[HUMAN_SIZE];
    int64_t ms = doc_int(event, "load_ms");
    if (ms > 0)
        printf("%*swaited %s for its plugin to be loaded\n", INDENT, "", human_ms(took, ms));
}

void timeline_print(struct timeline *t, aiki_view event)
{
    aiki_view kind = doc_text(event, "kind");
    struct step *step = steps_add(&t->steps, event);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!view_is(kind, lines[i].kind))
            continue;
        begin_line(t, event, lines[i].what, lines[i].state);
        print_words(event, lines[i].words);
        print_load(event);
        if (!t->brief && lines[i].value != NULL)
            detail_value(lines[i].value_title, doc_get(event, lines[i].value));
        if (i == 0)
            print_start_options(event);
        detail_error(doc_get(event, "error"));
        return;
    }
    if (view_is(kind, "run_retried"))
        print_retried(t, event);
    else if (view_is(kind, "warned"))
        print_warned(t, step, event);
    else
        print_step(t, step, event, kind);
}
