/* server/schemas.h, shown.h, steps.h: which schema hides a value, after restarts, rollouts and for builds
 * that nobody knows any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <aiki/record.h>

#include "base/buf.h"
#include "base/json.h"
#include "shown.h"
#include "steps.h"
#include "wire/child.h"
#include "wire/descriptor.h"

/* What a release marks: nothing, the name, or name and city. */
#define NONE(F, R) F(R, str, name, AIKI_OPTIONAL) F(R, str, city, AIKI_OPTIONAL)
AIKI_RECORD(none, NONE);
#define NAME(F, R) F(R, str, name, AIKI_OPTIONAL, AIKI_PII) F(R, str, city, AIKI_OPTIONAL)
AIKI_RECORD(name, NAME);
#define CITY(F, R) F(R, str, name, AIKI_OPTIONAL) F(R, str, city, AIKI_OPTIONAL, AIKI_PII)
AIKI_RECORD(city, CITY);
#define OTHER(F, R) F(R, str, mail, AIKI_OPTIONAL, AIKI_PII)
AIKI_RECORD(other, OTHER);

struct fixture {
    struct store *store;
    struct schemas *schemas;
};

static aiki_status nothing(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    return AIKI_OK;
}

static aiki_status no_run(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run;
    (void)input;
    (void)err;
    return AIKI_OK;
}

/* Plugin with a workflow of its name and a task "greet" that takes `task`; both may be NULL. */
static void add(struct fixture *f, unsigned build_number, const char *workflow,
                const aiki_record_def *input, const aiki_record_def *task, bool serving)
{
    uint8_t build[HASH_BYTES] = {(uint8_t)build_number, (uint8_t)(build_number >> 8)};
    struct schemas_text text;
    struct workflow_row row;
    aiki_writer w;
    aiki_workflow_def flow = {.struct_size = sizeof(flow), .name = workflow, .version = "1.0.0", .fn = no_run,
                              .input = input, .output = input};
    aiki_task_def greet = {.struct_size = sizeof(greet), .name = "greet", .fn = nothing, .input = task,
                           .output = task};
    aiki_plugin_def def = {.struct_size = sizeof(def), .abi_major = AIKI_ABI_MAJOR, .abi_minor = AIKI_ABI_MINOR,
                           .name = workflow, .version = "1.0.0", .workflows = &flow, .workflow_count = 1,
                           .workflow_stride = sizeof(flow), .tasks = &greet, .task_count = 1,
                           .task_stride = sizeof(greet)};
    buf_init(&w);
    aiki_error err = AIKI_ERROR_INIT;
    if (descriptor_write(&w, &def, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    if (schemas_add(f->schemas, build, aiki_writer_view(&w), serving)) {
        schemas_row(f->schemas, build, "test", &text, &row);
        const struct unit unit = {.workflows = &row, .workflow_count = 1};
        assert_int_equal(f->store->ops->commit(f->store, &unit, NULL), AIKI_OK);
        assert_false(schemas_add(f->schemas, build, aiki_writer_view(&w), serving));
    }
    buf_deinit(&w);
}

/* How {"name": "Ada", "city": "Rome"} of that task or workflow is shown. */
static const char *shown(struct fixture *f, uint64_t kind, const char *name, unsigned build_number,
                         const char *home)
{
    static char text[256];
    uint8_t build[HASH_BYTES] = {(uint8_t)build_number, (uint8_t)(build_number >> 8)};
    const struct shown how = {.schemas = f->schemas};
    const struct value_of of = {.kind = kind, .name = view_of(name), .home = view_of(home),
                                .build = build_number != 0 ? build : NULL};
    aiki_writer value, json;
    buf_init(&value);
    buf_init(&json);
    shown_payload(&value, &how, &of, view_of("\x82\xa4name\xa3" "Ada\xa4" "city\xa4Rome"));
    assert_int_equal(msgpack_to_json(aiki_writer_view(&value), 0, &json, NULL), AIKI_OK);
    (void)snprintf(text, sizeof(text), "%.*s", (int)json.size_bytes, (const char *)json.data);
    buf_deinit(&value);
    buf_deinit(&json);
    return text;
}

#define WHOLE "{\"name\":\"Ada\",\"city\":\"Rome\"}"
#define NO_NAME "{\"name\":\"[redacted]\",\"city\":\"Rome\"}"
#define NO_CITY "{\"name\":\"Ada\",\"city\":\"[redacted]\"}"
#define NEITHER "{\"name\":\"[redacted]\",\"city\":\"[redacted]\"}"
#define NOTHING "\"[redacted]\""

static int setup(void **state)
{
    static struct fixture f;
    assert_int_equal(store_open(&f.store, "memory:", NULL), AIKI_OK);
    f.schemas = schemas_create();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    schemas_destroy(f->schemas);
    store_close(f->store);
    return 0;
}

static void restart(struct fixture *f)
{
    schemas_destroy(f->schemas);
    f->schemas = schemas_create();
    assert_int_equal(schemas_restore(f->schemas, f->store, "test", NULL), AIKI_OK);
}

/* The build's own marks, and those of the newest, before and after a restart. */
static void marks_of_the_build_and_of_the_newest_count(void **state)
{
    struct fixture *f = *state;
    add(f, 1, "orders", &none_record, &name_record, true);
    for (int turn = 0; turn < 2; turn++) {
        assert_string_equal(shown(f, STEP_TASK, "greet", 1, "orders"), NO_NAME);
        assert_string_equal(shown(f, STEP_CHILD, "orders", 1, "orders"), WHOLE);
        restart(f);
    }
    add(f, 2, "orders", &name_record, &city_record, true);
    for (int turn = 0; turn < 2; turn++) {
        assert_string_equal(shown(f, STEP_TASK, "greet", 1, "orders"), NEITHER);
        assert_string_equal(shown(f, STEP_TASK, "greet", 2, "orders"), NO_CITY);
        assert_string_equal(shown(f, STEP_CHILD, "orders", 1, "orders"), NO_NAME);
        restart(f);
    }
}

/* A build that is only kept for open runs is not the newest, and a rollback makes an old one it. */
static void the_newest_is_who_takes_new_runs(void **state)
{
    struct fixture *f = *state;
    add(f, 1, "orders", &none_record, &name_record, true);
    add(f, 2, "orders", &none_record, &city_record, false);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "orders"), NO_NAME);
    add(f, 2, "orders", &none_record, &city_record, true);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "orders"), NO_CITY);
    add(f, 1, "orders", &none_record, &name_record, true);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "orders"), NO_NAME);
}

