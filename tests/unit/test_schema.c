/* wire/schema.h: a schema that went through the wire judges like the plugin's own decoder, bad
 * tables and bad schemas are refused by name, and the JSON Schema says what JSON Schema can say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/shop_cases.h"
#include "../support/shop_records.h"
#include "base/json.h"
#include "wire/schema.h"

static uint8_t written[8192], value_bytes[4096];

static aiki_writer writer(uint8_t *memory, size_t size_bytes)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, size_bytes);
    return w;
}

static struct schema *over_the_wire(const aiki_record_def *def)
{
    aiki_writer w = writer(written, sizeof(written));
    struct schema *s = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    if (schema_write(&w, def, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    /* A copy: nothing of the parsed schema may point into what it was read from. */
    uint8_t *copy = malloc(w.size_bytes);
    assert_non_null(copy);
    memcpy(copy, w.data, w.size_bytes);
    aiki_view v = {copy, w.size_bytes};
    if (schema_create(&s, v, &err) != AIKI_OK)
        fail_msg("%s: %s", err.code, err.message);
    memset(copy, 0, w.size_bytes);
    free(copy);
    return s;
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

/* The host's verdict on every case is the decoder's, word for word. */
static void host_and_plugin_agree(void **state)
{
    struct schema *s = over_the_wire(&shop_cart_record);
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_writer w = writer(value_bytes, sizeof(value_bytes));
        aiki_error err = AIKI_ERROR_INIT;
        aiki_status expected = cases[i].message != NULL ? AIKI_SCHEMA : AIKI_OK;
        cases[i].write(&w);
        if (schema_validate(s, aiki_writer_view(&w), &err) != expected)
            fail_msg("%s: %s", cases[i].name, err.message);
        if (cases[i].message != NULL)
            assert_string_equal(err.message, cases[i].message);
    }
    schema_destroy(s);
}

/* Every cut of a schema is refused, every changed byte is refused or makes another schema. */
static void damaged_schemas_are_refused_or_read(void **state)
{
    aiki_writer w = writer(written, sizeof(written));
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    assert_int_equal(schema_write(&w, &shop_cart_record, &err), AIKI_OK);
    for (uint64_t size = 0; size < w.size_bytes; size++) {
        uint8_t *cut = malloc(size + (size == 0));
        aiki_view v = {cut, size};
        assert_non_null(cut);
        memcpy(cut, written, size);
        assert_int_not_equal(schema_check(v, &err), AIKI_OK);
        free(cut);
    }
    for (uint64_t i = 0; i < w.size_bytes * 8; i++) {
        struct schema *s = NULL;
        written[i / 8] ^= (uint8_t)(1u << i % 8);
        if (schema_create(&s, aiki_writer_view(&w), &err) == AIKI_OK)
            schema_destroy(s);
        written[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

static void assert_bad_table(const aiki_field_def *field, const char *part_of_message)
{
    aiki_record_def def = {.struct_size = sizeof(def), .size_bytes = 16, .name = "bad",
                           .fields = field, .field_count = 1, .field_stride = sizeof(*field)};
    aiki_writer w = writer(written, sizeof(written));
    aiki_error err = AIKI_ERROR_INIT;
    assert_int_equal(schema_write(&w, &def, &err), AIKI_INVALID);
    assert_string_equal(err.code, "BAD_SCHEMA");
    if (strstr(err.message, part_of_message) == NULL)
        fail_msg("\"%s\" does not mention \"%s\"", err.message, part_of_message);
}

/* What no header of ours would write: the plugin may be in any language. */
static void bad_tables_are_refused(void **state)
{
    static char long_name[AIKI_RECORD_NAME_BYTES_MAX + 2];
    (void)state;
    memset(long_name, 'n', sizeof(long_name) - 1);
    assert_bad_table(&(aiki_field_def){.name = NULL, .type = AIKI_FIELD_I64}, "name");
    assert_bad_table(&(aiki_field_def){.name = "", .type = AIKI_FIELD_I64}, "name");
    assert_bad_table(&(aiki_field_def){.name = long_name, .type = AIKI_FIELD_I64}, "name");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = 99}, "type");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = AIKI_FIELD_LIST,
                                       .element = AIKI_FIELD_LIST, .count_offset = 8}, "f");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = AIKI_FIELD_RECORD}, "f");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = AIKI_FIELD_I64, .offset = 12}, "f");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = AIKI_FIELD_I64, .has_min = 1,
                                       .has_max = 1, .min = 5, .max = 4}, "f");
    assert_bad_table(&(aiki_field_def){.name = "f", .type = AIKI_FIELD_BOOL, .one_of = "a|b"}, "f");
}

/* A record that contains itself is refused and does not run down the stack. */
static void endless_tables_are_refused(void **state)
{
    aiki_field_def field = {.name = "in", .type = AIKI_FIELD_RECORD};
    aiki_record_def loop = {.struct_size = sizeof(loop), .size_bytes = sizeof(void *),
                            .name = "loop", .fields = &field, .field_count = 1,
                            .field_stride = sizeof(field)};
    aiki_writer w = writer(written, sizeof(written));
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    field.record = &loop;
    assert_int_equal(schema_write(&w, &loop, &err), AIKI_INVALID);
    assert_string_equal(err.code, "BAD_SCHEMA");
}

/* Parsing the document back gives the fields in order, with their rules. */
static void json_schema_says_the_rules(void **state)
{
    static const char *const expected[] = {
        "\"$schema\":\"https://json-schema.org/draft/2020-12/schema\"",
        "\"title\":\"shop_cart\",\"type\":\"object\"",
        "\"id\":{\"type\":\"integer\"}",
        "\"serial\":{\"type\":[\"integer\",\"null\"],\"minimum\":5}",
        "\"rate\":{\"type\":[\"number\",\"null\"],\"minimum\":0.0,\"maximum\":1.0,\"default\":0.5}",
        "\"method\":{\"type\":[\"string\",\"null\"],\"enum\":[\"card\",\"cash\",null],"
        "\"default\":\"card\"}",
        "\"street\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":5,"
        "\"x-aiki-pii\":true}",
        "\"minItems\":1,\"maxItems\":3",
        "\"gift\":{\"type\":[\"boolean\",\"null\"],\"default\":true}",
        "\"counts\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"integer\",\"maximum\":9}}",
        "\"contentEncoding\":\"base64\"",
        "\"required\":[\"id\",\"items\"]"};
    struct schema *s = over_the_wire(&shop_cart_record);
    static uint8_t document[16384], text[32768];
    aiki_writer w = writer(document, sizeof(document)), out = writer(text, sizeof(text));
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    schema_write_json_schema(&w, s);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
    assert_int_equal(msgpack_to_json(aiki_writer_view(&w), 0, &out, &err), AIKI_OK);
    aiki_mp_raw(&out, "", 1);
    assert_int_equal(out.status, AIKI_OK);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        if (strstr((const char *)text, expected[i]) == NULL)
            fail_msg("%s\ndoes not say\n%s", (const char *)text, expected[i]);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_plugin_agree),
        cmocka_unit_test(damaged_schemas_are_refused_or_read),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(endless_tables_are_refused),
        cmocka_unit_test(json_schema_says_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
