/* load.c - binaries built apart run each other: plugins of release 1.0 on today's tables, today's
 * plugins on the tables of 1.0, and a plugin in C++.
 *
 *   load OLD_PLUGIN HELLO_PLUGIN [CPP_PLUGIN]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <string.h>

#include <cmocka.h>

#include "../support/fake_host.h"
#include "old/1.0/old_host.h"
#include "wire/descriptor.h"

enum { DESCRIPTOR_BYTES = 16 * 1024 };
static const char *old_path, *hello_path, *cpp_path;

struct loaded {
    void *handle;
    const void *def;
};

/* Asks for the table of a host of the given minor. Never closed: tables live as long as that. */
static struct loaded load(const char *path, uint32_t host_minor)
{
    struct loaded l = {dlopen(path, RTLD_NOW | RTLD_LOCAL), NULL};
    aiki_plugin_fn entry;
    void *symbol;
    if (l.handle == NULL)
        fail_msg("%s", dlerror());
    symbol = dlsym(l.handle, AIKI_PLUGIN_SYMBOL);
    assert_non_null(symbol);
    memcpy(&entry, &symbol, sizeof(entry));
    l.def = entry(AIKI_ABI_MAJOR, host_minor);
    assert_non_null(l.def);
    return l;
}

static void assert_describes_itself(const aiki_plugin_def *def, const char *name)
{
    static uint8_t memory[DESCRIPTOR_BYTES];
    struct descriptor d;
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (descriptor_write(&w, def, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    assert_int_equal(descriptor_read(aiki_writer_view(&w), &d, &err), AIKI_OK);
    assert_int_equal(d.name.size_bytes, strlen(name));
    assert_memory_equal(d.name.data, name, d.name.size_bytes);
}

static aiki_view bytes(const char *text)
{
    aiki_view v = {(const uint8_t *)text, strlen(text)};
    return v;
}

/* Every member of the tables of 1.0 still does what it did. */
static void old_plugin_on_todays_host(void **state)
{
    static const uint8_t input[] = {0x81, 0xa1, 'n', 1}, zero[] = {0x81, 0xa1, 'n', 0};
    static const uint8_t expected[] = {0x93, 2, 5, 0xc3};
    struct loaded l = load(old_path, AIKI_ABI_MINOR);
    struct fake_host *h = fake_host_create(l.def);
    aiki_view in = {input, sizeof(input)}, output = {NULL, 0};
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    assert_describes_itself(l.def, "old");
    if (fake_host_run(h, "old", in, &output, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    assert_int_equal(output.size_bytes, sizeof(expected));
    assert_memory_equal(output.data, expected, sizeof(expected));
    in.data = zero;
    assert_int_equal(fake_host_run(h, "old", in, &output, &err), AIKI_FAILED);
    assert_string_equal(err.code, "ZERO");
    fake_host_destroy(h);
    dlclose(l.handle);
}

/* A plugin that uses nothing newer than 1.0 runs on a host that has nothing newer. */
static void todays_plugin_on_old_host(void **state)
{
    static const char expected[] = "\x81\xa8" "greeting\xad" "Hello, world!";
    struct loaded l = load(hello_path, 0);
    struct v10_view input = {(const uint8_t *)"\x81\xa4name\xa5world", 12};
    uint8_t output[OLD_HOST_OUTPUT_BYTES_MAX];
    uint64_t size = 0;
    char reason[OLD_HOST_REASON_SIZE];
    (void)state;
    if (!old_host_run(l.def, input, output, &size, reason))
        fail_msg("%s", reason);
    assert_int_equal(size, sizeof(expected) - 1);
    assert_memory_equal(output, expected, sizeof(expected) - 1);
    dlclose(l.handle);
}

/* The typed layer from C++: records, futures, options, summary. */
static void cpp_plugin(void **state)
{
    struct loaded l;
    struct fake_host *h;
    aiki_view output = {NULL, 0};
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    if (cpp_path == NULL)
        skip();
    l = load(cpp_path, AIKI_ABI_MINOR);
    h = fake_host_create(l.def);
    assert_describes_itself(l.def, "typed-cpp");
    assert_string_equal(((const aiki_plugin_def *)l.def)->language, "c++");
    if (fake_host_run(h, "shout-all", bytes("\x81\xa5words\x92\xa2hi\xa3you"), &output, &err) !=
        AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    assert_int_equal(output.size_bytes, 14);
    assert_memory_equal(output.data, "\x81\xa4text\xa7HI!YOU!", 14);
    assert_int_equal(fake_host_run(h, "shout-all", bytes("\x81\xa5words\x90"), &output, &err),
                     AIKI_SCHEMA);
    assert_string_equal(err.message, "words: must have 1 to 100 elements, has 0");
    fake_host_destroy(h);
    dlclose(l.handle);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_plugin_on_todays_host),
        cmocka_unit_test(todays_plugin_on_old_host),
        cmocka_unit_test(cpp_plugin),
    };
    if (argc < 3)
        return 2;
    old_path = argv[1];
    hello_path = argv[2];
    cpp_path = argc > 3 ? argv[3] : NULL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
