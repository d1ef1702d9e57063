/* test_diverge.c - what was changed between two builds, told from a journal and a look ahead.
 *
 * A workflow is a line of words here: "a" a task, "a=2" the same with another input, "~nap" a sleep, "@go" a
 * signal, "&kid" a child, "$luck" a side value, "(a b)" both at once, "(a b)?" whichever is first, "!" a failure,
 * "<a" a task that is begun and not waited for, "..." steps without an end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/replay_world.h"

static const char *line; /* the workflow */
static bool finish_last_first; /* tasks that run at once */

static uint32_t begin_child(struct world *w, const char *name)
{
    static const uint8_t nil = 0xc0;
    const struct child_options o = {.close_policy = CLOSE_CANCEL};
    const struct step_call call = {
        .kind = STEP_CHILD, .name = view(name), .input = {&nil, 1}, .child = &o};
    return begin(w, &call);
}

static uint32_t begin_word(struct world *w, char *word)
{
    char *input = strchr(word, '=');
    if (word[0] == '~')
        return timed(w, STEP_SLEEP, word + 1, 3600000);
    if (word[0] == '@')
        return timed(w, STEP_SIGNAL, word + 1, -1);
    if (word[0] == '&')
        return begin_child(w, word + 1);
    if (input != NULL)
        *input = '\0';
    return task(w, word, input != NULL ? (uint64_t)atoi(input + 1) : 1);
}

static void take_group(struct world *w, char **at)
{
    uint32_t futures[8], n = 0;
    char *word = NULL;
    for (bool more = true; more; *at = NULL) {
        word = *at != NULL ? *at + 1 : strtok(NULL, " ");
        char *end = strchr(word, ')');
        more = end == NULL;
        if (end != NULL)
            *end = '\0';
        futures[n++] = begin_word(w, word);
        if (end != NULL)
            await(w, futures, n, end[1] == '?' ? 1 : n);
    }
}

static uint64_t follow_line(struct world *w)
{
    char words[128];
    (void)snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word != NULL && w->fault == AIKI_OK;
         word = strtok(NULL, " ")) {
        if (word[0] == '(')
            take_group(w, &word);
        else if (word[0] == '$')
            (void)side(w, word + 1, 5);
        else if (word[0] == '<')
            (void)begin_word(w, word + 1);
        else if (word[0] == '!')
            w->fault = AIKI_FAILED;
        else if (strcmp(word, "...") == 0)
            for (uint64_t i = 10; w->fault == AIKI_OK; i++)
                (void)result(w, task(w, "poll", i));
        else
            (void)result(w, begin_word(w, word));
    }
    return 0;
}

static aiki_view detail(aiki_view details, const char *key)
{
    aiki_reader r;
    aiki_reader_init(&r, details);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        bool found = name.size_bytes == strlen(key) && memcmp(name.data, key, strlen(key)) == 0;
        if (found)
            return aiki_mp_read_str(&r);
        (void)aiki_mp_skip(&r);
    }
    return view("");
}

/* The run waits, or has ended, in the old line; then the new one is asked. */
static void diverge(struct world *w, const char *old, const char *new, bool looks_ahead,
                    aiki_error *ret)
{
    world_begin(w, follow_line);
    w->last_first = finish_last_first;
    line = old;
    assert_int_equal(stay(w), STAY_PARKED);
    unsigned effects = w->effect_count, appends = w->appends;
    uint64_t events = w->seq;
    line = new; /* strtok keeps one line at a time: the fiber of the old one is gone */
    w->looks_ahead = looks_ahead;
    assert_int_equal(stay(w), STAY_DIVERGED);
    replay_explain(&w->r, ret);
    assert_string_equal(ret->code, "NONDETERMINISM");
    assert_int_equal(aiki_mp_check(ret->details), AIKI_OK);
    assert_int_equal(w->effect_count, effects); /* nothing is executed, nothing is recorded */
    assert_int_equal(w->appends, appends);
    assert_int_equal(w->seq, events);
}

