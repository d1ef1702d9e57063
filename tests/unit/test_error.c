/* test_error.c - errors keep their meaning across processes and years, and never grow too large. */
#include "golden.h"
#include "golden_wire.h"

#include "wire/error.h"

enum { ARENA_BYTES = 1024 * 1024 };

/* Memory for what error_read keeps; the n-th allocation fails. */
struct arena {
    uint8_t *memory;
    uint64_t used;
    int allocations_left;
};

static void *take(void *arg, uint64_t size)
{
    struct arena *a = arg;
    if (a->allocations_left-- == 0)
        return NULL;
    void *p = a->memory + a->used;
    a->used += (size + 15) & ~15ull;
    assert_true(a->used <= ARENA_BYTES);
    return p;
}

static int setup(void **state)
{
    static struct arena arena;
    arena = (struct arena){.memory = malloc(ARENA_BYTES), .allocations_left = 100};
    *state = &arena;
    return arena.memory == NULL;
}

static int teardown(void **state)
{
    free(((struct arena *)*state)->memory);
    return 0;
}

static aiki_view written(aiki_writer *w, const aiki_error *e)
{
    uint64_t at = w->size_bytes;
    error_write(w, e);
    assert_int_equal(w->status, AIKI_OK);
    aiki_view map = {w->data + at, w->size_bytes - at};
    assert_int_equal(aiki_mp_check(map), AIKI_OK);
    return map;
}

static void set_fills_everything(void **state)
{
    (void)state;
    aiki_error e;
    memset(&e, 0x5a, sizeof(e));
    assert_int_equal(error_set(&e, AIKI_STALE, "run %s moved on", "r1"), AIKI_STALE);
    assert_int_equal(e.struct_size, sizeof(e));
    assert_int_equal(e.category, AIKI_CATEGORY_CONFLICT);
    assert_string_equal(e.code, "STALE");
    assert_string_equal(e.message, "run r1 moved on");
    assert_int_equal(e.flags, 0);
    assert_int_equal(e.retry_after_ms, 0);
    assert_int_equal(e.details.size_bytes, 0);
    assert_null(e.cause);
    assert_int_equal(error_code(&e, AIKI_SCHEMA, "SCHEMA_MISMATCH", "%d", 5), AIKI_SCHEMA);
    assert_string_equal(e.code, "SCHEMA_MISMATCH");
    assert_int_equal(error_set(NULL, AIKI_NOMEM, "x"), AIKI_NOMEM);
    assert_int_equal(error_code(NULL, AIKI_NOMEM, "X", "x"), AIKI_NOMEM);
}

/* Anything may be quoted: what is shown is printable UTF-8 that ends with a whole character. */
static void messages_are_clean(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
         "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\x1b[31m\n\x7f", "a?[31m??"},
        {"\xff\xfe", "??"},
        {"\xc3", "?"},
        {"\xe2\x82", "??"},
        {"\xc0\x80", "??"},
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xc2\x9b"
         "31m",
         "??31m"},
        {"\xe0\x80\x80", "???"},
    };
    aiki_error e;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        (void)error_set(&e, AIKI_INVALID, "%s", texts[i][0]);
        assert_string_equal(e.message, texts[i][1]);
    }
    char filler[400];
    memset(filler, 'x', sizeof(filler));
    memcpy(filler + AIKI_MESSAGE_SIZE - 3, "\xe2\x82\xac", 4);
    (void)error_set(&e, AIKI_INVALID, "%s", filler);
    assert_int_equal(strlen(e.message), AIKI_MESSAGE_SIZE - 1);
    assert_string_equal(e.message + AIKI_MESSAGE_SIZE - 4, "x??");
}

static void bytes_are_fixed(void **state)
{
    uint8_t bytes[GOLDEN_BYTES_MAX], golden[GOLDEN_BYTES_MAX];
    aiki_writer w;
    aiki_error root = AIKI_ERROR_INIT, top = AIKI_ERROR_INIT, back;
    (void)error_code(&root, AIKI_UNAVAILABLE, "BANK_DOWN", "no answer from the bank");
    (void)error_code(&top, AIKI_SCHEMA, "CARD_DECLINED", "card 7 was declined");
    top.cause = &root;
    top.details = BYTES("\x81\xa4"
                        "card\x07");
    top.retry_after_ms = 1500;
    top.flags = AIKI_ERROR_FINAL;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    check_golden("ERROR", written(&w, &top), GOLDEN_ERROR);

    assert_int_equal(error_read(from_hex(GOLDEN_ERROR, golden), &back, take, *state), AIKI_OK);
    assert_int_equal(back.status, AIKI_SCHEMA);
    assert_int_equal(back.category, AIKI_CATEGORY_CALLER);
    assert_string_equal(back.code, "CARD_DECLINED");
    assert_string_equal(back.message, "card 7 was declined");
    assert_int_equal(back.retry_after_ms, 1500);
    assert_int_equal(back.flags, AIKI_ERROR_FINAL);
    assert_view_equal(back.details, top.details);
    assert_int_equal(back.cause->status, AIKI_UNAVAILABLE);
    assert_string_equal(back.cause->code, "BANK_DOWN");
    assert_null(back.cause->cause);
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    check_golden("ERROR", written(&w, &back), GOLDEN_ERROR);
}