/* Tasks of that name in other plugins say nothing about it, unless nobody else does. */
static void the_plugin_of_the_run_is_asked_first(void **state)
{
    struct fixture *f = *state;
    add(f, 1, "orders", &none_record, &name_record, true);
    add(f, 2, "mails", &none_record, &none_record, true);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "orders"), NO_NAME);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "mails"), WHOLE);
    add(f, 3, "mails", &none_record, &city_record, true);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "unheard"), NO_CITY);
}

/* What nobody has ever said anything about, and what the schema at hand has no name for. */
static void what_is_not_known_is_hidden(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(shown(f, STEP_TASK, "greet", 1, "orders"), NOTHING);
    add(f, 1, "orders", &none_record, &other_record, true);
    assert_string_equal(shown(f, STEP_TASK, "wave", 1, "orders"), NOTHING);
    assert_string_equal(shown(f, STEP_TASK, "greet", 9, "orders"), NEITHER);
    assert_string_equal(shown(f, 0, "", 1, "orders"), NOTHING);
    assert_string_equal(shown(f, STEP_SIGNAL, "letter", 1, "orders"), WHOLE);
}

/* As many builds as there are slots, and more: the oldest make room, on record too. */
static void the_oldest_builds_make_room(void **state)
{
    struct fixture *f = *state;
    enum { BUILDS = SCHEMA_BUILDS_MAX + 10 };
    add(f, 1, "orders", &none_record, &name_record, true);
    for (unsigned i = 2; i <= BUILDS; i++)
        add(f, i, "orders", &none_record, i == BUILDS ? &none_record : &city_record, true);
    for (int turn = 0; turn < 2; turn++) {
        assert_string_equal(shown(f, STEP_TASK, "greet", 1, "orders"), WHOLE); /* as the newest says */
        assert_string_equal(shown(f, STEP_TASK, "greet", BUILDS - 1, "orders"), NO_CITY);
        restart(f);
    }
}

static bool count_row(void *arg, const struct workflow_row *row)
{
    (void)row;
    ++*(unsigned *)arg;
    return true;
}

