/* test_nearest.c - which name was meant by one that is none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <string.h>

#include "child/nearest.h"
#include "wire/keys.h"

static const char *meant(const char *name)
{
    static const char *const names[] = {"ship", "charge", "charge-card", "refund", "ab"};
    struct nearest n = nearest_begin((aiki_view){(const uint8_t *)name, strlen(name)});

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        nearest_try(&n, names[i]);
    return n.found != NULL ? n.found : "nothing";
}

/* Letters left out, put in, replaced or exchanged; as many as the name is long enough for. */
static void a_slip_is_near(void **state)
{
    (void)state;
    assert_string_equal(meant("chrge"), "charge");
    assert_string_equal(meant("chargge"), "charge");
    assert_string_equal(meant("chargw"), "charge");
    assert_string_equal(meant("cahrge"), "charge");
    assert_string_equal(meant("chargeCard"), "charge-card");
    assert_string_equal(meant("hsip"), "ship");
}

static void another_word_is_not(void **state)
{
    char name[NAME_BYTES_MAX + 2];

    (void)state;
    assert_string_equal(meant("cahgre"), "nothing"); /* two slips in six letters */
    assert_string_equal(meant("ac"), "nothing");
    assert_string_equal(meant(""), "nothing");
    assert_string_equal(meant("notify"), "nothing");
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_string_equal(meant(name), "nothing");
    name[NAME_BYTES_MAX] = '\0';
    assert_string_equal(meant(name), "nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slip_is_near),
        cmocka_unit_test(another_word_is_not),
    };
    return cmocka_run_group_tests_name("nearest", tests, NULL, NULL);
}
