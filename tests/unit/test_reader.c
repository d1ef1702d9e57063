/* test_reader.c - what people are shown of runs on record: trees, lists, every kind of event. */
#include "support/reader_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "views.h"
#include "wire/child.h"
#include "wire/retry.h"

/* ---- trees -------------------------------------------------------------------------------- */

/* Parents before their children, siblings in the order of their starts. */
static void a_tree_is_listed_as_it_is_drawn(void **state)
{
    struct fixture *f = *state;
    struct aiki_id runs[5];
    runs[0] = add_run(f, NULL, 2, RUN_AWAITING_CHILD, 0);
    runs[1] = add_run(f, &runs[0], 1, RUN_AWAITING_CHILD, 0);
    runs[3] = add_run(f, &runs[0], 0, RUN_FAILED, 0);
    runs[2] = add_run(f, &runs[1], 0, RUN_COMPLETED, 0);
    runs[4] = add_run(f, NULL, 0, RUN_COMPLETED, 0); /* of another family */
    static const char *const depths[] = {"\"depth\":0", "\"depth\":1", "\"depth\":2", "\"depth\":1"};
    const char *at = ask_about(f, "runs.tree", &runs[0]);
    assert_int_equal(count_of(at, "\"depth\":"), 4);
    assert_non_null(strstr(at, "\"truncated\":false"));
    assert_non_null(strstr(at, "\"unread\":true")); /* these journals do not decode: that hides no run */
    at = strstr(at, "\"runs\":");
    for (unsigned i = 0; i < 4; i++) {
        char id[AIKI_ID_TEXT_SIZE + 8], text[AIKI_ID_TEXT_SIZE];
        id_text(&runs[i], text);
        snprintf(id, sizeof(id), "\"id\":\"%s\"", text);
        assert_non_null(at = strstr(at, depths[i]));
        assert_ptr_equal(strstr(at, "\"id\":"), strstr(at, id));
        at++;
    }
    assert_int_equal(count_of(ask_about(f, "runs.tree", &runs[1]), "\"depth\":"), 2);
}

/* Children over the pages of the store, and more of them than a document takes. */
static void a_large_family_is_cut_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct aiki_id parent = add_run(f, NULL, TREE_RUNS_MAX, RUN_AWAITING_CHILD, 0);
    for (unsigned i = 1; i < TREE_RUNS_MAX; i++)
        (void)add_run(f, &parent, 0, RUN_SLEEPING, 0);
    const char *whole = ask_about(f, "runs.tree", &parent);
    assert_int_equal(count_of(whole, "\"depth\":1"), TREE_RUNS_MAX - 1);
    assert_non_null(strstr(whole, "\"truncated\":false"));
    (void)add_run(f, &parent, 0, RUN_SLEEPING, 0);
    const char *cut = ask_about(f, "runs.tree", &parent);
    assert_int_equal(count_of(cut, "\"depth\":1"), TREE_RUNS_MAX - 1);
    assert_non_null(strstr(cut, "\"truncated\":true"));
}

/* Each the only child of the one before. */
static void a_deep_family_is_cut_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct aiki_id first = add_run(f, NULL, 1, RUN_AWAITING_CHILD, 0), last = first;
    for (unsigned i = 0; i <= TREE_DEPTH_MAX; i++)
        last = add_run(f, &last, 1, RUN_AWAITING_CHILD, 0);
    const char *cut = ask_about(f, "runs.tree", &first);
    assert_int_equal(count_of(cut, "\"depth\":"), TREE_DEPTH_MAX + 1);
    assert_non_null(strstr(cut, "\"truncated\":true"));
}

static void unknown_runs(void **state)
{
    struct fixture *f = *state;
    struct aiki_id nobody = id_new();
    assert_string_equal(ask_about(f, "runs.tree", &nobody), "RUN_NOT_FOUND");
    assert_string_equal(ask_about(f, "runs.history", &nobody), "RUN_NOT_FOUND");
    assert_string_equal(ask(f, "runs.tree", "{\"id\":\"x\"}"), "INVALID");
    assert_string_equal(ask(f, "runs.tree", "{}"), "INVALID");
}

/* ---- states ------------------------------------------------------------------------------- */

