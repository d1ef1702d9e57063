/* aiki/record.h and aiki/schema.h: encode, decode, defaults, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/shop_cases.h"
#include "../support/shop_records.h"

enum { ARENA_BYTES = 64 * 1024 };

struct arena {
    size_t used, limit;
    _Alignas(16) uint8_t bytes[ARENA_BYTES];
};

static struct arena arena;
static uint8_t encoded[4096];

static void *arena_alloc(void *arg, uint64_t size_bytes)
{
    struct arena *a = arg;
    size_t size = (size_bytes + 15u) & ~(size_t)15u;
    void *p = a->bytes + a->used;
    if (size > a->limit - a->used)
        return NULL;
    a->used += size;
    return memset(p, 0, size);
}

static const aiki_memory memory = {arena_alloc, &arena};

static int setup(void **state)
{
    (void)state;
    arena.used = 0;
    arena.limit = ARENA_BYTES;
    return 0;
}

static aiki_writer writer(void)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, encoded, sizeof(encoded));
    return w;
}

static const struct shop_item two[] = {{"tea", 450, false}, {"pot", 999, true}};
static const char *const tags[] = {"red", "green"};
static const int64_t counts[] = {-5, 9};
static const uint64_t serials[] = {0, UINT64_MAX};
static const double rates[] = {0.25, -1e300};
static const bool flags[] = {true, false, true};
static const aiki_view blobs[] = {{(const uint8_t *)"ab", 2}, {(const uint8_t *)"", 0}};

static struct shop_cart full_cart(const struct shop_address *address)
{
    struct shop_cart c = {0};
    c.id = INT64_MIN;
    c.serial = UINT64_MAX;
    c.rate = 0.75;
    c.express = true;
    c.method = "cash";
    c.token.data = (const uint8_t *)"\0\1\2";
    c.token.size_bytes = 3;
    c.address = address;
    c.items = two;
    c.items_count = 2;
    c.tags = tags;
    c.tags_count = 2;
    c.counts = counts;
    c.counts_count = 2;
    c.serials = serials;
    c.serials_count = 2;
    c.rates = rates;
    c.rates_count = 2;
    c.flags = flags;
    c.flags_count = 3;
    c.blobs = blobs;
    c.blobs_count = 2;
    return c;
}

/* Every type survives the trip, and encoding what was decoded gives the same bytes. */
static void round_trip(void **state)
{
    const struct shop_address address = {"Rome", "Via", "IT"};
    const struct shop_cart cart = full_cart(&address);
    uint8_t again[sizeof(encoded)];
    aiki_writer w = writer(), w2;
    struct shop_cart got = {0};
    (void)state;
    assert_int_equal(shop_cart_encode(&cart, &w, NULL), AIKI_OK);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w), &memory, &got, NULL), AIKI_OK);
    assert_true(got.id == INT64_MIN && got.serial == UINT64_MAX && got.rate == 0.75);
    assert_true(got.express);
    assert_string_equal(got.method, "cash");
    assert_memory_equal(got.token.data, "\0\1\2", 3);
    assert_string_equal(got.address->city, "Rome");
    assert_int_equal(got.items_count, 2);
    assert_string_equal(got.items[1].sku, "pot");
    assert_int_equal(got.items[1].price, 999);
    assert_false(got.items[0].gift);
    assert_string_equal(got.tags[1], "green");
    assert_true(got.counts[0] == -5 && got.serials[1] == UINT64_MAX && got.rates[1] == -1e300);
    assert_true(got.flags[0] && !got.flags[1] && got.flags[2]);
    assert_int_equal(got.blobs[0].size_bytes, 2);
    aiki_writer_init_fixed(&w2, again, sizeof(again));
    assert_int_equal(shop_cart_encode(&got, &w2, NULL), AIKI_OK);
    assert_int_equal(w2.size_bytes, w.size_bytes);
    assert_memory_equal(again, encoded, w.size_bytes);
}

/* The map has the keys in field order and leaves absent members out. */
static void keys_come_in_field_order(void **state)
{
    const struct shop_address address = {"Rome", NULL, NULL};
    aiki_writer w = writer();
    (void)state;
    assert_int_equal(shop_address_encode(&address, &w, NULL), AIKI_OK);
    assert_int_equal(w.size_bytes, 11);
    assert_memory_equal(w.data, "\x81\xa4" "city\xa4" "Rome", 11);
}

/* Absent optional fields read as their default, or as nothing. */
static void absent_fields_get_defaults(void **state)
{
    aiki_writer w = writer();
    struct shop_cart got = {0};
    (void)state;
    cart_head(&w, 0);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w), &memory, &got, NULL), AIKI_OK);
    assert_true(got.rate == 0.5 && got.serial == 0 && !got.express);
    assert_string_equal(got.method, "card");
    assert_true(got.items[0].gift);
    assert_null(got.address);
    assert_null(got.token.data);
    assert_null(got.tags);
    assert_int_equal(got.tags_count, 0);
}

