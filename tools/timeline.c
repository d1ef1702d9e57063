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

enum { NAME_SIZE = 128, ADDRESS_SIZE = 64, JSON_SIZE = 2048, INDENT = 28, BUILD_SHOWN = 12 };

struct step_name {
    char address[ADDRESS_SIZE];
    int64_t nth;
    char text[NAME_SIZE]; /* "task charge-payment" */
    char input[JSON_SIZE];
};

void timeline_deinit(struct timeline *t)
{
    free(t->steps);
    *t = (struct timeline){.started_at_ms = 0};
}

static void copy_text(char *to, size_t size, aiki_view text)
{
    snprintf(to, size, "%.*s", text.size_bytes < size ? (int)text.size_bytes : (int)size - 1,
             text.data != NULL ? (const char *)text.data : "");
}

static struct step_name *add_step(struct timeline *t)
{
    if (t->step_count == t->step_room) {
        size_t room = t->step_room == 0 ? 16 : 2 * t->step_room;
        struct step_name *grown = realloc(t->steps, room * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        t->steps = grown;
        t->step_room = room;
    }
    return &t->steps[t->step_count++];
}

/* What is known about the step an event speaks of; NULL when it speaks of none. */
static const struct step_name *find_step(struct timeline *t, aiki_view event)
{
    char address[ADDRESS_SIZE];
    int64_t nth = doc_int(event, "nth");
    copy_text(address, sizeof(address), doc_text(event, "address"));
    if (address[0] == '\0')
        return NULL;
    struct step_name *s = NULL;
    for (size_t i = 0; i < t->step_count && s == NULL; i++)
        if (t->steps[i].nth == nth && strcmp(t->steps[i].address, address) == 0)
            s = &t->steps[i];
    if (s != NULL)
        return s;
    s = add_step(t);
    if (s == NULL)
        return NULL;
    aiki_view kind = doc_text(event, "step"), name = doc_text(event, "name");
    memcpy(s->address, address, sizeof(address));
    s->nth = nth;
    snprintf(s->text, sizeof(s->text), "%.*s %.*s",
             (int)(kind.size_bytes < 16 ? kind.size_bytes : 16),
             kind.data != NULL ? (const char *)kind.data : "",
             (int)(name.size_bytes < 100 ? name.size_bytes : 100),
             name.data != NULL ? (const char *)name.data : "");
    (void)short_json(doc_get(event, "input"), s->input, sizeof(s->input));
    return s;
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

static void detail_error(aiki_view error)
{
    if (error.size_bytes == 0)
        return;
    printf("%*s%serr%s ", INDENT, "", out_state(view_of("failed")), out_plain());
    print_clean(doc_text(error, "code"));
    printf(": ");
    print_clean(doc_text(error, "message"));
    printf("\n");
}

/* Begins the line; the caller ends it. */
static void begin_line(struct timeline *t, aiki_view event, const char *what, const char *state)
{
    char at[HUMAN_SIZE], after[HUMAN_SIZE];
    int64_t at_ms = doc_time_ms(event, "at");
    if (t->started_at_ms == 0)
        t->started_at_ms = at_ms;
    printf("%s%s%s %9s  %s%-16s%s", out_dim(), human_time(at, at_ms), out_plain(),
           human_ms(after, at_ms - t->started_at_ms), out_state(view_of(state)), what,
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

static void print_step(struct timeline *t, aiki_view event, aiki_view kind)
{
    const struct step_name *s = find_step(t, event);
    aiki_view error = doc_get(event, "error"), outcome = doc_text(event, "outcome");
    bool done = view_is(kind, "step_done");
    bool failed = error.size_bytes > 0 || view_is(outcome, "failed");
    const char *what = view_is(kind, "step_begun")       ? "begun"
                       : view_is(kind, "attempt_failed") ? "attempt failed"
                       : view_is(outcome, "timed_out")   ? "timed out"
                       : failed                          ? "step failed"
                                                         : "done";
    begin_line(t, event, what, failed ? "failed" : done ? "completed" : "");
    printf("%s", s != NULL ? s->text : "");
    print_attempt(event);
    print_until("due", event, "due_at");
    print_until("next", event, "next_at");
    printf("\n");
    if (!t->brief && done && s != NULL)
        detail("in", s->input);
    /* A signal's step holds the number of the signal event, which shows the payload itself. */
    bool is_signal = s != NULL && strncmp(s->text, "signal ", 7) == 0;
    if (!t->brief && done && !is_signal)
        detail_value("out", doc_get(event, "output"));
    detail_error(error);
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

void timeline_print(struct timeline *t, aiki_view event)
{
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
    };
    aiki_view kind = doc_text(event, "kind");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!view_is(kind, lines[i].kind))
            continue;
        begin_line(t, event, lines[i].what, lines[i].state);
        print_words(event, lines[i].words);
        if (!t->brief && lines[i].value != NULL)
            detail_value(lines[i].value_title, doc_get(event, lines[i].value));
        detail_error(doc_get(event, "error"));
        return;
    }
    print_step(t, event, kind);
}