/* They take no more than their slots, and what does not read is passed over. */
static void rows_are_of_a_bounded_number(void **state)
{
    struct fixture *f = *state;
    struct store_reader *reader;
    unsigned count = 0;
    for (unsigned i = 1; i <= SCHEMA_BUILDS_MAX + 20; i++)
        add(f, i, "orders", &none_record, &name_record, true);
    assert_int_equal(f->store->ops->open_reader(f->store, &reader, NULL), AIKI_OK);
    assert_int_equal(f->store->ops->workflows(reader, "test" SCHEMAS_MARK, count_row, &count, NULL), AIKI_OK);
    f->store->ops->close_reader(reader);
    assert_int_equal(count, SCHEMA_BUILDS_MAX);
    static const char *const bad[] = {"", "\xc0", "\x91\x05", "\xdd\xff\xff\xff\xff", "\x91\x95\x01\xa1t\xa0\x05\xc0"};
    const uint8_t build[HASH_BYTES] = {0xff, 0xff};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct workflow_row row = {.space = view_of("test" SCHEMAS_MARK), .name = view_of("build"),
                                         .version = view_of("003"), .plugin = view_of("-"),
                                         .build = {build, HASH_BYTES}, .descriptor = view_of(bad[i])};
        const struct unit unit = {.workflows = &row, .workflow_count = 1};
        assert_int_equal(f->store->ops->commit(f->store, &unit, NULL), AIKI_OK);
        restart(f);
        assert_string_equal(shown(f, STEP_TASK, "greet", 30, "orders"), NO_NAME);
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

static struct event step_event(uint64_t seq, uint64_t kind, uint8_t address, uint64_t identity_kind,
                               const char *name)
{
    struct event e = {.seq = seq, .kind = kind};
    e.as.step.address.bytes[0] = address;
    e.as.step.identity_kind = identity_kind;
    e.as.step.name = view_of(name);
    return e;
}

/* What the first event of a step says holds for all that follow, and for the child's end. */
static void steps_are_known_by_their_first_event(void **state)
{
    struct steps_shelf shelf = {.count = 0};
    const struct aiki_id run = {{7}};
    uint8_t build[HASH_BYTES] = {5};
    struct steps *s = steps_of(&shelf, &run);
    struct event started = {.seq = 1, .kind = EVENT_STARTED};
    struct event claimed = {.seq = 2, .kind = EVENT_CLAIMED};
    struct event task = step_event(3, EVENT_STEP_BEGUN, 1, STEP_TASK, "greet");
    struct event side = step_event(4, EVENT_STEP_BEGUN, 2, STEP_SLEEP, "");
    struct event child = step_event(5, EVENT_STEP_BEGUN, 3, STEP_CHILD, "mails");
    aiki_writer options;
    buf_init(&options);
    child_options_write(&options, &(struct child_options){.version = view_of("1.0.0")});
    child.as.step.options = aiki_writer_view(&options);
    struct event done = step_event(6, EVENT_STEP_DONE, 1, 0, "");
    struct event ended = {.seq = 7, .kind = EVENT_CHILD_DONE};
    (void)state;
    started.as.started.workflow = view_of("orders");
    started.as.started.version = view_of("2.0.0");
    claimed.as.claimed.build = (aiki_view){build, HASH_BYTES};
    ended.as.child_done.child = child_id(&run, &child.as.step.address, 0, 0);
    struct event *const all[] = {&started, &claimed, &task, &side, &child, &done, &ended};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        steps_note(&shelf, s, all[i]);
    assert_int_equal(steps_seq(s), 7);
    struct value_of of = steps_value(s, &done, true);
    assert_true(of.kind == STEP_TASK && view_is(of.name, "greet") && of.output && view_is(of.home, "orders"));
    assert_memory_equal(of.build, build, HASH_BYTES);
    of = steps_value(s, &ended, true);
    assert_true(of.kind == STEP_CHILD && view_is(of.name, "mails") && of.build == NULL);
    of = steps_value(s, &started, false);
    assert_true(of.kind == STEP_CHILD && view_is(of.name, "orders") && view_is(of.version, "2.0.0"));
    assert_null(of.build);
    done.as.step.address.bytes[0] = 2;
    assert_int_equal(steps_value(s, &done, true).kind, STEP_SLEEP);
    done.as.step.address.bytes[0] = 9;
    assert_int_equal(steps_value(s, &done, true).kind, 0);
    buf_deinit(&options);
    steps_shelf_deinit(&shelf);
}

/* More runs than there are places, and more steps than one may know: what is not known is hidden. */
static void the_shelf_is_bounded(void **state)
{
    struct steps_shelf shelf = {.count = 0};
    (void)state;
    for (unsigned i = 1; i <= 2 * STEPS_RUNS_MAX; i++) {
        struct event e = step_event(1, EVENT_STEP_BEGUN, 1, STEP_TASK, "greet");
        steps_note(&shelf, steps_of(&shelf, &(struct aiki_id){{(uint8_t)i}}), &e);
        assert_true(shelf.count <= STEPS_RUNS_MAX);
    }
    struct steps *s = steps_of(&shelf, &(struct aiki_id){{1, 1}});
    for (uint32_t i = 1; i <= STEPS_MAX + 2; i++) {
        struct event e = step_event(i, EVENT_STEP_BEGUN, 0, STEP_TASK, "greet");
        memcpy(e.as.step.address.bytes, &i, sizeof(i));
        steps_note(&shelf, s, &e);
    }
    assert_int_equal(shelf.count, STEPS_MAX);
    assert_int_equal(steps_seq(s), STEPS_MAX + 2);
    struct event last = step_event(STEPS_MAX + 2, EVENT_STEP_DONE, 0, 0, "");
    const uint32_t beyond = STEPS_MAX + 2, within = 77;
    memcpy(last.as.step.address.bytes, &beyond, sizeof(beyond));
    assert_int_equal(steps_value(s, &last, true).kind, 0);
    memcpy(last.as.step.address.bytes, &within, sizeof(within));
    assert_int_equal(steps_value(s, &last, true).kind, STEP_TASK);
    steps_shelf_deinit(&shelf);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(marks_of_the_build_and_of_the_newest_count),
        CASE(the_newest_is_who_takes_new_runs),
        CASE(the_plugin_of_the_run_is_asked_first),
        CASE(what_is_not_known_is_hidden),
        CASE(the_oldest_builds_make_room),
        CASE(rows_are_of_a_bounded_number),
        cmocka_unit_test(steps_are_known_by_their_first_event),
        cmocka_unit_test(the_shelf_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
