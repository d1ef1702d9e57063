/* test_descriptor.c - what a plugin offers, as data: every mistake has a code of its own, and what
 * passes is read back as it was. Versions are ordered as semver.org orders them. */
#include "golden.h"

#include <aiki/schema.h>

#include "wire/descriptor.h"
#include "wire/version.h"

static aiki_status workflow_fn(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run;
    (void)input;
    (void)err;
    return AIKI_OK;
}

static aiki_status task_fn(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    return AIKI_OK;
}

enum { WORKFLOWS = 2, TASKS = 2 };
static struct shop {
    aiki_plugin_def plugin;
    aiki_workflow_def workflows[WORKFLOWS];
    aiki_task_def tasks[TASKS];
    aiki_record_def record;
} shop;

/* A sound plugin, for each case to break in one place. */
static void fill(void)
{
    static const char *const names[] = {"order", "refund"};
    memset(&shop, 0, sizeof(shop));
    aiki_plugin_fill_(&shop.plugin, "shop", "1.2.3", "c", "gcc");
    shop.plugin.workflows = shop.workflows;
    shop.plugin.tasks = shop.tasks;
    shop.plugin.workflow_count = WORKFLOWS;
    shop.plugin.task_count = TASKS;
    for (int i = 0; i < WORKFLOWS; i++)
        shop.workflows[i] = (aiki_workflow_def){.struct_size = sizeof(shop.workflows[i]),
                                                .name = names[i],
                                                .version = "1.0.0",
                                                .fn = workflow_fn};
    for (int i = 0; i < TASKS; i++)
        shop.tasks[i] =
            (aiki_task_def){.struct_size = sizeof(shop.tasks[i]), .name = names[i], .fn = task_fn};
}

static aiki_status write_shop(aiki_writer *w, aiki_error *err)
{
    static uint8_t memory[16 * 1024];
    aiki_writer_init_fixed(w, memory, sizeof(memory));
    return descriptor_write(w, &shop.plugin, err);
}

static char long_text[DESCRIPTOR_TEXT_BYTES_MAX + 2];

#define REFUSALS(X)                                                                                \
    X(ABI_MAJOR, shop.plugin.abi_major = 99)                                                       \
    X(STRUCT_SIZE, shop.plugin.struct_size = 8)                                                    \
    X(STRUCT_SIZE, shop.tasks[1].struct_size = 8)                                                  \
    X(BAD_STRIDE, shop.plugin.task_stride = 7)                                                     \
    X(BAD_FLAGS, shop.tasks[0].flags = 1u << 30)                                                   \
    X(BAD_MODE, shop.tasks[0].schema_mode = 3)                                                     \
    X(BAD_MODE, shop.workflows[0].schema_mode = 3)                                                 \
    X(NULL_TABLE, shop.plugin.workflows = NULL)                                                    \
    X(NULL_TABLE, shop.plugin.tasks = NULL)                                                        \
    X(NULL_HANDLER, shop.workflows[1].fn = NULL)                                                   \
    X(NULL_HANDLER, shop.tasks[0].fn = NULL)                                                       \
    X(BAD_NAME, shop.plugin.name = NULL)                                                           \
    X(BAD_NAME, shop.workflows[0].name = "with space")                                             \
    X(BAD_NAME, shop.tasks[0].name = "")                                                           \
    X(BAD_VERSION, shop.plugin.version = "1")                                                      \
    X(BAD_VERSION, shop.workflows[0].version = "01.0.0")                                           \
    X(BAD_TEXT, shop.tasks[0].summary = "\xff")                                                    \
    X(BAD_TEXT, shop.plugin.toolchain = long_text)                                                 \
    X(BAD_RETRY, shop.tasks[0].retry.delay_ms = -1)                                                \
    X(BAD_RETRY, shop.workflows[1].retry.kind = 9)                                                 \
    X(BAD_TIMEOUT, shop.tasks[1].heartbeat_ms = -1)                                                \
    X(BAD_TIMEOUT, shop.workflows[0].run_timeout_ms = INT64_MAX)                                   \
    X(BAD_SCHEMA, shop.tasks[0].input = &shop.record)                                              \
    X(DUPLICATE_NAME, shop.tasks[1].name = "order")                                                \
    X(DUPLICATE_NAME, shop.workflows[1].name = "order")                                            \
    X(EMPTY_PLUGIN, shop.plugin.workflow_count = 0)                                                \
    X(TOO_MANY, shop.plugin.task_count = DESCRIPTOR_TASKS_MAX + 1)

