/* test_message.c - every message: fixed bytes, tolerant of other releases, strict on damage. */
#include "golden.h"
#include "golden_wire.h"

#include "wire/message.h"

enum { MESSAGE_BYTES_MAX = 1024 };

/* ---- a value for every field, different from its neighbours ------------------------------ */

static uint64_t fill_u64(int line, const char *name)
{
    return (uint64_t)line * 100 + strlen(name);
}
static uint64_t fill_wide(int line, const char *name)
{
    return fill_u64(line, name);
}
static int64_t fill_i64(int line, const char *name)
{
    return -(int64_t)fill_u64(line, name);
}
static bool fill_flag(int line, const char *name)
{
    return line >= 0 && name != NULL;
}
static aiki_view fill_str(int line, const char *name)
{
    return line >= 0 ? text_view(name) : text_view("");
}
static aiki_view fill_bin(int line, const char *name)
{
    return fill_str(line, name);
}

static aiki_view fill_raw(int line, const char *name)
{
    (void)line, (void)name;
    return BYTES("\x81\xa1k\x93\x01\xc2\xc0");
}

static struct aiki_id fill_id(int line, const char *name)
{
    struct aiki_id id = {{0}};
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        id.bytes[i] = (uint8_t)((size_t)name[0] + i * (size_t)line);
    return id;
}

/* The field's position stands for its line. */
#define FILL(type, name) m.name = fill_##type(++position, #name);

/* ---- per message: encode as the release did, decode, encode again ------------------------ */

