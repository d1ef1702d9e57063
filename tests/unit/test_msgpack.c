/* aiki/msgpack.h against msgpack-c as the oracle, and against broken bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include <aiki/msgpack.h>

enum { MEMORY_BYTES = 70000 };
static uint8_t memory[MEMORY_BYTES];

static aiki_writer writer(void)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    return w;
}

static aiki_reader reader_of(const void *data, uint64_t size_bytes)
{
    aiki_view v = {data, size_bytes};
    aiki_reader r;
    aiki_reader_init(&r, v);
    return r;
}

static void assert_same_bytes(const aiki_writer *w, const msgpack_sbuffer *oracle)
{
    assert_int_equal(w->status, AIKI_OK);
    assert_int_equal(w->size_bytes, oracle->size);
    assert_memory_equal(w->data, oracle->data, oracle->size);
}

static const int64_t edges[] = {0,      1,          127,        128,       255,       256,
                                65535,  65536,      4294967295, 4294967296, INT64_MAX, -1,
                                -32,    -33,        -128,       -129,      -32768,    -32769,
                                INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN};

/* Integers take the same shortest form as msgpack-c gives them, and read back. */
static void integers_are_shortest(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        aiki_writer w = writer();
        msgpack_sbuffer oracle;
        msgpack_packer pk;
        aiki_reader r;
        msgpack_sbuffer_init(&oracle);
        msgpack_packer_init(&pk, &oracle, msgpack_sbuffer_write);
        msgpack_pack_int64(&pk, edges[i]);
        aiki_mp_int(&w, edges[i]);
        assert_same_bytes(&w, &oracle);
        msgpack_sbuffer_destroy(&oracle);
        r = reader_of(w.data, w.size_bytes);
        assert_int_equal(aiki_mp_read_int(&r), edges[i]);
        assert_int_equal(r.status, AIKI_OK);
    }
}

/* Sizes of text, bytes and containers at every edge of their headers. */
static void sizes_are_shortest(void **state)
{
    static const uint32_t sizes[] = {0, 15, 16, 31, 32, 255, 256, 65535};
    static char text[65536];
    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        aiki_writer w = writer();
        msgpack_sbuffer oracle;
        msgpack_packer pk;
        aiki_reader r;
        msgpack_sbuffer_init(&oracle);
        msgpack_packer_init(&pk, &oracle, msgpack_sbuffer_write);
        msgpack_pack_str_with_body(&pk, text, sizes[i]);
        msgpack_pack_array(&pk, sizes[i]);
        msgpack_pack_map(&pk, sizes[i]);
        aiki_mp_strn(&w, text, sizes[i]);
        aiki_mp_array(&w, sizes[i]);
        aiki_mp_map(&w, sizes[i]);
        assert_same_bytes(&w, &oracle);
        msgpack_sbuffer_clear(&oracle);
        w = writer();
        msgpack_pack_bin_with_body(&pk, text, sizes[i]);
        aiki_mp_bin(&w, text, sizes[i]);
        assert_same_bytes(&w, &oracle);
        r = reader_of(w.data, w.size_bytes);
        assert_int_equal(aiki_mp_read_bin(&r).size_bytes, sizes[i]);
        msgpack_sbuffer_destroy(&oracle);
    }
}

static void write_everything(aiki_writer *w)
{
    aiki_mp_map(w, 4);
    aiki_mp_str(w, "numbers");
    aiki_mp_array(w, 4);
    aiki_mp_uint(w, UINT64_MAX);
    aiki_mp_int(w, INT64_MIN);
    aiki_mp_double(w, 2.5);
    aiki_mp_bool(w, true);
    aiki_mp_str(w, "none");
    aiki_mp_str(w, NULL);
    aiki_mp_str(w, "bytes");
    aiki_mp_bin(w, "\0\1\2", 3);
    aiki_mp_str(w, "ext");
    aiki_mp_raw(w, "\xd6\x05test", 6);
}

