/* id.c - make, print and read time-ordered ids.
 *
 *   byte  0        6                        16
 *         | ms BE  | random                 |   text: 26 digits of 5 bits, the first of 3
 */
#include "wire/id.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "wire/error.h"
#include "wire/hash.h"

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

bool id_is_zero(const struct aiki_id *id)
{
    static const struct aiki_id zero;
    return id_equal(id, &zero);
}

bool id_equal(const struct aiki_id *a, const struct aiki_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

int id_compare(const struct aiki_id *a, const struct aiki_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

uint64_t id_hash(const struct aiki_id *id)
{
    uint64_t h = aiki_mp_be_read_(id->bytes, 8) ^ aiki_mp_be_read_(id->bytes + 8, 8);

    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}

struct aiki_id id_make(int64_t at_ms, const uint8_t random[10])
{
    struct aiki_id id;
    aiki_mp_be_(id.bytes, (uint64_t)at_ms, 6);
    memcpy(id.bytes + 6, random, 10);
    return id;
}

/* The next id up: what follows within one millisecond, or while the clock stands behind. */
static void increment(struct aiki_id *id)
{
    for (int i = 15; i >= 0 && ++id->bytes[i] == 0; i--)
        ;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct aiki_id id_new(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct aiki_id last;
    uint8_t random[10];

    hash_setup();
    (void)pthread_mutex_lock(&lock);
    int64_t now_ms = wall_ms();
    if (now_ms > id_at_ms(&last)) {
        randombytes_buf(random, sizeof(random));
        last = id_make(now_ms, random);
    } else {
        increment(&last);
    }
    struct aiki_id id = last;
    (void)pthread_mutex_unlock(&lock);
    return id;
}

int64_t id_at_ms(const struct aiki_id *id)
{
    return (int64_t)aiki_mp_be_read_(id->bytes, 6);
}

void id_text(const struct aiki_id *id, char ret_text[AIKI_ID_TEXT_SIZE])
{
    uint64_t high = aiki_mp_be_read_(id->bytes, 8), low = aiki_mp_be_read_(id->bytes + 8, 8);
    for (int i = AIKI_ID_TEXT_SIZE - 2; i >= 0; i--) {
        ret_text[i] = digits[low & 31u];
        low = (low >> 5) | (high << 59);
        high >>= 5;
    }
    ret_text[AIKI_ID_TEXT_SIZE - 1] = '\0';
}

/* Value of a digit; 32 when it is none. */
static unsigned digit_value(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'O')
        return 0;
    if (c == 'I' || c == 'L')
        return 1;
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (unsigned)(at - digits) : 32;
}

aiki_status id_parse(const char *text, size_t size_bytes, struct aiki_id *ret_id, aiki_error *err)
{
    uint64_t high = 0, low = 0;
    bool good = size_bytes == AIKI_ID_TEXT_SIZE - 1 && digit_value(text[0]) < 8;
    for (size_t i = 0; good && i < size_bytes; i++) {
        unsigned value = digit_value(text[i]);
        good = value < 32;
        high = (high << 5) | (low >> 59);
        low = (low << 5) | (value & 31u);
    }
    if (!good) {
        int shown = (int)(size_bytes < 64 ? size_bytes : 64);
        return error_set(err, AIKI_INVALID,
                         "\"%.*s\" is not an id; expected 26 letters and digits such as "
                         "01JD2V7Q8X3M5N7P9R1S3T5V7W",
                         shown, text);
    }
    aiki_mp_be_(ret_id->bytes, high, 8);
    aiki_mp_be_(ret_id->bytes + 8, low, 8);
    return AIKI_OK;
}
