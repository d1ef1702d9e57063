/* head.c - see head.h.
 *
 *   run       01JD2V7Q8X3M5N7P9R1S3T5V7W
 *   workflow  process-order 1.0.0
 *   state     awaiting_signal
 *   started   07:31:02.114 by shop, last change 3.0s later
 *   waits for signal approved since 07:31:05.117 until 08:31:05.117
 */
#include "head.h"

#include <stdio.h>

#include "base/buf.h"
#include "doc.h"
#include "text.h"

enum { CAUSES_MAX = 8 };

#define PLUGINS_SHOWN "`aiki plugins list` shows what is there, and what was refused"

static void title(const char *text)
{
    printf("%-10s", text);
}

static void line(const char *name, aiki_view text, const char *sequence)
{
    if (text.size_bytes == 0)
        return;
    title(name);
    printf("%s", sequence);
    print_clean(text);
    printf("%s\n", sequence[0] != '\0' ? out_plain() : "");
}

static void print_time(const char *before, int64_t at_ms)
{
    char at[HUMAN_SIZE];
    if (at_ms > 0)
        printf(" %s %s", before, human_time(at, at_ms));
}

static void print_waits(aiki_view run)
{
    for (struct doc_list l = doc_list(run, "waits"); doc_next(&l);) {
        title("waits for");
        print_clean(doc_text(l.item, "kind"));
        printf(" ");
        print_clean(doc_text(l.item, "name"));
        if (doc_text(l.item, "ref").size_bytes > 0) {
            printf(" ");
            print_clean(doc_text(l.item, "ref"));
        }
        print_time("since", doc_time_ms(l.item, "since"));
        print_time("until", doc_time_ms(l.item, "expires"));
        printf("\n");
    }
}

static void print_error(aiki_view error)
{
    for (int depth = 0; error.size_bytes > 0 && depth <= CAUSES_MAX; depth++) {
        title(depth == 0 ? "error" : "because");
        print_clean(doc_text(error, "code"));
        printf(": ");
        print_clean(doc_text(error, "message"));
        printf("\n");
        aiki_view details = doc_get(error, "details");
        if (details.size_bytes > 0)
            (void)print_json(details, 2, NULL); /* it came from our own reader */
        error = doc_get(error, "cause");
    }
}

/* Over HTTP one need not say who asks. */
static void print_actor(aiki_view of)
{
    aiki_view actor = doc_text(of, "actor");
    if (actor.size_bytes == 0)
        return;
    printf(" by ");
    print_clean(actor);
}

static void print_started(aiki_view run)
{
    char created[HUMAN_SIZE], took[HUMAN_SIZE];
    int64_t created_ms = doc_time_ms(run, "created_at"),
            updated_ms = doc_time_ms(run, "updated_at");
    title("started");
    printf("%s", human_time(created, created_ms));
    print_actor(run);
    printf(", last change %s later\n", human_ms(took, updated_ms - created_ms));
}

/* Nobody serves it: what, and since when. */
static void print_stalled(aiki_view run, int64_t now_ms)
{
    char age[HUMAN_SIZE];
    int64_t since_ms = doc_time_ms(run, "updated_at");
    if (!view_is(doc_text(run, "state"), "stalled"))
        return;
    title("stalled");
    printf("no runtime serves ");
    print_clean(doc_text(run, "workflow"));
    printf("@");
    print_clean(doc_text(run, "version"));
    printf(", for %s; put its plugin into a plugins directory; " PLUGINS_SHOWN "\n",
           human_ms(age, now_ms > since_ms ? now_ms - since_ms : 0));
}

/* Why is the error of the run. */
static void print_blocked(aiki_view state)
{
    if (!view_is(state, "blocked"))
        return;
    title("blocked");
    puts("put a build that fits into a plugins directory and it goes on; " PLUGINS_SHOWN);
}

/* Time left is of interest while it is running out. */
static void print_limit(aiki_view run, const char *name, const char *field, int64_t now_ms)
{
    char at[HUMAN_SIZE], left[HUMAN_SIZE];
    int64_t deadline_ms = doc_time_ms(run, field);
    if (deadline_ms == 0)
        return;
    title(name);
    printf("%s", human_time(at, deadline_ms));
    if (deadline_ms > now_ms)
        printf(", %s left", human_ms(left, deadline_ms - now_ms));
    printf("\n");
}

/* Starts that were answered with this run; of many the last few are named. */
static void print_duplicates(aiki_view run)
{
    long long count = (long long)doc_int(run, "duplicates");
    if (count == 0)
        return;
    title("absorbed");
    printf("%lld more start%s with this key\n", count, count == 1 ? "" : "s");
    for (struct doc_list l = doc_list(run, "duplicate_starts"); doc_next(&l);) {
        printf("%12s", "");
        print_time("at", doc_time_ms(l.item, "at"));
        print_actor(l.item);
        printf("\n");
    }
}

void head_print(aiki_view run, int64_t now_ms)
{
    char json[256];
    aiki_view state = doc_text(run, "state");
    line("run", doc_text(run, "id"), out_bold());
    line("workflow", doc_text(run, "workflow"), "");
    line("version", doc_text(run, "version"), "");
    line("state", state, out_state(state));
    line("key", doc_text(run, "key"), "");
    line("parent", doc_text(run, "parent"), "");
    line("worker", doc_text(doc_get(run, "owner"), "name"), "");
    line("build", doc_text(doc_get(run, "owner"), "build"), "");
    print_started(run);
    print_stalled(run, now_ms);
    print_blocked(state);
    print_limit(run, "start by", "start_by", now_ms);
    print_limit(run, "deadline", "deadline_at", now_ms);
    if (doc_int(run, "children") > 0)
        printf("%-10s%lld; `aiki runs tree` shows them\n", "children",
               (long long)doc_int(run, "children"));
    if (doc_bool(run, "pause_requested") && !view_is(state, "paused"))
        line("asked", view_of("to pause"), "");
    if (doc_bool(run, "cancel_requested"))
        line("asked", view_of("to cancel"), "");
    line("retry", view_of(short_json(doc_get(run, "retry"), json, sizeof(json))), "");
    print_duplicates(run);
    print_waits(run);
    print_error(doc_get(run, "error"));
    printf("\n");
}
