/* The example plugins, as built, on a host that answers at once: users copy them.
 *
 *   test_plugins BENCH HELLO LEDGER ORDER_PROCESSING
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/fake_host.h"

enum { BENCH, HELLO, LEDGER, ORDERS, PLUGIN_COUNT };
static const aiki_plugin_def *plugins[PLUGIN_COUNT];
static uint8_t memory[4096];

static const aiki_plugin_def *load(const char *path)
{
    aiki_plugin_fn entry = NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = handle != NULL ? dlsym(handle, AIKI_PLUGIN_SYMBOL) : NULL;
    if (symbol == NULL) {
        print_error("%s\n", dlerror());
        return NULL;
    }
    memcpy(&entry, &symbol, sizeof(entry));
    return entry(AIKI_ABI_MAJOR, AIKI_ABI_MINOR);
}

static aiki_writer writer(void)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    return w;
}

static bool is_text(aiki_view v, const char *text)
{
    return v.size_bytes == strlen(text) && memcmp(v.data, text, v.size_bytes) == 0;
}

/* The member of a map, as a value. */
static aiki_view member(aiki_view map, const char *name)
{
    aiki_view none = {NULL, 0};
    aiki_reader r;
    aiki_reader_init(&r, map);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0; pairs--) {
        bool found = is_text(aiki_mp_read_str(&r), name);
        aiki_view value = aiki_mp_value(&r);
        if (found)
            return value;
    }
    return none;
}

static int64_t number_in(aiki_view map, const char *name)
{
    aiki_reader r;
    aiki_reader_init(&r, member(map, name));
    return aiki_mp_read_int(&r);
}

static aiki_view text_in(aiki_view map, const char *name)
{
    aiki_reader r;
    aiki_reader_init(&r, member(map, name));
    return aiki_mp_read_str(&r);
}

/* {"name": "world"} is greeted; an empty name is refused with the rule. */
static void hello_greets(void **state)
{
    struct fake_host *h = fake_host_create(plugins[HELLO]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    aiki_writer w = writer();
    (void)state;
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "name");
    aiki_mp_str(&w, "world");
    assert_int_equal(fake_host_run(h, "hello", aiki_writer_view(&w), &output, &err), AIKI_OK);
    assert_true(is_text(text_in(output, "greeting"), "Hello, world!"));
    w = writer();
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "name");
    aiki_mp_str(&w, "");
    assert_int_equal(fake_host_run(h, "hello", aiki_writer_view(&w), &output, &err), AIKI_SCHEMA);
    assert_string_equal(err.message, "name: must have 1 to 100 characters, has 0");
    fake_host_destroy(h);
}

static aiki_view order(const char *email, int64_t price_cents, int64_t trouble_percent)
{
    aiki_writer w = writer();
    aiki_mp_map(&w, 5);
    aiki_mp_str(&w, "order_id");
    aiki_mp_str(&w, "o-1");
    aiki_mp_str(&w, "customer");
    aiki_mp_str(&w, "Ada");
    aiki_mp_str(&w, "email");
    aiki_mp_str(&w, email);
    aiki_mp_str(&w, "items");
    aiki_mp_array(&w, 1);
    aiki_mp_map(&w, 3);
    aiki_mp_str(&w, "sku");
    aiki_mp_str(&w, "tea");
    aiki_mp_str(&w, "quantity");
    aiki_mp_int(&w, 2);
    aiki_mp_str(&w, "price_cents");
    aiki_mp_int(&w, price_cents);
    aiki_mp_str(&w, "bank_trouble_percent");
    aiki_mp_int(&w, trouble_percent);
    return aiki_writer_view(&w);
}

