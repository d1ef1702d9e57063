/* golden.h - bytes as hex text, for comparing with what releases have written. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <aiki/msgpack.h>

enum { GOLDEN_BYTES_MAX = 1024 };

static inline unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Lower-case hex to bytes in `memory`. */
static inline aiki_view from_hex(const char *hex, uint8_t memory[GOLDEN_BYTES_MAX])
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= GOLDEN_BYTES_MAX && strlen(hex) % 2 == 0);
    for (size_t i = 0; i < n; i++)
        memory[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return (aiki_view){memory, n};
}

/* Prints the line for golden_wire.h when the bytes are others. */
static inline void check_golden(const char *name, aiki_view bytes, const char *expected_hex)
{
    char hex[2 * GOLDEN_BYTES_MAX + 1] = "";
    assert_true(bytes.size_bytes <= GOLDEN_BYTES_MAX);
    for (uint64_t i = 0; i < bytes.size_bytes; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", bytes.data[i]);
    if (strcmp(hex, expected_hex) != 0)
        fail_msg("bytes differ from the release's; now:\n#define GOLDEN_%s \"%s\"", name, hex);
}

/* Text as a view; sizes of literals with NULs come from BYTES. */
static inline aiki_view text_view(const char *text)
{
    return (aiki_view){(const uint8_t *)text, strlen(text)};
}
#define BYTES(literal) ((aiki_view){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline void assert_view_equal(aiki_view found, aiki_view expected)
{
    assert_int_equal(found.size_bytes, expected.size_bytes);
    if (expected.size_bytes > 0)
        assert_memory_equal(found.data, expected.data, expected.size_bytes);
}

#endif
