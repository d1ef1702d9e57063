/* test_id.c - ids sort by time, are unique, and survive being printed and read. */
#include "golden.h"

#include <pthread.h>

#include "wire/id.h"

enum { THREADS = 4, IDS_PER_THREAD = 5000 };

/* A later millisecond sorts later, whatever the random part says. */
static void later_sorts_later(void **state)
{
    (void)state;
    const uint8_t low[10] = {0}, high[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    struct aiki_id a = id_make(1732174262114, high), b = id_make(1732174262115, low);
    char a_text[AIKI_ID_TEXT_SIZE], b_text[AIKI_ID_TEXT_SIZE];

    assert_true(id_compare(&a, &b) < 0);
    assert_int_equal(id_at_ms(&a), 1732174262114);
    id_text(&a, a_text);
    id_text(&b, b_text);
    assert_true(strcmp(a_text, b_text) < 0);
    assert_int_equal(strlen(a_text), 26);
}

/* The text is the same in every release, and reads back as the same id. */
static void text_is_fixed(void **state)
{
    (void)state;
    const uint8_t random[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    struct aiki_id id = id_make(1732174262114, random), back;
    char text[AIKI_ID_TEXT_SIZE];

    id_text(&id, text);
    assert_string_equal(text, "01JD6T3BV2041061050R3GG28A");
    assert_int_equal(id_parse(text, 26, &back, NULL), AIKI_OK);
    assert_true(id_equal(&id, &back));
    memset(&id, 255, sizeof(id));
    id_text(&id, text);
    assert_string_equal(text, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    assert_int_equal(id_parse(text, 26, &back, NULL), AIKI_OK);
    assert_true(id_equal(&id, &back));
}

/* People copy ids by hand: lower case and the usual mistakes are taken. */
static void parse_takes_lookalikes(void **state)
{
    (void)state;
    struct aiki_id a, b;
    assert_int_equal(id_parse("01JD2V7Q8X1M0N7P9R1S3T5V7W", 26, &a, NULL), AIKI_OK);
    assert_int_equal(id_parse("oIjd2v7q8xLmOn7p9riS3t5v7w", 26, &b, NULL), AIKI_OK);
    assert_true(id_equal(&a, &b));
}

/* What is no id is refused by name, and the output stays as it was. */
static void parse_refuses_the_rest(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "01JD2V7Q8X3M5N7P9R1S3T5V7",
                                      "81JD2V7Q8X3M5N7P9R1S3T5V7W",
                                      "01JD2V7Q8X3M5N7P9R1S3T5V7WW",
                                      "01JD2V7Q8X3M5N7P9R1S3T5V7U",
                                      "01JD2V7Q8X3M5N7P9R1S3T5V7\x01",
                                      "01JD2V7Q8X3M5N7P9R1S3T5V7\xff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct aiki_id id = {{7}};
        aiki_error err = {0};
        assert_int_equal(id_parse(bad[i], strlen(bad[i]), &id, &err), AIKI_INVALID);
        assert_int_equal(id.bytes[0], 7);
        assert_non_null(strstr(err.message, "is not an id"));
    }
    struct aiki_id id;
    assert_int_equal(id_parse("01JD2V7Q8X3M5N7P9R1S3T5V\0W", 26, &id, NULL), AIKI_INVALID);
}

static void *make_many(void *arg)
{
    struct aiki_id *ids = arg;
    for (int i = 0; i < IDS_PER_THREAD; i++)
        ids[i] = id_new();
    return NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return id_compare(a, b);
}

/* Each thread sees its ids rise, and no two threads get the same one. */
static void new_ids_rise_and_are_unique(void **state)
{
    (void)state;
    static struct aiki_id ids[THREADS * IDS_PER_THREAD];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, ids + i * IDS_PER_THREAD), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);

    for (int i = 1; i < THREADS * IDS_PER_THREAD; i++)
        if (i % IDS_PER_THREAD != 0)
            assert_true(id_compare(&ids[i - 1], &ids[i]) < 0);
    qsort(ids, THREADS * IDS_PER_THREAD, sizeof(ids[0]), by_bytes);
    for (int i = 1; i < THREADS * IDS_PER_THREAD; i++)
        assert_false(id_equal(&ids[i - 1], &ids[i]));
    assert_false(id_is_zero(&ids[0]));
    assert_true(id_is_zero(&(struct aiki_id){{0}}));
}

/* Ids of one millisecond differ in their last bytes alone and still spread over a table. */
static void hashes_spread(void **state)
{
    (void)state;
    enum { BUCKETS = 256, IDS = 16 * BUCKETS };
    unsigned filled[BUCKETS] = {0}, fullest = 0;
    struct aiki_id id = id_make(1732174262114, (const uint8_t[10]){7});

    for (unsigned i = 0; i < IDS; i++) {
        id.bytes[14] = (uint8_t)(i >> 8);
        id.bytes[15] = (uint8_t)i;
        unsigned n = ++filled[id_hash(&id) % BUCKETS];
        fullest = n > fullest ? n : fullest;
    }
    assert_true(fullest <= 4 * IDS / BUCKETS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_sorts_later),           cmocka_unit_test(text_is_fixed),
        cmocka_unit_test(parse_takes_lookalikes),      cmocka_unit_test(parse_refuses_the_rest),
        cmocka_unit_test(new_ids_rise_and_are_unique), cmocka_unit_test(hashes_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
