/* percent.c - percent-encoded text of URLs. */
#include "base/percent.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(const char *from, size_t size_bytes, char *ret_text, size_t capacity_bytes)
{
    size_t out = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        char byte = from[i];
        if (byte == '%') {
            int high = i + 2 < size_bytes ? hex_digit(from[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(from[i + 2]) : -1;
            if (low < 0)
                return false;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (byte == '\0' || out + 1 >= capacity_bytes)
            return false;
        ret_text[out++] = byte;
    }
    ret_text[out] = '\0';
    return true;
}