#define GOLDEN_TEST(NAME, number, FIELDS)                                                          \
    static void golden_##NAME(void)                                                                \
    {                                                                                              \
        struct msg_##NAME m, back;                                                                 \
        uint8_t bytes[MESSAGE_BYTES_MAX], golden[GOLDEN_BYTES_MAX];                                \
        aiki_writer w;                                                                             \
        int position = 0;                                                                          \
        aiki_error err = {0};                                                                      \
        memset(&m, 0, sizeof(m));                                                                  \
        FIELDS(FILL)                                                                               \
        aiki_writer_init_fixed(&w, bytes, sizeof(bytes));                                          \
        msg_##NAME##_write(&w, &m);                                                                \
        check_golden(#NAME, aiki_writer_view(&w), GOLDEN_##NAME);                                  \
        aiki_view old = from_hex(GOLDEN_##NAME, golden);                                           \
        assert_int_equal(msg_##NAME##_read(old, &back, &err), AIKI_OK);                            \
        aiki_writer_init_fixed(&w, bytes, sizeof(bytes));                                          \
        msg_##NAME##_write(&w, &back);                                                             \
        check_golden(#NAME, aiki_writer_view(&w), GOLDEN_##NAME);                                  \
        assert_string_equal(wire_type_name(number), #NAME);                                        \
    }                                                                                              \
    /* Any shorter payload is refused by name and the output left alone. */                        \
    static void truncated_##NAME(void)                                                             \
    {                                                                                              \
        struct msg_##NAME m, before;                                                               \
        uint8_t golden[GOLDEN_BYTES_MAX];                                                          \
        aiki_view old = from_hex(GOLDEN_##NAME, golden);                                           \
        memset(&m, 0x5a, sizeof(m));                                                               \
        memcpy(&before, &m, sizeof(m));                                                            \
        for (uint64_t n = 0; n < old.size_bytes; n++) {                                            \
            aiki_error err = {0};                                                                  \
            uint8_t *exact = test_malloc(n + 1); /* so that a read too far is seen */              \
            memcpy(exact + 1, golden, n);                                                          \
            aiki_view cut = {exact + 1, n};                                                        \
            assert_int_equal(msg_##NAME##_read(cut, &m, &err), AIKI_CORRUPT);                      \
            assert_non_null(strstr(err.message, "message " #NAME));                                \
            test_free(exact);                                                                      \
        }                                                                                          \
        assert_memory_equal(&m, &before, sizeof(m));                                               \
    }                                                                                              \
    /* An empty array is a message of nothing but zeros; more fields than known are skipped. */    \
    static void versions_##NAME(void)                                                              \
    {                                                                                              \
        struct msg_##NAME m, zero;                                                                 \
        uint8_t bytes[MESSAGE_BYTES_MAX], again[MESSAGE_BYTES_MAX];                                \
        uint8_t golden[GOLDEN_BYTES_MAX];                                                          \
        aiki_writer w, v;                                                                          \
        aiki_view old = from_hex(GOLDEN_##NAME, golden);                                           \
        memset(&zero, 0, sizeof(zero));                                                            \
        assert_int_equal(msg_##NAME##_read(BYTES("\x90"), &m, NULL), AIKI_OK);                     \
        aiki_writer_init_fixed(&w, bytes, sizeof(bytes));                                          \
        msg_##NAME##_write(&w, &zero);                                                             \
        aiki_writer_init_fixed(&v, again, sizeof(again));                                          \
        msg_##NAME##_write(&v, &m);                                                                \
        assert_view_equal(aiki_writer_view(&v), aiki_writer_view(&w));                             \
        aiki_view longer = add_unknown_fields(old, bytes);                                         \
        assert_int_equal(msg_##NAME##_read(longer, &m, NULL), AIKI_OK);                            \
        aiki_writer_init_fixed(&w, again, sizeof(again));                                          \
        msg_##NAME##_write(&w, &m);                                                                \
        assert_view_equal(aiki_writer_view(&w), old);                                              \
    }

/* The same array with a map and a text behind what this release knows. */
static aiki_view add_unknown_fields(aiki_view old, uint8_t bytes[MESSAGE_BYTES_MAX])
{
    aiki_reader r;
    aiki_writer w;
    aiki_reader_init(&r, old);
    uint64_t count = aiki_mp_read_array(&r);
    aiki_writer_init_fixed(&w, bytes, MESSAGE_BYTES_MAX);
    aiki_mp_array(&w, count + 2);
    aiki_mp_raw(&w, r.at, aiki_reader_left(&r));
    aiki_mp_raw(&w, "\x81\x01\x92\xc0\xc3", 5);
    aiki_mp_str(&w, "of a later release");
    assert_int_equal(w.status, AIKI_OK);
    return aiki_writer_view(&w);
}

AIKI_MESSAGES(GOLDEN_TEST)

static void every_message_keeps_its_bytes(void **state)
{
    (void)state;
#define CALL_GOLDEN(NAME, number, FIELDS) golden_##NAME();
    AIKI_MESSAGES(CALL_GOLDEN)
}

static void truncated_messages_are_refused(void **state)
{
    (void)state;
#define CALL_TRUNCATED(NAME, number, FIELDS) truncated_##NAME();
    AIKI_MESSAGES(CALL_TRUNCATED)
}

static void other_releases_are_understood(void **state)
{
    (void)state;
#define CALL_VERSIONS(NAME, number, FIELDS) versions_##NAME();
    AIKI_MESSAGES(CALL_VERSIONS)
}

/* ---- field rules ------------------------------------------------------------------------- */

static void ids_are_16_bytes_or_nil(void **state)
{
    (void)state;
    struct msg_DROP m = {{{1}}};
    assert_int_equal(msg_DROP_read(BYTES("\x91\xc0"), &m, NULL), AIKI_OK);
    assert_true(id_is_zero(&m.run));
    assert_int_equal(msg_DROP_read(BYTES("\x91\xc4\x0f"
                                         "0123456789abcde"),
                                   &m, NULL),
                     AIKI_CORRUPT);
    assert_int_equal(msg_DROP_read(BYTES("\x91\xb0"
                                         "0123456789abcdef"),
                                   &m, NULL),
                     AIKI_CORRUPT);
    assert_int_equal(msg_DROP_read(BYTES("\x91\xc4\x10"
                                         "0123456789abcdef"),
                                   &m, NULL),
                     AIKI_OK);
    assert_memory_equal(m.run.bytes, "0123456789abcdef", 16);
}

/* nil and nothing are the same, for raw values, text and bytes. */
static void nil_reads_as_empty(void **state)
{
    (void)state;
    uint8_t bytes[8];
    aiki_writer w;
    struct msg_FAULT fault;
    struct msg_UNREGISTER gone;
    const struct msg_DOCUMENT none = {{NULL, 0}};
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    msg_DOCUMENT_write(&w, &none);
    assert_view_equal(aiki_writer_view(&w), BYTES("\x91\xc0"));
    assert_int_equal(msg_FAULT_read(BYTES("\x92\x05\xc0"), &fault, NULL), AIKI_OK);
    assert_int_equal(fault.error.size_bytes, 0);
    assert_int_equal(msg_UNREGISTER_read(BYTES("\x91\xc0"), &gone, NULL), AIKI_OK);
    assert_int_equal(gone.build.size_bytes, 0);
}

/* Wrong types, trailing bytes, other things than arrays. */
static void damage_is_refused(void **state)
{
    (void)state;
    struct msg_DRAIN m = {.grace_ms = 77, .leave = false};
    assert_int_equal(msg_DRAIN_read(BYTES("\x91\xa1x"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\x91\xff"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\x91\xc0"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\x91\x01\x01"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\x81\x01\x01"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\xc1"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read(BYTES("\xdd\xff\xff\xff\xff\x01"), &m, NULL), AIKI_CORRUPT);
    assert_int_equal(msg_DRAIN_read((aiki_view){NULL, 0}, &m, NULL), AIKI_CORRUPT);
    assert_int_equal(m.grace_ms, 77);
}

/* Depth and node budgets hold inside raw fields and in what is skipped. */
static void budgets_hold(void **state)
{
    (void)state;
    uint8_t deep[2 + AIKI_MP_DEPTH_MAX] = {0x91};
    struct msg_DOCUMENT m;
    struct msg_DRAIN skipped;
    aiki_error err = {0};
    memset(deep + 1, 0x91, AIKI_MP_DEPTH_MAX);
    deep[1 + AIKI_MP_DEPTH_MAX] = 0xc0;
    assert_int_equal(msg_DOCUMENT_read((aiki_view){deep, sizeof(deep)}, &m, &err), AIKI_LIMIT);
    assert_non_null(strstr(err.message, "DOCUMENT"));

    uint8_t tail[sizeof(deep) + 2] = {0x93, 0x01, 0xc2};
    memcpy(tail + 3, deep + 1, sizeof(deep) - 1);
    assert_int_equal(msg_DRAIN_read((aiki_view){tail, sizeof(tail)}, &skipped, &err), AIKI_LIMIT);

    uint64_t size = 6 + AIKI_MP_NODES_MAX + 1;
    uint8_t *wide = test_malloc(size);
    memset(wide, 0xc0, size);
    wide[0] = 0x91, wide[1] = 0xdd;
    aiki_mp_be_(wide + 2, AIKI_MP_NODES_MAX + 1, 4);
    assert_int_equal(msg_DOCUMENT_read((aiki_view){wide, size}, &m, &err), AIKI_LIMIT);
    test_free(wide);
}

/* The broker fills in the epoch without decoding the rest. */
static void append_epoch_is_patched_in_place(void **state)
{
    (void)state;
    uint8_t bytes[256];
    aiki_writer w;
    struct msg_APPEND m = {.number = 3, .next = NEXT_PARK, .wake_at_ms = -1, .events = BYTES("ab")};
    struct msg_APPEND back;
    struct aiki_id run;
    memcpy(m.run.bytes, "0123456789abcdef", 16);
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    msg_APPEND_write(&w, &m);
    uint64_t size = w.size_bytes;

    static const uint64_t epochs[] = {0, 1, 0x0102030405060708, UINT64_MAX};
    for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
        assert_int_equal(msg_APPEND_patch_epoch(bytes, size, epochs[i]), AIKI_OK);
        assert_int_equal(msg_APPEND_read((aiki_view){bytes, size}, &back, NULL), AIKI_OK);
        assert_int_equal(back.epoch, epochs[i]);
        assert_int_equal(back.number, 3);
        assert_view_equal(back.events, m.events);
    }
    assert_int_equal(msg_run((aiki_view){bytes, size}, &run), AIKI_OK);
    assert_memory_equal(run.bytes, "0123456789abcdef", 16);
    for (uint64_t n = 0; n < 1 + 18 + 9; n++)
        assert_int_equal(msg_APPEND_patch_epoch(bytes, n, 1), AIKI_CORRUPT);
    uint8_t narrow[] = "\x92\xc4\x10"
                       "0123456789abcdef"
                       "\x05"
                       "12345678";
    assert_int_equal(msg_APPEND_patch_epoch(narrow, sizeof(narrow) - 1, 1), AIKI_CORRUPT);
    assert_int_equal(msg_run(BYTES("\x90"), &run), AIKI_CORRUPT);
}

/* Forms of earlier releases: what they lack reads as zero. */
static void old_forms_are_read(void **state)
{
    struct msg_START m;
    uint8_t golden[GOLDEN_BYTES_MAX];
    aiki_error err = {0};
    (void)state;
    assert_int_equal(msg_START_read(from_hex(GOLDEN_OLD_START, golden), &m, &err), AIKI_OK);
    assert_view_equal(m.actor, text_view("actor"));
    assert_int_equal(m.key_policy, KEY_SAME);
    assert_int_equal(m.delay_ms, 0);
    assert_int_equal(m.retry.size_bytes, 0);

    struct msg_REGISTER served;
    assert_int_equal(msg_REGISTER_read(from_hex(GOLDEN_OLD_REGISTER, golden), &served, &err),
                     AIKI_OK);
    assert_view_equal(served.file, text_view("file"));
    assert_int_equal(served.role, 0);

    struct msg_LOAD load;
    assert_int_equal(msg_LOAD_read(from_hex(GOLDEN_OLD_LOAD, golden), &load, &err), AIKI_OK);
    assert_true(load.files_max > 0);
    assert_int_equal(load.lacks.size_bytes, 0);
    struct msg_VERDICT verdict;
    assert_int_equal(msg_VERDICT_read(from_hex(GOLDEN_OLD_VERDICT, golden), &verdict, &err), AIKI_OK);
    assert_false(verdict.more);

    struct msg_PROBE probe;
    assert_int_equal(msg_PROBE_read(from_hex(GOLDEN_OLD_PROBE, golden), &probe, &err), AIKI_OK);
    assert_view_equal(probe.sandbox, text_view("sandbox"));
    assert_int_equal(probe.files_max, 0);

    struct msg_PROBE_STEP next;
    assert_int_equal(msg_PROBE_STEP_read(from_hex(GOLDEN_OLD_PROBE_STEP, golden), &next, &err), AIKI_OK);
    assert_false(next.reaches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_keeps_its_bytes),
        cmocka_unit_test(truncated_messages_are_refused),
        cmocka_unit_test(other_releases_are_understood),
        cmocka_unit_test(ids_are_16_bytes_or_nil),
        cmocka_unit_test(nil_reads_as_empty),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(budgets_hold),
        cmocka_unit_test(append_epoch_is_patched_in_place),
        cmocka_unit_test(old_forms_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