/* What msgpack-c reads from our bytes is what was written. */
static void oracle_reads_what_we_write(void **state)
{
    aiki_writer w = writer();
    msgpack_unpacked u;
    (void)state;
    write_everything(&w);
    msgpack_unpacked_init(&u);
    assert_int_equal(msgpack_unpack_next(&u, (const char *)w.data, w.size_bytes, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(u.data.via.map.size, 4);
    assert_true(u.data.via.map.ptr[0].val.via.array.ptr[0].via.u64 == UINT64_MAX);
    assert_true(u.data.via.map.ptr[0].val.via.array.ptr[1].via.i64 == INT64_MIN);
    assert_int_equal(u.data.via.map.ptr[1].val.type, MSGPACK_OBJECT_NIL);
    assert_int_equal(u.data.via.map.ptr[2].val.via.bin.size, 3);
    assert_int_equal(u.data.via.map.ptr[3].val.via.ext.type, 5);
    msgpack_unpacked_destroy(&u);
}

/* Every cut of a value is CORRUPT for check, and reading the cut never leaves its bytes. */
static void every_truncation_is_corrupt(void **state)
{
    aiki_writer w = writer();
    (void)state;
    write_everything(&w);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
    for (uint64_t size = 0; size < w.size_bytes; size++) {
        uint8_t *cut = malloc(size + (size == 0));
        aiki_view v = {cut, size};
        assert_non_null(cut);
        memcpy(cut, w.data, size);
        assert_int_equal(aiki_mp_check(v), AIKI_CORRUPT);
        free(cut);
    }
}

/* Any three bytes are read to an end without leaving them, and msgpack-c agrees on which of them
 * are a value. (Every 31st: all first bytes meet many second ones.) */
static void any_three_bytes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1u << 24; i += 31) {
        uint8_t bytes[3] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        aiki_view v = {bytes, sizeof(bytes)};
        msgpack_unpacked u;
        size_t at = 0;
        bool is_value;
        msgpack_unpacked_init(&u);
        is_value = msgpack_unpack_next(&u, (const char *)bytes, sizeof(bytes), &at) ==
                       MSGPACK_UNPACK_SUCCESS &&
                   at == sizeof(bytes);
        msgpack_unpacked_destroy(&u);
        if ((aiki_mp_check(v) == AIKI_OK) != is_value)
            fail_msg("%02x %02x %02x: check answers %d", bytes[0], bytes[1], bytes[2],
                     aiki_mp_check(v));
    }
}

/* A count beyond the bytes that are left is refused before anybody allocates for it. */
static void lying_counts_are_corrupt(void **state)
{
    static const char *const lies[] = {"\xdd\xff\xff\xff\xff", "\xdf\x7f\xff\xff\xff", "\x93\x01",
                                       "\x82\x01\x02\x03", "\xdb\xff\xff\xff\xff", "\xc1"};
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        aiki_reader r = reader_of(lies[i], strlen(lies[i]));
        assert_int_equal(aiki_mp_skip(&r), AIKI_CORRUPT);
    }
}

/* Depth at the limit passes, one more is LIMIT. */
static void depth_has_a_limit(void **state)
{
    uint8_t nested[AIKI_MP_DEPTH_MAX + 1];
    aiki_view v = {nested, AIKI_MP_DEPTH_MAX};
    (void)state;
    memset(nested, 0x91, sizeof(nested));
    nested[AIKI_MP_DEPTH_MAX - 1] = 0xc0;
    assert_int_equal(aiki_mp_check(v), AIKI_OK);
    nested[AIKI_MP_DEPTH_MAX - 1] = 0x91;
    nested[AIKI_MP_DEPTH_MAX] = 0xc0;
    v.size_bytes++;
    assert_int_equal(aiki_mp_check(v), AIKI_LIMIT);
}

/* The first failure of a fixed writer sticks; nothing is written after it. */
static void overflow_sticks(void **state)
{
    uint8_t small[4];
    aiki_writer w;
    (void)state;
    aiki_writer_init_fixed(&w, small, sizeof(small));
    aiki_mp_str(&w, "abc");
    assert_int_equal(w.status, AIKI_OK);
    aiki_mp_uint(&w, 1);
    assert_int_equal(w.status, AIKI_LIMIT);
    aiki_mp_nil(&w);
    assert_int_equal(w.size_bytes, 4);
    assert_int_equal(w.status, AIKI_LIMIT);
}

/* A wrong type makes typed reads CORRUPT and answer zero; nil reads as an empty text. */
static void typed_reads_refuse_other_types(void **state)
{
    aiki_reader r = reader_of("\xa1x\x05", 3);
    (void)state;
    assert_int_equal(aiki_mp_read_uint(&r), 0);
    assert_int_equal(r.status, AIKI_CORRUPT);
    assert_int_equal(aiki_mp_read_uint(&r), 0);
    r = reader_of("\xc0", 1);
    assert_int_equal(aiki_mp_read_str(&r).size_bytes, 0);
    assert_int_equal(r.status, AIKI_OK);
    r = reader_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(aiki_mp_read_int(&r), 0);
    assert_int_equal(r.status, AIKI_CORRUPT);
    r = reader_of("\xff", 1);
    assert_int_equal(aiki_mp_read_uint(&r), 0);
    assert_int_equal(r.status, AIKI_CORRUPT);
}