static void expect_cause(struct world *w, const char *old, const char *new, bool looks_ahead,
                         const char *cause)
{
    aiki_error err = AIKI_ERROR_INIT;
    diverge(w, old, new, looks_ahead, &err);
    aiki_view found = detail(err.details, "cause");
    if (found.size_bytes != strlen(cause) || memcmp(found.data, cause, found.size_bytes) != 0)
        fail_msg("\"%s\" -> \"%s\": expected \"%s\", found \"%.*s\"", old, new, cause,
                 (int)found.size_bytes, (const char *)found.data);
    world_end(w);
}

/* ---- cases ------------------------------------------------------------------------------- */

/* A gate names each change exactly. */
static void changes_are_named(void **state)
{
    static const struct {
        const char *old, *new, *cause;
    } cases[] = {
        /* inserted */
        {"a b @go c", "x a b @go c", "task x was inserted before task a"},
        {"a b @go c", "a x b @go c", "task x was inserted before task b"},
        {"a b @go c", "a b x @go c", "task x was inserted before signal go"},
        {"a b @go c", "a x=2 b @go c", "task x was inserted before task b"},
        {"a b @go c", "a x y b @go c", "task x and task y were inserted before task b"},
        {"a b @go c", "a x y z u b @go c",
         "task x, task y and 2 more steps were inserted before task b"},
        {"a b @go c", "x a y b @go c",
         "task x was inserted before task a; task y was inserted before task b"},
        {"a b @go c", "a b b @go c", "task b (call 2) was inserted before signal go"},
        {"a b @go c", "a ~nap b @go c", "sleep nap was inserted before task b"},
        {"a b @go c", "$luck a b @go c", "side luck was inserted before task a"},
        {"a b @go c", "a &kid b @go c", "child kid was inserted before task b"},
        {"(a b) @go", "(a b x) @go", "task x was inserted before signal go"},
        {"a=1 a=2 @go", "a=1 a=7 a=2 @go", "task a 7 was inserted before task a 2"},
        {"a=1 a=2 @go", "a=1 x a=2 x @go",
         "task x was inserted before task a 2; task x (call 2) was inserted before signal go"},
        {"a b @go c", "a x b ! @go c", "task x was inserted before task b"},
        /* removed */
        {"a b @go c", "b @go c", "task a was removed"},
        {"a b @go c", "a @go c", "task b was removed"},
        {"a b c d @go", "a d @go", "task b and task c were removed"},
        {"a b @go c", "a b c", "signal go was removed"},
        {"a b b @go c", "a b @go c", "task b (call 2) was removed"},
        {"a ~nap @go", "a x @go", "sleep nap was removed"},
        {"a $luck b @go", "a b @go", "side luck was removed"},
        {"a b @go c", "", "the code now ends before task a"},
        {"a b @go c", "a", "the code now ends before task b"},
        {"a b @go c", "a !", "the code now ends before task b"},
        {"a b @go c", "a <x", "task b was renamed to x; signal go was removed"},
        /* became another one */
        {"a b @go c", "x b @go c", "task a was renamed to x"},
        {"a b @go c", "a x @go c", "task b was renamed to x"},
        {"a b @go c", "a b @start c", "signal go was renamed to start"},
        {"a ~nap @go", "a ~pause @go", "sleep nap was renamed to pause"},
        {"a &kid @go", "a &child @go", "child kid was renamed to child"},
        {"a b @go c", "a b=2 @go c", "the input of task b changed: was 1, is 2"},
        {"a b @go c", "a x=2 @go c", "task b became task x with another input: was 1, is 2"},
        {"a <~nap @go", "a x @go", "sleep nap became task x"},
        {"a <&kid @go", "a kid @go", "child kid became task kid"},
        {"(a b) @go", "(a x) @go", "task b was renamed to x"},
        {"(a b)? @go", "(a x)? @go", "task b was renamed to x"},
        {"a b c @go", "x b y @go", "task a was renamed to x; task c was renamed to y"},
        {"a b c @go", "x a c @go", "task x was inserted before task a; task b was removed"},
        /* in another order */
        {"a b @go c", "a @go b c", "task b and signal go are in another order"},
        {"a b @go c", "a @go x b c",
         "task b and signal go are in another order; task x was inserted before task b"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_cause(w, cases[i].old, cases[i].new, true, cases[i].cause);
}

/* What the code would have done is not known: then it is a guess, and says so. */
static void what_is_not_known_is_likely(void **state)
{
    static const struct {
        const char *old, *new, *cause;
    } cases[] = {
        {"a b @go c", "a x ! b @go", "the name changed"},
        {"a b @go c", "a x=2 ! b @go", "a step was inserted or replaced"},
        {"a b @go c", "a ...", "a step was inserted or replaced"},
    };
    struct world *w = *state;
    aiki_error err = AIKI_ERROR_INIT;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_cause(w, cases[i].old, cases[i].new, true, cases[i].cause);
        expect_cause(w, cases[i].old, cases[i].new, false, cases[i].cause);
    }
    diverge(w, "a b @go c", "a x b @go c", false, &err);
    assert_string_equal(err.message, "recorded: task b 1; the code now asks for: task x 1; likely the name "
                                     "changed. To continue, serve a build that takes the recorded steps");
    world_end(w);
}

/* All of it in one sentence; the remedy gives way when that is long. */
static void the_message_has_all_there_is_room_for(void **state)
{
    struct world *w = *state;
    aiki_error err = AIKI_ERROR_INIT;
    diverge(w, "a b @go c", "a x b @go c", true, &err);
    assert_string_equal(err.message,
                        "recorded: task b 1; the code now asks for: task x 1; task x was inserted before "
                        "task b. To continue, serve a build that takes the recorded steps");
    world_end(w);
    diverge(w, "a b @go c",
            "a a-name-of-some-length-like-this another-name-of-some-length-like-that b @go c", true, &err);
    assert_string_equal(err.message,
                        "recorded: task b 1; the code now asks for: task a-name-of-some-length-like-this "
                        "1; task a-name-of-some-length-like-this and task "
                        "another-name-of-some-length-like-that were inserted before task b");
    world_end(w);
}

/* More changes than fit are counted. */
static void many_changes_are_counted(void **state)
{
    static const char old[] = "a b c d e f g h i j k l @go";
    static const char new[] = "p a q b r c s d t e u f v g w h x i y j z k l @go";
    struct world *w = *state;
    aiki_error err = AIKI_ERROR_INIT;
    expect_cause(w, old, new, true,
                 "task p was inserted before task a; task q was inserted before task b; task r was "
                 "inserted before task c; task s was inserted before task d; task t was inserted "
                 "before task e; task u was inserted before task f; task v was inserted before task "
                 "g; task w was inserted before task h; task x was inserted before task i; task y was "
                 "inserted before task j; 1 more change");
    diverge(w, old, new, true, &err);
    assert_string_equal(err.message,
                        "recorded: task a 1; the code now asks for: task p 1; task p was inserted before "
                        "task a; task q was inserted before task b; task r was inserted before task c; task "
                        "s was inserted before task d; 7 more changes");
    world_end(w);
}

/* Tasks that ran at once are on record in the order in which they ended. */
static void groups_have_no_order(void **state)
{
    static const char *const news[] = {"(x b c d) @go", "(a x c d) @go", "(a b x d) @go", "(a b c x) @go"};
    static const char *const causes[] = {"task a was renamed to x", "task b was renamed to x",
                                         "task c was renamed to x", "task d was renamed to x"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(news) / sizeof(news[0]); i++)
        for (int last_first = 0; last_first < 2; last_first++) {
            finish_last_first = last_first;
            expect_cause(w, "(a b c d) @go", news[i], true, causes[i]);
        }
    finish_last_first = false;
}

/* Without memory it says less, and does no harm. */
static void memory_runs_out(void **state)
{
    struct world *w = *state;
    bool ended = false;
    for (unsigned n = 1; !ended; n++) {
        aiki_error err = AIKI_ERROR_INIT;
        world_begin(w, follow_line);
        line = "a b $luck @go c";
        assert_int_equal(stay(w), STAY_PARKED);
        line = "a x $more b $luck @go c";
        w->looks_ahead = true;
        w->fail_at = n;
        enum stay how = stay(w);
        if (how == STAY_DIVERGED)
            replay_explain(&w->r, &err);
        ended = how == STAY_DIVERGED && err.details.size_bytes > 0 && w->allocation_count < n;
        world_end(w);
        assert_true(n < 1000);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(changes_are_named),
        CASE(what_is_not_known_is_likely),
        CASE(the_message_has_all_there_is_room_for),
        CASE(many_changes_are_counted),
        CASE(groups_have_no_order),
        CASE(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
