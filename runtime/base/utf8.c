/* utf8.c - is this text? */
#include "base/utf8.h"

unsigned utf8_size(const uint8_t *s, uint64_t left)
{
    if (left == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    unsigned size = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < size)
        return 0;
    for (unsigned i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool is_surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool is_beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return is_overlong || is_surrogate || is_beyond ? 0 : size;
}

bool utf8_is_valid(aiki_view text)
{
    for (uint64_t i = 0; i < text.size_bytes;) {
        unsigned size = utf8_size(text.data + i, text.size_bytes - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}
