/* test_frame.c - frames are cut exactly, and damage never passes. */
#include "golden.h"
#include "golden_wire.h"

#include "wire/frame.h"

/* RFC 3720 B.4, and the check value every implementation agrees on. */
static void checksum_is_crc32c(void **state)
{
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
}

/* With and without the instruction, in one piece or two, at any alignment. */
static void checksum_is_the_same_everywhere(void **state)
{
    (void)state;
    uint8_t bytes[400];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 151 + i / 7);
    for (size_t n = 0; n < 380; n += 3) {
        const uint8_t *p = bytes + n % 9;
        uint32_t whole = crc32c(0, p, n);
        assert_int_equal(whole, crc32c_portable(0, p, n));
        assert_int_equal(whole, crc32c(crc32c(0, p, n / 3), p + n / 3, n - n / 3));
    }
}

static aiki_view make_frame(aiki_writer *w, const char *payload)
{
    uint64_t at = frame_begin(w);
    aiki_mp_raw(w, payload, strlen(payload));
    assert_int_equal(frame_end(w, at, 33, 0x01020304), AIKI_OK);
    return (aiki_view){w->data + at, w->size_bytes - at};
}

static void bytes_are_fixed(void **state)
{
    (void)state;
    uint8_t bytes[128], golden[GOLDEN_BYTES_MAX];
    aiki_writer w;
    struct frame f;
    uint64_t size;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    check_golden("FRAME", make_frame(&w, "hello"), GOLDEN_FRAME);

    assert_int_equal(frame_read(from_hex(GOLDEN_FRAME, golden), &f, &size, NULL), AIKI_OK);
    assert_int_equal(size, FRAME_HEADER_BYTES + 5);
    assert_int_equal(f.type, 33);
    assert_int_equal(f.correlation, 0x01020304);
    assert_view_equal(f.payload, text_view("hello"));
}

/* Two frames that arrive byte by byte come out as the same two frames. */
static void any_split_gives_the_same_frames(void **state)
{
    (void)state;
    uint8_t bytes[128];
    aiki_writer w;
    struct frame f = {.type = 99};
    uint64_t size = 0;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    aiki_view first = make_frame(&w, "first");
    aiki_view second = make_frame(&w, "");

    for (uint64_t n = 0; n < first.size_bytes; n++)
        assert_int_equal(frame_read((aiki_view){bytes, n}, &f, &size, NULL), AIKI_PENDING);
    assert_int_equal(f.type, 99);
    for (uint64_t n = first.size_bytes; n <= w.size_bytes; n++) {
        assert_int_equal(frame_read((aiki_view){bytes, n}, &f, &size, NULL), AIKI_OK);
        assert_int_equal(size, first.size_bytes);
        assert_view_equal(f.payload, text_view("first"));
    }
    assert_int_equal(frame_read(second, &f, &size, NULL), AIKI_OK);
    assert_int_equal(size, FRAME_HEADER_BYTES);
    assert_int_equal(f.payload.size_bytes, 0);
}

/* Every single flipped bit is noticed: broken, or (a larger size) waiting for more. */
static void no_flipped_bit_passes(void **state)
{
    (void)state;
    uint8_t bytes[128];
    aiki_writer w;
    struct frame f;
    uint64_t size;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    (void)make_frame(&w, "some payload to be damaged");
    for (uint64_t bit = 0; bit < w.size_bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_not_equal(frame_read(aiki_writer_view(&w), &f, &size, NULL), AIKI_OK);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(frame_read(aiki_writer_view(&w), &f, &size, NULL), AIKI_OK);
}

/* A peer that speaks something else is cut off at its first 16 bytes. */
static void strangers_are_refused_early(void **state)
{
    (void)state;
    struct frame f;
    uint64_t size;
    aiki_error err = {0};
    assert_int_equal(frame_read(BYTES("GET / HTTP/1.1\r\n"), &f, &size, &err), AIKI_LIMIT);
    assert_non_null(strstr(err.message, "FRAME_BYTES_MAX"));
    assert_int_equal(frame_read(BYTES("\0\0\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0"), &f, &size, &err),
                     AIKI_UNSUPPORTED);
    assert_non_null(strstr(err.message, "reserved"));
}

/* The largest payload passes, one byte more is refused and leaves nothing behind. */
static void size_limit_is_exact(void **state)
{
    (void)state;
    uint64_t room = FRAME_BYTES_MAX + 2 * FRAME_HEADER_BYTES;
    uint8_t *memory = test_calloc(1, room);
    aiki_writer w;
    struct frame f;
    uint64_t size;
    aiki_writer_init_fixed(&w, memory, room);
    uint64_t at = frame_begin(&w);
    (void)aiki_mp_room(&w, FRAME_BYTES_MAX);
    assert_int_equal(frame_end(&w, at, 1, 1), AIKI_OK);
    assert_int_equal(frame_read(aiki_writer_view(&w), &f, &size, NULL), AIKI_OK);

    w.size_bytes = 0;
    at = frame_begin(&w);
    (void)aiki_mp_room(&w, FRAME_BYTES_MAX + 1);
    assert_int_equal(frame_end(&w, at, 1, 1), AIKI_LIMIT);
    assert_int_equal(w.size_bytes, 0);
    test_free(memory);
}

/* A buffer that ran out anywhere in a frame gives up the whole frame. */
static void failed_frames_leave_nothing(void **state)
{
    (void)state;
    uint8_t bytes[24];
    aiki_writer w;
    for (uint64_t room = 0; room < FRAME_HEADER_BYTES + 5; room++) {
        aiki_writer_init_fixed(&w, bytes, room);
        uint64_t at = frame_begin(&w);
        aiki_mp_raw(&w, "hello", 5);
        assert_int_equal(frame_end(&w, at, 1, 1), AIKI_LIMIT);
        assert_int_equal(w.size_bytes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_crc32c),    cmocka_unit_test(checksum_is_the_same_everywhere),
        cmocka_unit_test(bytes_are_fixed),       cmocka_unit_test(any_split_gives_the_same_frames),
        cmocka_unit_test(no_flipped_bit_passes), cmocka_unit_test(strangers_are_refused_early),
        cmocka_unit_test(size_limit_is_exact),   cmocka_unit_test(failed_frames_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