static void mistakes_have_codes(void **state)
{
    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
#define REFUSAL(text, change)                                                                      \
    do {                                                                                           \
        aiki_error err = AIKI_ERROR_INIT;                                                          \
        aiki_writer w;                                                                             \
        fill();                                                                                    \
        (void)(change);                                                                            \
        assert_int_not_equal(write_shop(&w, &err), AIKI_OK);                                       \
        assert_string_equal(err.code, #text);                                                      \
        assert_int_not_equal(err.message[0], '\0');                                                \
        assert_int_equal(w.size_bytes, 0);                                                         \
    } while (0);
    REFUSALS(REFUSAL)
    assert_int_equal(descriptor_write(&(aiki_writer){.data = NULL}, NULL, NULL), AIKI_INVALID);
}

/* The same name in another version is another workflow, and "" finds the newest. */
static void what_passes_is_read_back(void **state)
{
    struct descriptor d;
    struct descriptor_workflow found;
    struct descriptor_task t;
    aiki_reader r;
    aiki_writer w;
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    fill();
    shop.workflows[1].name = "order";
    shop.workflows[1].version = "1.10.0";
    shop.tasks[0].retry = (aiki_retry){.kind = AIKI_RETRY_FIXED, .attempts_max = 3, .delay_ms = 7};
    shop.tasks[0].heartbeat_ms = 500;
    shop.workflows[1].run_timeout_ms = 60000;
    assert_int_equal(write_shop(&w, &err), AIKI_OK);
    assert_int_equal(descriptor_read(aiki_writer_view(&w), &d, &err), AIKI_OK);
    assert_view_equal(d.name, text_view("shop"));
    assert_view_equal(d.toolchain, text_view("gcc"));
    assert_int_equal(d.abi_major, AIKI_ABI_MAJOR);
    assert_int_equal(d.workflow_count, WORKFLOWS);
    assert_int_equal(descriptor_find_workflow(&d, text_view("order"), text_view(""), &found, &err),
                     AIKI_OK);
    assert_view_equal(found.version, text_view("1.10.0"));
    assert_int_equal(found.run_timeout_ms, 60000);
    assert_int_equal(
        descriptor_find_workflow(&d, text_view("order"), text_view("1.0.0"), &found, &err),
        AIKI_OK);
    assert_int_equal(descriptor_find_workflow(&d, text_view("refund"), text_view(""), &found, &err),
                     AIKI_NOT_FOUND);
    descriptor_tasks(&d, &r);
    assert_true(descriptor_next_task(&r, &t));
    assert_int_equal(t.retry.attempts_max, 3);
    assert_int_equal(t.retry.kind, AIKI_RETRY_FIXED);
    assert_int_equal(t.retry.delay_ms, 7);
    assert_int_equal(t.heartbeat_ms, 500);
    assert_true(descriptor_next_task(&r, &t));
    assert_false(descriptor_next_task(&r, &t));

    /* Cut anywhere it is not a descriptor any more. */
    for (uint64_t n = 0; n < w.size_bytes; n++)
        assert_int_not_equal(descriptor_read((aiki_view){w.data, n}, &d, NULL), AIKI_OK);
}

static void versions_are_ordered(void **state)
{
    static const char *const rising[] = {
        "0.0.0",      "0.9.0", "1.0.0-1", "1.0.0-2", "1.0.0-11", "1.0.0-alpha",   "1.0.0-alpha.1",
        "1.0.0-beta", "1.0.0", "1.0.1",   "1.2.0",   "1.10.0",   "4294967295.0.0"};
    static const char *const wrong[] = {
        "",           "1",        "1.0",     "1.0.0.0", "01.0.0",         "1.0.x",   "1.0.0-",
        "1.0.0-a..b", "1.0.0-01", "1.0.0+b", "v1.0.0",  "4294967296.0.0", "1.0.0-a."};
    enum { COUNT = sizeof(rising) / sizeof(rising[0]) };
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        assert_true(version_is_valid(text_view(rising[i])));
        for (int j = 0; j < COUNT; j++) {
            int order = version_compare(text_view(rising[i]), text_view(rising[j]));
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(version_is_valid(text_view(wrong[i])));
        assert_true(version_compare(text_view(wrong[i]), text_view("0.0.0")) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_have_codes),
        cmocka_unit_test(what_passes_is_read_back),
        cmocka_unit_test(versions_are_ordered),
    };
    return cmocka_run_group_tests_name("descriptor", tests, NULL, NULL);
}