/* Every status survives, with its own code and with a code of the caller's. */
static void statuses_survive(void **state)
{
    uint8_t bytes[2048];
    for (aiki_status status = AIKI_INVALID; status <= AIKI_STATUS_LAST_; status++) {
        aiki_writer w;
        aiki_error e, back;
        aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
        (void)error_set(&e, status, "m");
        assert_int_equal(error_read(written(&w, &e), &back, NULL, NULL), AIKI_OK);
        assert_int_equal(back.status, status);
        (void)error_code(&e, status, "OF_MY_OWN", "m");
        assert_int_equal(error_read(written(&w, &e), &back, take, *state), AIKI_OK);
        assert_int_equal(back.status, status);
        assert_int_equal(back.category, aiki_status_category(status));
    }
}

/* A zeroed struct, and arrays that a plugin filled to the last byte. */
static void careless_structs_are_written_safely(void **state)
{
    uint8_t bytes[2048];
    aiki_writer w;
    aiki_error e = {.status = AIKI_FAILED}, back;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    assert_int_equal(error_read(written(&w, &e), &back, take, *state), AIKI_OK);
    assert_string_equal(back.code, "FAILED");
    assert_int_equal(back.category, AIKI_CATEGORY_USER);
    memset(e.code, 'C', sizeof(e.code));
    memset(e.message, 'M', sizeof(e.message));
    assert_int_equal(error_read(written(&w, &e), &back, take, *state), AIKI_OK);
    assert_int_equal(strlen(back.code), AIKI_CODE_SIZE - 1);
    assert_int_equal(strlen(back.message), AIKI_MESSAGE_SIZE - 1);
}

/* Causes are cut at the limit, even when they go round in a circle. */
static void cause_chains_are_cut(void **state)
{
    static uint8_t bytes[16384];
    aiki_writer w;
    aiki_error circle = AIKI_ERROR_INIT, back;
    (void)error_set(&circle, AIKI_INTERNAL, "round");
    circle.cause = &circle;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    assert_int_equal(error_read(written(&w, &circle), &back, take, *state), AIKI_OK);
    int causes = 0;
    for (const aiki_error *e = back.cause; e != NULL; e = e->cause)
        causes++;
    assert_int_equal(causes, AIKI_CAUSE_DEPTH_MAX);
}

/* Details over a limit, or that are no msgpack, never make the error unreadable. */
static void details_that_do_not_fit_are_named(void **state)
{
    struct arena *arena = *state;
    static uint8_t bytes[4 * ERROR_DETAILS_BYTES_MAX], large[ERROR_DETAILS_BYTES_MAX + 1];
    uint8_t deep[ERROR_DETAILS_DEPTH_MAX + 1];
    memset(deep, 0x91, sizeof(deep));
    deep[ERROR_DETAILS_DEPTH_MAX] = 0xc0;
    large[0] = 0xc6;
    aiki_mp_be_(large + 1, sizeof(large) - 5, 4);
    const aiki_view bad[] = {BYTES("\xc1"),
                             BYTES("\x92\x01"),
                             BYTES("\x01\x01"),
                             {deep, sizeof(deep)},
                             {large, sizeof(large)}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        aiki_writer w;
        aiki_error e, back;
        aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
        (void)error_set(&e, AIKI_FAILED, "m");
        e.details = bad[i];
        assert_int_equal(error_read(written(&w, &e), &back, take, arena), AIKI_OK);
        assert_in_range(back.details.size_bytes, 1, 160);
        assert_non_null(memmem(back.details.data, back.details.size_bytes, "left out", 8));
    }
    aiki_writer w;
    aiki_error e, back;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    (void)error_set(&e, AIKI_FAILED, "m");
    e.details = (aiki_view){deep + 1, sizeof(deep) - 1};
    assert_int_equal(error_read(written(&w, &e), &back, take, arena), AIKI_OK);
    assert_view_equal(back.details, e.details);
}

/* Without memory details and causes are left out; when it ends, so does the reading. */
static void memory_is_the_callers(void **state)
{
    struct arena *arena = *state;
    uint8_t golden[GOLDEN_BYTES_MAX];
    aiki_error e = AIKI_ERROR_INIT;
    aiki_view map = from_hex(GOLDEN_ERROR, golden);
    assert_int_equal(error_read(map, &e, NULL, NULL), AIKI_OK);
    assert_string_equal(e.code, "CARD_DECLINED");
    assert_int_equal(e.details.size_bytes, 0);
    assert_null(e.cause);
    for (int n = 0; n < 2; n++) {
        arena->allocations_left = n;
        e.status = 77;
        assert_int_equal(error_read(map, &e, take, arena), AIKI_NOMEM);
        assert_int_equal(e.status, 77);
    }
}