/* What was decoded can be passed on, although a zero that stands for "absent" breaks the rule. */
static void what_was_decoded_encodes(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    uint8_t again[256];
    struct shop_cart got = {0}, twice = {0};
    aiki_writer w = writer(), w2;
    (void)state;
    cart_head(&w, 0);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w), &memory, &got, &err), AIKI_OK);
    aiki_writer_init_fixed(&w2, again, sizeof(again));
    if (shop_cart_encode(&got, &w2, &err) != AIKI_OK) /* serial has to be at least 5 */
        fail_msg("%s", err.message);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w2), &memory, &twice, &err), AIKI_OK);
    assert_int_equal(twice.serial, 0);
    assert_true(twice.rate == 0.5);
    got.rate = 0; /* has a default, so zero is a value of its own */
    aiki_writer_init_fixed(&w2, again, sizeof(again));
    assert_int_equal(shop_cart_encode(&got, &w2, &err), AIKI_OK);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w2), &memory, &twice, &err), AIKI_OK);
    assert_true(twice.rate == 0);
}

#define WRITE_CASE(name, statements, text) \
    static void write_##name(aiki_writer *w) { statements; }
SHOP_CASES(WRITE_CASE)
#define CASE_ENTRY(name, statements, text) {#name, write_##name, text},
static const struct {
    const char *name;
    void (*write)(aiki_writer *w);
    const char *message;
} cases[] = {SHOP_CASES(CASE_ENTRY)};

/* Path, rule and value of every refusal; *ret is untouched; check agrees with decode. */
static void refusals_name_path_rule_and_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_writer w = writer();
        aiki_error decoded = AIKI_ERROR_INIT, checked = AIKI_ERROR_INIT;
        struct shop_cart got = {.id = 4711};
        aiki_status expected = cases[i].message != NULL ? AIKI_SCHEMA : AIKI_OK;
        aiki_view bytes;
        arena.used = 0;
        cases[i].write(&w);
        bytes = aiki_writer_view(&w);
        print_message("case %s\n", cases[i].name);
        assert_int_equal(shop_cart_decode(bytes, &memory, &got, &decoded), expected);
        assert_int_equal(aiki_record_check(&shop_cart_record, bytes, &checked), expected);
        assert_int_equal(aiki_record_check(&shop_cart_record, bytes, NULL), expected);
        if (cases[i].message == NULL)
            continue;
        assert_string_equal(decoded.message, cases[i].message);
        assert_string_equal(decoded.code, "SCHEMA_MISMATCH");
        assert_true((decoded.flags & AIKI_ERROR_FINAL) != 0);
        assert_int_equal(got.id, 4711);
        assert_memory_equal(&decoded, &checked, sizeof(decoded));
    }
}

/* In the other modes a rule may be broken, a type not. */
static void rules_may_be_broken_types_not(void **state)
{
    static const char *const rules[] = {"must be at least", "must be at most", "must have",
                                        "must be one of", "is required"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_writer w = writer();
        struct shop_cart got = {0};
        bool readable = cases[i].message == NULL;
        for (size_t rule = 0; rule < sizeof(rules) / sizeof(rules[0]) && !readable; rule++)
            readable = strstr(cases[i].message, rules[rule]) != NULL;
        arena.used = 0;
        cases[i].write(&w);
        print_message("case %s\n", cases[i].name);
        for (uint32_t mode = AIKI_SCHEMA_WARN; mode <= AIKI_SCHEMA_OFF; mode++)
            assert_int_equal(aiki_record_read_as(&shop_cart_record, mode, aiki_writer_view(&w), &memory,
                                                 &got, NULL),
                             readable ? AIKI_OK : AIKI_SCHEMA);
    }
}

/* No cut and no changed byte of a good value is more than a refusal (run with ASan). */
static void damaged_bytes_are_refused_or_read(void **state)
{
    const struct shop_address address = {"Rome", "Via", "IT"};
    const struct shop_cart cart = full_cart(&address);
    aiki_writer w = writer();
    (void)state;
    assert_int_equal(shop_cart_encode(&cart, &w, NULL), AIKI_OK);
    for (uint64_t i = 0; i < w.size_bytes; i++) {
        struct shop_cart got;
        uint8_t *cut = malloc(i + (i == 0));
        aiki_view v = {cut, i};
        assert_non_null(cut);
        memcpy(cut, w.data, i);
        arena.used = 0;
        assert_int_equal(shop_cart_decode(v, &memory, &got, NULL), AIKI_SCHEMA);
        free(cut);
    }
    for (uint64_t i = 0; i < w.size_bytes * 256; i++) {
        struct shop_cart got;
        uint8_t kept = w.data[i / 256];
        arena.used = 0;
        w.data[i / 256] = (uint8_t)i;
        (void)shop_cart_decode(aiki_writer_view(&w), &memory, &got, NULL); /* must return */
        w.data[i / 256] = kept;
    }
}

