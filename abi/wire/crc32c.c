/* crc32c.c - the Castagnoli checksum of frames (RFC 3720 B.4), by instruction where there is one.
 *
 * x86-64 and aarch64 do 8 bytes in one instruction; the choice is made at run time so that one
 * build serves every machine. Elsewhere eight tables ("slicing by 8") do the same.
 */
#include <endian.h>
#include <pthread.h>
#include <string.h>

#include "wire/frame.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reversed */

static uint32_t table[8][256];

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (POLYNOMIAL & (0u - (crc & 1u)));
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < 8; slice++)
            table[slice][i] = (table[slice - 1][i] >> 8) ^ table[0][table[slice - 1][i] & 0xff];
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size_bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *p = data;
    (void)pthread_once(&once, fill_table); /* fails only for a bad control object */

    crc = ~crc;
    for (; size_bytes >= 8; size_bytes -= 8, p += 8) {
        uint64_t v = le64toh(load64(p)) ^ crc;
        crc = table[7][v & 0xff] ^ table[6][(v >> 8) & 0xff] ^ table[5][(v >> 16) & 0xff] ^
              table[4][(v >> 24) & 0xff] ^ table[3][(v >> 32) & 0xff] ^ table[2][(v >> 40) & 0xff] ^
              table[1][(v >> 48) & 0xff] ^ table[0][v >> 56];
    }
    for (; size_bytes > 0; size_bytes--, p++)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

static bool have_instruction(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t start, const uint8_t *p,
                                                                 size_t size_bytes)
{
    uint64_t crc = ~start;
    for (; size_bytes >= 8; size_bytes -= 8, p += 8)
        crc = __builtin_ia32_crc32di(crc, load64(p));
    uint32_t rest = (uint32_t)crc;
    for (; size_bytes > 0; size_bytes--, p++)
        rest = __builtin_ia32_crc32qi(rest, *p);
    return ~rest;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)

#include <stdatomic.h>
#include <sys/auxv.h>

static bool have_instruction(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known = UNKNOWN; /* every thread finds the same answer */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        answer = (getauxval(AT_HWCAP) & (1ul << 7)) != 0 ? YES : NO; /* HWCAP_CRC32 */
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}

/* Assembly because <arm_acle.h> hides these unless the whole build is for such a CPU. */
static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t size_bytes)
{
    crc = ~crc;
    for (; size_bytes >= 8; size_bytes -= 8, p += 8)
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(load64(p)));
    for (; size_bytes > 0; size_bytes--, p++)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p));
    return ~crc;
}

#else

static bool have_instruction(void)
{
    return false;
}
#define by_instruction crc32c_portable

#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    return have_instruction() ? by_instruction(crc, data, size_bytes)
                              : crc32c_portable(crc, data, size_bytes);
}