/* A bank in trouble is asked again with the same key until it answers. */
static void order_is_paid_after_retries(void **state)
{
    struct fake_host *h = fake_host_create(plugins[ORDERS]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    (void)state;
    if (fake_host_run(h, "process-order", order("a@b.c", 450, 100), &output, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    assert_true(is_text(text_in(output, "status"), "confirmed"));
    assert_int_equal(number_in(output, "total_cents"), 900);
    assert_true(is_text(text_in(output, "payment_reference"), "pay-key-2"));
    assert_int_equal(fake_host_attempts(h), 1 + 4 + 1 + 1);
    fake_host_destroy(h);
}

/* A declined card is an answer: the run completes and nothing is reserved. */
static void declined_card_reserves_nothing(void **state)
{
    struct fake_host *h = fake_host_create(plugins[ORDERS]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    (void)state;
    assert_int_equal(fake_host_run(h, "process-order", order("a@b.c", 99000000, 0), &output, &err),
                     AIKI_OK);
    assert_true(is_text(text_in(output, "status"), "declined"));
    assert_null(member(output, "reservation_id").data);
    assert_int_equal(fake_host_attempts(h), 2);
    fake_host_destroy(h);
}

/* A bad order fails at once and for good; the message does not repeat the address. */
static void bad_order_is_refused(void **state)
{
    struct fake_host *h = fake_host_create(plugins[ORDERS]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    (void)state;
    assert_int_equal(fake_host_run(h, "process-order", order("nobody", 450, 0), &output, &err),
                     AIKI_FAILED);
    assert_string_equal(err.code, "BAD_EMAIL");
    assert_null(strstr(err.message, "nobody"));
    assert_int_equal(fake_host_attempts(h), 1);
    assert_int_equal(fake_host_run(h, "process-order", order("a@b.c", 0, 0), &output, &err),
                     AIKI_FAILED);
    assert_string_equal(err.code, "NOTHING_TO_PAY");
    fake_host_destroy(h);
}

/* Each step leaves one line with its number; a path that cannot be written names the reason. */
static void ledger_leaves_lines(void **state)
{
    char path[] = "/tmp/aiki-ledger-XXXXXX", line[256];
    struct fake_host *h = fake_host_create(plugins[LEDGER]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    aiki_writer w = writer();
    int fd = mkstemp(path), step = 0;
    FILE *f = fdopen(fd, "r");
    (void)state;
    assert_non_null(f);
    aiki_mp_map(&w, 3);
    aiki_mp_str(&w, "steps");
    aiki_mp_int(&w, 5);
    aiki_mp_str(&w, "width");
    aiki_mp_int(&w, 2);
    aiki_mp_str(&w, "path");
    aiki_mp_str(&w, path);
    assert_int_equal(fake_host_run(h, "ledger", aiki_writer_view(&w), &output, &err), AIKI_OK);
    assert_int_equal(number_in(output, "steps"), 5);
    for (; fgets(line, sizeof(line), f) != NULL; step++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "RUN %d 1 %d ", step, (int)getpid());
        assert_memory_equal(line, expected, strlen(expected));
    }
    assert_int_equal(step, 5);
    fclose(f);
    unlink(path);
    w = writer();
    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "steps");
    aiki_mp_int(&w, 1);
    aiki_mp_str(&w, "path");
    aiki_mp_str(&w, "/no/such/folder/file");
    assert_int_equal(fake_host_run(h, "ledger", aiki_writer_view(&w), &output, &err), AIKI_FAILED);
    assert_string_equal(err.message, "/no/such/folder/file: No such file or directory");
    fake_host_destroy(h);
}

/* Payloads pass through three tasks unchanged; a fan-out starts what it was told. */
static void bench_does_nothing_often(void **state)
{
    struct fake_host *h = fake_host_create(plugins[BENCH]);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output;
    aiki_writer w = writer();
    (void)state;
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "width");
    aiki_mp_int(&w, 100);
    assert_int_equal(fake_host_run(h, "bench", aiki_writer_view(&w), &output, &err), AIKI_OK);
    assert_int_equal(number_in(output, "width"), 100);
    assert_int_equal(fake_host_attempts(h), 3);
    assert_int_equal(fake_host_run(h, "bench-fanout", aiki_writer_view(&w), &output, &err), AIKI_OK);
    assert_int_equal(number_in(output, "width"), 100);
    assert_int_equal(fake_host_attempts(h), 103);
    fake_host_destroy(h);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_greets),
        cmocka_unit_test(order_is_paid_after_retries),
        cmocka_unit_test(declined_card_reserves_nothing),
        cmocka_unit_test(bad_order_is_refused),
        cmocka_unit_test(ledger_leaves_lines),
        cmocka_unit_test(bench_does_nothing_often),
    };
    for (int i = 0; i < PLUGIN_COUNT; i++) {
        plugins[i] = i + 1 < argc ? load(argv[i + 1]) : NULL;
        if (plugins[i] == NULL)
            return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