/* Out of memory at any allocation is an answer. */
static void every_allocation_may_fail(void **state)
{
    const struct shop_address address = {"Rome", "Via", "IT"};
    const struct shop_cart cart = full_cart(&address);
    aiki_writer w = writer();
    size_t needed;
    struct shop_cart got;
    (void)state;
    assert_int_equal(shop_cart_encode(&cart, &w, NULL), AIKI_OK);
    assert_int_equal(shop_cart_decode(aiki_writer_view(&w), &memory, &got, NULL), AIKI_OK);
    needed = arena.used;
    for (arena.limit = 0; arena.limit < needed; arena.limit += 16) {
        arena.used = 0;
        assert_int_equal(shop_cart_decode(aiki_writer_view(&w), &memory, &got, NULL), AIKI_NOMEM);
    }
}

/* What would not decode does not encode: rules hold on the way out too. */
static void encoding_checks_the_rules(void **state)
{
    struct shop_cart cart = full_cart(NULL);
    struct shop_item bad[] = {{"tea", 0, false}};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w = writer();
    uint8_t tiny[8];
    (void)state;
    cart.items = bad;
    cart.items_count = 1;
    assert_int_equal(shop_cart_encode(&cart, &w, &err), AIKI_SCHEMA);
    assert_string_equal(err.message, "items[0].price: must be at least 1, is 0");
    bad[0].price = 1;
    bad[0].sku = NULL;
    w = writer();
    assert_int_equal(shop_cart_encode(&cart, &w, &err), AIKI_SCHEMA);
    assert_string_equal(err.message, "items[0].sku: is required");
    aiki_writer_init_fixed(&w, tiny, sizeof(tiny));
    assert_int_equal(shop_cart_encode(&cart, &w, &err), AIKI_LIMIT);
}

/* UTF-8 by RFC 3629: overlong forms, surrogates, beyond U+10FFFF, cut sequences. */
static void utf8_is_strict(void **state)
{
    static const struct {
        const char *text;
        int64_t length;
    } texts[] = {{"", 0}, {"abc", 3}, {"\xc3\xa4", 1}, {"\xe2\x82\xac", 1}, {"\xf0\x9f\x98\x80", 1},
                 {"\xf4\x8f\xbf\xbf", 1}, {"\xc0\x80", -1}, {"\xc1\xbf", -1}, {"\xe0\x9f\xbf", -1},
                 {"\xed\xa0\x80", -1}, {"\xf0\x8f\xbf\xbf", -1}, {"\xf4\x90\x80\x80", -1},
                 {"\xf5\x80\x80\x80", -1}, {"\x80", -1}, {"\xe2\x82", -1}, {"\xe2(\xac", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        aiki_view v = {(const uint8_t *)texts[i].text, strlen(texts[i].text)};
        assert_int_equal(aiki_utf8_length(v), texts[i].length);
    }
}

/* A table that contains itself ends at the depth limit, not at the end of the stack. */
static void depth_is_limited(void **state)
{
    aiki_field_def field = {.name = "in", .type = AIKI_FIELD_RECORD};
    aiki_record_def loop = {.struct_size = sizeof(loop), .size_bytes = sizeof(void *),
                            .name = "loop", .fields = &field, .field_count = 1,
                            .field_stride = sizeof(field)};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w = writer();
    (void)state;
    field.record = &loop;
    for (int i = 0; i < AIKI_RECORD_DEPTH_MAX; i++) {
        aiki_mp_map(&w, 1);
        aiki_mp_str(&w, "in");
    }
    aiki_mp_map(&w, 0);
    assert_int_equal(aiki_record_check(&loop, aiki_writer_view(&w), &err), AIKI_SCHEMA);
    assert_non_null(strstr(err.message, "16 levels"));
}

/* A table whose entries are longer than ours is walked by its own stride. */
static void newer_tables_are_walked_by_stride(void **state)
{
    struct newer {
        aiki_field_def def;
        uint64_t rule_of_tomorrow;
    } fields[2] = {{.def = shop_address_fields_[0], .rule_of_tomorrow = UINT64_MAX},
                   {.def = shop_address_fields_[1], .rule_of_tomorrow = UINT64_MAX}};
    aiki_record_def newer = shop_address_record;
    aiki_error err = AIKI_ERROR_INIT;
    struct shop_address got = {0};
    aiki_writer w = writer();
    (void)state;
    newer.fields = &fields[0].def;
    newer.field_count = 2;
    newer.field_stride = sizeof(fields[0]);
    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "street");
    aiki_mp_str(&w, "Via");
    aiki_mp_str(&w, "city");
    aiki_mp_str(&w, "Rome");
    assert_int_equal(aiki_record_read(&newer, aiki_writer_view(&w), &memory, &got, &err), AIKI_OK);
    assert_string_equal(got.city, "Rome");
    assert_string_equal(got.street, "Via");
}