/* What msgpack-c writes, single precision and every kind of extension included, is read. */
static void reads_what_the_oracle_writes(void **state)
{
    static const uint32_t ext_sizes[] = {1, 2, 4, 8, 16, 3, 300};
    static const char body[300];
    msgpack_sbuffer oracle;
    msgpack_packer pk;
    aiki_reader r;
    aiki_mp_item item;
    (void)state;
    msgpack_sbuffer_init(&oracle);
    msgpack_packer_init(&pk, &oracle, msgpack_sbuffer_write);
    msgpack_pack_float(&pk, -0.5f);
    for (size_t i = 0; i < sizeof(ext_sizes) / sizeof(ext_sizes[0]); i++)
        msgpack_pack_ext_with_body(&pk, body, ext_sizes[i], -1);
    r = reader_of(oracle.data, oracle.size);
    assert_true(aiki_mp_next(&r, &item));
    assert_int_equal(item.type, AIKI_MP_DOUBLE);
    assert_true(item.as.d == -0.5);
    for (size_t i = 0; i < sizeof(ext_sizes) / sizeof(ext_sizes[0]); i++) {
        assert_true(aiki_mp_next(&r, &item));
        assert_int_equal(item.type, AIKI_MP_EXT);
        assert_int_equal(item.ext_type, -1);
        assert_int_equal(item.bytes.size_bytes, ext_sizes[i]);
    }
    assert_false(aiki_mp_next(&r, &item));
    assert_int_equal(item.type, AIKI_MP_END);
    assert_int_equal(r.status, AIKI_OK);
    msgpack_sbuffer_destroy(&oracle);
}

/* A value of one node too many is LIMIT, and the reader stays refused. */
static void nodes_have_a_limit(void **state)
{
    const uint64_t size = 5 + (uint64_t)AIKI_MP_NODES_MAX;
    uint8_t *bytes = malloc(size);
    aiki_view v = {bytes, size - 1};
    aiki_writer w;
    (void)state;
    assert_non_null(bytes);
    memset(bytes, 0xc0, size);
    aiki_writer_init_fixed(&w, bytes, size);
    aiki_mp_array(&w, AIKI_MP_NODES_MAX - 1); /* the list itself is a node */
    assert_int_equal(aiki_mp_check(v), AIKI_OK);
    w.size_bytes = 0;
    aiki_mp_array(&w, AIKI_MP_NODES_MAX);
    v.size_bytes = size;
    assert_int_equal(aiki_mp_check(v), AIKI_LIMIT);
    free(bytes);
}

/* Peek looks, value steps over one whole value, and trailing bytes are no part of it. */
static void values_are_taken_whole(void **state)
{
    aiki_writer w = writer();
    aiki_mp_item item;
    aiki_reader r;
    aiki_view v;
    uint64_t size;
    (void)state;
    write_everything(&w);
    size = w.size_bytes;
    aiki_mp_bool(&w, false);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_CORRUPT);
    r = reader_of(w.data, w.size_bytes);
    assert_true(aiki_mp_peek(&r, &item));
    assert_int_equal(item.type, AIKI_MP_MAP);
    v = aiki_mp_value(&r);
    assert_ptr_equal(v.data, w.data);
    assert_int_equal(v.size_bytes, size);
    assert_false(aiki_mp_read_bool(&r));
    assert_int_equal(aiki_reader_left(&r), 0);
    assert_int_equal(aiki_mp_value(&r).size_bytes, 0);
    assert_int_equal(r.status, AIKI_CORRUPT);
}

static bool grow_once(aiki_writer *w, uint64_t capacity_min_bytes)
{
    uint64_t *left = w->arg;
    if (capacity_min_bytes > *left)
        return false;
    w->capacity_bytes = *left;
    return true;
}

/* A growing writer asks for room when it needs it; refused, it is NOMEM for good. */
static void growth_is_asked_for(void **state)
{
    uint64_t left = 8;
    aiki_writer w = writer();
    (void)state;
    w.capacity_bytes = 2;
    w.grow = grow_once;
    w.arg = &left;
    aiki_mp_str(&w, "abc");
    assert_int_equal(w.status, AIKI_OK);
    assert_int_equal(w.capacity_bytes, 8);
    aiki_mp_str(&w, "abcd");
    assert_int_equal(w.status, AIKI_NOMEM);
    aiki_mp_nil(&w);
    assert_int_equal(w.status, AIKI_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_shortest),
        cmocka_unit_test(sizes_are_shortest),
        cmocka_unit_test(oracle_reads_what_we_write),
        cmocka_unit_test(every_truncation_is_corrupt),
        cmocka_unit_test(any_three_bytes),
        cmocka_unit_test(lying_counts_are_corrupt),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(overflow_sticks),
        cmocka_unit_test(typed_reads_refuse_other_types),
        cmocka_unit_test(reads_what_the_oracle_writes),
        cmocka_unit_test(nodes_have_a_limit),
        cmocka_unit_test(values_are_taken_whole),
        cmocka_unit_test(growth_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
