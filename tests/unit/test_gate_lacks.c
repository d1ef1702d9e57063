/* test_gate_lacks.c - which tasks other builds have and a new one does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <string.h>

#include <aiki/plugin.h>

#include "base/buf.h"
#include "broker/gate_lacks.h"

static aiki_status nothing(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    return AIKI_OK;
}

static aiki_status work(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run;
    (void)input;
    (void)err;
    return AIKI_OK;
}

AIKI_PLUGIN("shop", "2.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("work", "1.0.0", work)),
            AIKI_TASKS(AIKI_TASK("ship", nothing), AIKI_TASK("charge", nothing)));

static void write_descriptor(aiki_writer *w)
{
    buf_init(w);
    assert_int_equal(descriptor_write(w, aiki_plugin_v1(AIKI_ABI_MAJOR, AIKI_ABI_MINOR), NULL), AIKI_OK);
}

static void ask(const char *const *names, size_t count, aiki_writer *ret)
{
    aiki_writer descriptor, document;
    write_descriptor(&descriptor);
    buf_init(&document);
    aiki_mp_map(&document, 2);
    aiki_mp_str(&document, "new");
    aiki_mp_nil(&document);
    aiki_mp_str(&document, "tasks");
    aiki_mp_array(&document, count);
    for (size_t i = 0; i < count; i++)
        aiki_mp_str(&document, names[i]);
    buf_init(ret);
    gate_lacks_write(ret, aiki_writer_view(&descriptor), aiki_writer_view(&document));
    buf_deinit(&descriptor);
    buf_deinit(&document);
}

/* Whatever their order is. */
static void what_is_gone_is_named(void **state)
{
    static const char *const names[] = {"charge", "refund", "shi", "ship", "ships"}, *const gone[] = {"refund", "shi", "ships"};
    aiki_writer lacks;
    aiki_reader r;
    (void)state;
    ask(names, 5, &lacks);
    aiki_reader_init(&r, aiki_writer_view(&lacks));
    assert_int_equal(aiki_mp_read_array(&r), 3);
    for (int i = 0; i < 3; i++)
        assert_true(view_is(aiki_mp_read_str(&r), gone[i]));
    assert_true(aiki_reader_left(&r) == 0);
    buf_deinit(&lacks);
}

static void nothing_gone_is_nothing_to_look_for(void **state)
{
    static const char *const names[] = {"charge", "ship"};
    aiki_writer lacks;
    (void)state;
    ask(names, 2, &lacks);
    assert_int_equal(lacks.size_bytes, 0);
    buf_deinit(&lacks);
}

/* An answer that is none has no names, as far as it is cut. */
static void bad_answers_have_none(void **state)
{
    aiki_writer descriptor, lacks;
    uint8_t memory[32];
    aiki_writer w;
    (void)state;
    write_descriptor(&descriptor);
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "tasks");
    aiki_mp_array(&w, 1);
    aiki_mp_str(&w, "refund");
    for (uint64_t size = 0; size < w.size_bytes; size++) {
        buf_init(&lacks);
        gate_lacks_write(&lacks, aiki_writer_view(&descriptor), (aiki_view){memory, size});
        assert_int_equal(lacks.size_bytes, 0);
        buf_deinit(&lacks);
    }
    buf_init(&lacks);
    gate_lacks_write(&lacks, (aiki_view){memory, 3}, aiki_writer_view(&w));
    assert_int_equal(lacks.size_bytes, 0);
    buf_deinit(&lacks);
    buf_deinit(&descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_gone_is_named),
        cmocka_unit_test(nothing_gone_is_nothing_to_look_for),
        cmocka_unit_test(bad_answers_have_none),
    };
    return cmocka_run_group_tests_name("gate_lacks", tests, NULL, NULL);
}