/* Open runs that are to be cancelled are cancelling; who needs somebody to act says that instead. */
static void cancelling_is_shown_and_found(void **state)
{
    struct fixture *f = *state;
    (void)add_run(f, NULL, 0, RUN_SLEEPING, RUN_FLAG_CANCEL);
    (void)add_run(f, NULL, 0, RUN_SLEEPING, 0);
    (void)add_run(f, NULL, 0, RUN_BLOCKED, RUN_FLAG_CANCEL);
    (void)add_run(f, NULL, 0, RUN_QUEUED, RUN_FLAG_CANCEL); /* nobody serves it */
    (void)add_run(f, NULL, 0, RUN_CANCELLED, RUN_FLAG_CANCEL);
    static const struct {
        const char *args;
        unsigned count;
    } cases[] = {{"{\"state\":\"cancelling\"}", 1}, {"{\"state\":\"sleeping\"}", 1},
                 {"{\"state\":\"blocked\"}", 1},    {"{\"state\":\"stalled\"}", 1},
                 {"{\"state\":\"cancelled\"}", 1},  {"{}", 5}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(count_of(ask(f, "runs.list", cases[i].args), "\"id\":"), cases[i].count);
    assert_string_equal(ask(f, "runs.list", "{\"state\":\"odd\"}"), "BAD_STATE");
}

/* ---- events ------------------------------------------------------------------------------- */

static const char *shown(struct fixture *f, const struct event *e, const struct aiki_id *run)
{
    static const uint8_t hash[HASH_BYTES];
    aiki_writer w, text;
    buf_init(&w);
    buf_init(&text);
    view_event(&w, &(struct view_scene){.run = run, .how = &(struct shown){.schemas = NULL}}, e, hash);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
    assert_int_equal(msgpack_to_json(aiki_writer_view(&w), 0, &text, NULL), AIKI_OK);
    aiki_mp_raw(&text, "", 1);
    buf_deinit(&w);
    free(f->answer);
    f->answer = (char *)text.data;
    return f->answer;
}

static void assert_shows(struct fixture *f, const struct event *e, const char *part)
{
    const struct aiki_id run = {{1}};
    if (strstr(shown(f, e, &run), part) == NULL)
        fail_msg("%s does not show %s", f->answer, part);
}

/* What release 1.1 added says who, why, when and which. */
static void new_events_are_shown(void **state)
{
    struct fixture *f = *state;
    const struct aiki_id id = {{1}};
    aiki_writer policy;
    buf_init(&policy);
    retry_write(&policy, &(struct retry){.kind = AIKI_RETRY_FIXED, .delay_ms = 5});
    static const uint64_t controls[] = {EVENT_CANCEL_REQUESTED, EVENT_WOKEN, EVENT_PAUSED,
                                        EVENT_RESUMED, EVENT_TERMINATED};
    for (size_t i = 0; i < ARRAY_COUNT(controls); i++)
        assert_shows(f,
                     &(struct event){.kind = controls[i],
                                     .as.control = {.reason = view_of("why"), .actor = view_of("ann")}},
                     "\"reason\":\"why\",\"actor\":\"ann\"");
    assert_shows(f, &(struct event){.kind = EVENT_CANCEL_SEEN}, "\"kind\":\"cancel_seen\"");
    assert_shows(f,
                 &(struct event){.kind = EVENT_CHILD_DONE,
                                 .as.child_done = {.child = id, .state = RUN_TIMED_OUT}},
                 "\"state\":\"timed_out\",\"output\":null,\"error\":null");
    assert_shows(f,
                 &(struct event){.kind = EVENT_RUN_RETRIED,
                                 .as.run_retried = {.from_seq = 4, .attempt = 2, .next_at_ms = 1}},
                 "\"from_seq\":4,\"attempt\":2,\"next_at\":\"1970-01-01T00:00:00.001Z\"");
    assert_shows(f,
                 &(struct event){.kind = EVENT_HEARTBEAT,
                                 .as.step = {.attempt = 3, .value = view_of("\x07")}},
                 "\"attempt\":3,\"details\":7");
    assert_shows(f,
                 &(struct event){.kind = EVENT_STARTED,
                                 .as.started = {.parent = id,
                                                .close_policy = CLOSE_ABANDON,
                                                .deadline_ms = 1,
                                                .retry = aiki_writer_view(&policy)}},
                 "\"close_policy\":\"abandon\",\"deadline_at\":\"1970-01-01T00:00:00.001Z\","
                 "\"retry\":{\"kind\":\"fixed\",\"delay_ms\":5}");
    assert_shows(f,
                 &(struct event){.kind = EVENT_STEP_DONE,
                                 .as.step = {.outcome = OUTCOME_CANCELLED,
                                             .options = aiki_writer_view(&policy)}},
                 "\"outcome\":\"cancelled\"");
    buf_deinit(&policy);
}

/* A child's step names the run that it is. */
static void the_step_of_a_child_names_its_run(void **state)
{
    struct fixture *f = *state;
    const struct aiki_id run = {{1}};
    char text[AIKI_ID_TEXT_SIZE];
    aiki_writer options;
    buf_init(&options);
    child_options_write(&options, &(struct child_options){.version = view_of("2.0.0"),
                                                          .close_policy = CLOSE_TERMINATE,
                                                          .detached = true});
    const struct event e = {.kind = EVENT_STEP_BEGUN,
                            .as.step = {.nth = 3,
                                        .identity_kind = STEP_CHILD,
                                        .name = view_of("ship"),
                                        .options = aiki_writer_view(&options)}};
    struct aiki_id child = child_id(&run, &e.as.step.address, 3, 0);
    id_text(&child, text);
    const char *json = shown(f, &e, &run);
    assert_non_null(strstr(json, text));
    assert_non_null(strstr(json, "\"child_version\":\"2.0.0\""));
    assert_non_null(strstr(json, "\"close_policy\":\"terminate\",\"detached\":true"));
    buf_deinit(&options);
}

/* ---- samples for gates --------------------------------------------------------------------- */

/* Far more open runs than a sample reads: old and new ones are in it as there are of them. */
static void a_sample_has_old_runs_and_new_ones(void **state)
{
    enum { RUNS = 40000, OLD = RUNS / 4, PICKS = 200 };
    uint8_t old_build[HASH_BYTES], new_build[HASH_BYTES];
    struct fixture *f = *state;
    memset(old_build, 0xaa, sizeof(old_build));
    memset(new_build, 0xbb, sizeof(new_build));
    for (int i = 0; i < RUNS; i++) {
        struct draft d;
        draft_init(&d, ++f->last_no);
        d.write.row.state = RUN_SLEEPING;
        d.write.row.build = (aiki_view){i < OLD ? old_build : new_build, HASH_BYTES};
        draft_save(f->store, &d);
        draft_deinit(&d);
    }
    const char *text = ask(f, "runs.sample", "{\"workflow\":\"order\",\"version\":\"1.0.0\",\"limit\":200}");
    unsigned of_old = count_of(text, "\"build\":\"aaaa"), of_new = count_of(text, "\"build\":\"bbbb");
    assert_non_null(strstr(text, "\"whole\":false"));
    assert_int_equal(of_old + of_new, PICKS);
    assert_in_range(of_old, PICKS / 8, PICKS / 2); /* 50 of them are expected */
    unsigned distinct = 0;
    for (const char *at = text; (at = strstr(at, "\"id\":\"")) != NULL; at++) {
        char id[6 + AIKI_ID_TEXT_SIZE];
        snprintf(id, sizeof(id), "%.*s", 6 + AIKI_ID_TEXT_SIZE - 1, at);
        distinct += count_of(text, id) == 1;
    }
    assert_int_equal(distinct, PICKS);
}

static void a_small_sample_is_whole(void **state)
{
    uint8_t build[HASH_BYTES];
    struct fixture *f = *state;
    memset(build, 0xaa, sizeof(build));
    for (int i = 0; i < 30; i++) {
        struct draft d;
        draft_init(&d, ++f->last_no);
        d.write.row.state = RUN_SLEEPING;
        d.write.row.build = (aiki_view){build, HASH_BYTES};
        draft_save(f->store, &d);
        draft_deinit(&d);
    }
    const char *text = ask(f, "runs.sample", "{\"workflow\":\"order\",\"version\":\"1.0.0\",\"limit\":20}");
    assert_non_null(strstr(text, "\"total\":30,\"whole\":true"));
    assert_int_equal(count_of(text, "\"id\":\""), 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_tree_is_listed_as_it_is_drawn),
        CASE(a_large_family_is_cut_and_says_so),
        CASE(a_deep_family_is_cut_and_says_so),
        CASE(unknown_runs),
        CASE(cancelling_is_shown_and_found),
        CASE(new_events_are_shown),
        CASE(the_step_of_a_child_names_its_run),
        CASE(a_sample_has_old_runs_and_new_ones),
        CASE(a_small_sample_is_whole),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