/* The path is cut and the value shortened before the message is full: the rule stays readable. */
static void long_values_leave_room_for_the_rule(void **state)
{
    static char name[AIKI_RECORD_NAME_BYTES_MAX + 1];
    aiki_field_def field = {.name = name, .type = AIKI_FIELD_RECORD};
    aiki_record_def loop = {.struct_size = sizeof(loop), .size_bytes = sizeof(void *),
                            .name = "loop", .fields = &field, .field_count = 1,
                            .field_stride = sizeof(field)};
    char value[1000];
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w = writer();
    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    memset(value, 'v', sizeof(value));
    field.record = &loop;
    for (int i = 0; i < 4; i++) {
        aiki_mp_map(&w, 1);
        aiki_mp_str(&w, name);
    }
    aiki_mp_strn(&w, value, sizeof(value));
    assert_int_equal(aiki_record_check(&loop, aiki_writer_view(&w), &err), AIKI_SCHEMA);
    assert_non_null(strstr(err.message, "n: must be a map, is \"vvvvv"));
    assert_string_equal(err.message + strlen(err.message) - 4, "\"...");
}

/* A type this build has never heard of is refused, not guessed. */
static void unknown_types_are_refused(void **state)
{
    aiki_field_def field = {.name = "in", .type = 99};
    aiki_record_def def = {.struct_size = sizeof(def), .size_bytes = 8, .name = "later",
                           .fields = &field, .field_count = 1, .field_stride = sizeof(field)};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w = writer();
    (void)state;
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "in");
    aiki_mp_int(&w, 1);
    assert_int_equal(aiki_record_check(&def, aiki_writer_view(&w), &err), AIKI_UNSUPPORTED);
    assert_string_equal(err.code, "BAD_SCHEMA");
}

/* Two scopes never make one text of two keys. */
static void scopes_are_kept_apart(void **state)
{
    char text[AIKI_SHARED_KEY_SIZE], longest[AIKI_SHARED_KEY_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    assert_int_equal(aiki_shared_key_(AIKI_SCOPE_NAMESPACE, "a:b", text, &err), AIKI_OK);
    assert_string_equal(text, ":a:b");
    assert_int_equal(aiki_shared_key_("a", "b:c", text, &err), AIKI_OK);
    assert_string_equal(text, "a:b:c");
    assert_int_equal(aiki_shared_key_("a:b", "c", text, &err), AIKI_INVALID);
    assert_string_equal(err.code, "BAD_KEY");
    assert_int_equal(aiki_shared_key_("a", "", text, &err), AIKI_INVALID);
    memset(longest, 'k', sizeof(longest));
    longest[AIKI_SHARED_KEY_SIZE - 2] = '\0';
    assert_int_equal(aiki_shared_key_("", longest, text, &err), AIKI_OK);
    assert_int_equal(aiki_shared_key_("s", longest, text, &err), AIKI_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(round_trip, setup),
        cmocka_unit_test_setup(keys_come_in_field_order, setup),
        cmocka_unit_test_setup(absent_fields_get_defaults, setup),
        cmocka_unit_test_setup(what_was_decoded_encodes, setup),
        cmocka_unit_test_setup(refusals_name_path_rule_and_value, setup),
        cmocka_unit_test_setup(rules_may_be_broken_types_not, setup),
        cmocka_unit_test_setup(damaged_bytes_are_refused_or_read, setup),
        cmocka_unit_test_setup(every_allocation_may_fail, setup),
        cmocka_unit_test_setup(encoding_checks_the_rules, setup),
        cmocka_unit_test_setup(utf8_is_strict, setup),
        cmocka_unit_test_setup(depth_is_limited, setup),
        cmocka_unit_test_setup(newer_tables_are_walked_by_stride, setup),
        cmocka_unit_test_setup(long_values_leave_room_for_the_rule, setup),
        cmocka_unit_test_setup(unknown_types_are_refused, setup),
        cmocka_unit_test_setup(scopes_are_kept_apart, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