/* Later releases add keys, categories and statuses; old readers stay sensible. */
static void later_errors_are_understood(void **state)
{
    uint8_t bytes[256];
    aiki_writer w;
    aiki_error e;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    aiki_mp_map(&w, 5);
    aiki_mp_str(&w, "code"), aiki_mp_str(&w, "MOON_PHASE");
    aiki_mp_str(&w, "new"), aiki_mp_map(&w, 1), aiki_mp_uint(&w, 1), aiki_mp_nil(&w);
    aiki_mp_uint(&w, 5), aiki_mp_bool(&w, true);
    aiki_mp_array(&w, 1), aiki_mp_nil(&w), aiki_mp_nil(&w);
    aiki_mp_str(&w, "category"), aiki_mp_str(&w, "lunar");
    assert_int_equal(error_read(aiki_writer_view(&w), &e, take, *state), AIKI_OK);
    assert_string_equal(e.code, "MOON_PHASE");
    assert_int_equal(e.category, AIKI_CATEGORY_INFRA);
    assert_int_equal(e.status, AIKI_INTERNAL);
    assert_string_equal(category_name(99), "unknown");
    assert_string_equal(category_name(AIKI_CATEGORY_CALLER), "caller");
}

static void damage_is_refused(void **state)
{
    uint8_t golden[GOLDEN_BYTES_MAX];
    aiki_error e = {.status = 77};
    aiki_view map = from_hex(GOLDEN_ERROR, golden);
    for (uint64_t n = 0; n < map.size_bytes; n++)
        assert_int_equal(error_read((aiki_view){golden, n}, &e, take, *state), AIKI_CORRUPT);
    assert_int_equal(error_read(BYTES("\x81\xa4"
                                      "code\x05"),
                                &e, NULL, NULL),
                     AIKI_CORRUPT);
    assert_int_equal(error_read(BYTES("\x80\x80"), &e, NULL, NULL), AIKI_CORRUPT);
    assert_int_equal(error_read(BYTES("\x81\xa5"
                                      "cause\x05"),
                                &e, take, *state),
                     AIKI_CORRUPT);
    assert_int_equal(e.status, 77);
}

/* The stack is for people: it stands in the map of the first error, and readers skip it. */
static void a_stack_is_written_and_not_read(void **state)
{
    uint8_t memory[600], stack_memory[64];
    aiki_writer w, stack;
    aiki_error cause = AIKI_ERROR_INIT, e = AIKI_ERROR_INIT, read;
    (void)error_set(&cause, AIKI_UNAVAILABLE, "far");
    (void)error_set(&e, AIKI_FAILED, "near");
    e.cause = &cause;
    aiki_writer_init_fixed(&stack, stack_memory, sizeof(stack_memory));
    aiki_mp_array(&stack, 2);
    aiki_mp_str(&stack, "f+0x1 (a.so build 1)");
    aiki_mp_str(&stack, "g+0x2 (a.so build 1)");
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    error_write_stack(&w, &e, aiki_writer_view(&stack));
    aiki_view map = aiki_writer_view(&w);
    assert_int_equal(aiki_mp_check(map), AIKI_OK);
    const uint8_t *at = memmem(map.data, map.size_bytes, stack.data, stack.size_bytes);
    assert_non_null(at);
    assert_null(memmem(at + 1, (size_t)(map.data + map.size_bytes - at - 1), "stack", 5));
    assert_int_equal(error_read(map, &read, take, *state), AIKI_OK);
    assert_string_equal(read.message, "near");
    assert_string_equal(read.cause->message, "far");
}

/* Single values, without memory for the whole. */
static void a_value_is_found_by_its_key(void **state)
{
    static const uint8_t details[] = "\x81\xa1n\x07";
    uint8_t memory[200];
    aiki_writer w;
    aiki_error e = AIKI_ERROR_INIT;
    (void)state;
    (void)error_code(&e, AIKI_FAILED, "NO", "no");
    e.details = (aiki_view){details, sizeof(details) - 1};
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    error_write(&w, &e);
    aiki_view map = aiki_writer_view(&w), found = error_value(error_value(map, "details"), "n");
    assert_int_equal(found.size_bytes, 1);
    assert_int_equal(found.data[0], 7);
    assert_int_equal(error_value(map, "detail").size_bytes, 0);
    assert_int_equal(error_value(error_value(map, "cause"), "n").size_bytes, 0);
    for (uint64_t n = 0; n < map.size_bytes; n++) /* damaged: whatever it is, it lies in it */
        assert_true(error_value((aiki_view){memory, n}, "message").size_bytes <= n);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(set_fills_everything),
        CASE(messages_are_clean),
        CASE(bytes_are_fixed),
        CASE(statuses_survive),
        CASE(careless_structs_are_written_safely),
        CASE(cause_chains_are_cut),
        CASE(details_that_do_not_fit_are_named),
        CASE(memory_is_the_callers),
        CASE(later_errors_are_understood),
        CASE(a_stack_is_written_and_not_read),
        CASE(a_value_is_found_by_its_key),
        CASE(damage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
