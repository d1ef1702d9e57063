/* version.c - parse and order semantic versions (semver.org 2.0.0, sections 2, 9 and 11). */
#include "wire/version.h"

#include <string.h>

struct version {
    uint32_t number[3];
    aiki_view prerelease; /* empty: a release */
};

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool parse_number(const uint8_t **at, const uint8_t *end, uint32_t *ret)
{
    const uint8_t *begin = *at;
    uint64_t value = 0;
    for (; *at < end && is_digit(**at); (*at)++) {
        value = value * 10 + (uint64_t)(**at - '0');
        if (value > UINT32_MAX)
            return false;
    }
    *ret = (uint32_t)value;
    return *at > begin && (*begin != '0' || *at == begin + 1);
}

/* Cut the next dot-parted word off. */
static aiki_view next_word(aiki_view *rest)
{
    aiki_view word = *rest;
    const uint8_t *dot =
        rest->size_bytes > 0 ? memchr(rest->data, '.', rest->size_bytes) : NULL;
    if (dot != NULL)
        word.size_bytes = (uint64_t)(dot - rest->data);
    rest->data += dot != NULL ? word.size_bytes + 1 : word.size_bytes;
    rest->size_bytes -= dot != NULL ? word.size_bytes + 1 : word.size_bytes;
    return word;
}

static bool word_is_number(aiki_view word)
{
    uint64_t i;
    for (i = 0; i < word.size_bytes; i++)
        if (!is_digit(word.data[i]))
            return false;
    return word.size_bytes > 0;
}

static bool word_is_valid(aiki_view word)
{
    uint64_t i;
    for (i = 0; i < word.size_bytes; i++) {
        uint8_t c = word.data[i];
        if (!is_digit(c) && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '-')
            return false;
    }
    return word.size_bytes > 0 &&
           !(word_is_number(word) && word.data[0] == '0' && word.size_bytes > 1);
}

static bool prerelease_is_valid(aiki_view rest)
{
    /* A dot at the end would leave nothing to look at. */
    if (rest.size_bytes == 0 || rest.data[rest.size_bytes - 1] == '.')
        return false;
    while (rest.size_bytes > 0)
        if (!word_is_valid(next_word(&rest)))
            return false;
    return true;
}

static bool parse(aiki_view text, struct version *ret)
{
    const uint8_t *at = text.data, *end;
    unsigned i;
    memset(ret, 0, sizeof(*ret));
    if (text.size_bytes == 0 || text.size_bytes > VERSION_BYTES_MAX)
        return false;
    end = text.data + text.size_bytes;
    for (i = 0; i < 3; i++) {
        if (i > 0 && (at == end || *at++ != '.'))
            return false;
        if (!parse_number(&at, end, &ret->number[i]))
            return false;
    }
    if (at == end)
        return true;
    if (*at++ != '-')
        return false;
    ret->prerelease.data = at;
    ret->prerelease.size_bytes = (uint64_t)(end - at);
    return prerelease_is_valid(ret->prerelease);
}

/* Numbers by value and before words; words by ASCII. */
static int compare_word(aiki_view a, aiki_view b)
{
    bool a_number = word_is_number(a), b_number = word_is_number(b);
    uint64_t n = a.size_bytes < b.size_bytes ? a.size_bytes : b.size_bytes;
    int order;
    if (a_number != b_number)
        return a_number ? -1 : 1;
    if (a_number && a.size_bytes != b.size_bytes) /* no leading zeros: longer is larger */
        return a.size_bytes < b.size_bytes ? -1 : 1;
    order = memcmp(a.data, b.data, n);
    return order != 0 ? order : (a.size_bytes > b.size_bytes) - (a.size_bytes < b.size_bytes);
}

static int compare_prerelease(aiki_view a, aiki_view b)
{
    if (a.size_bytes == 0 || b.size_bytes == 0) /* a release comes after its prereleases */
        return (a.size_bytes == 0) - (b.size_bytes == 0);
    while (a.size_bytes > 0 && b.size_bytes > 0) {
        int order = compare_word(next_word(&a), next_word(&b));
        if (order != 0)
            return order;
    }
    return (a.size_bytes > 0) - (b.size_bytes > 0);
}

bool version_is_valid(aiki_view version)
{
    struct version v;
    return parse(version, &v);
}

int version_compare(aiki_view a, aiki_view b)
{
    struct version x, y;
    bool x_valid = parse(a, &x), y_valid = parse(b, &y);
    unsigned i;
    if (!x_valid || !y_valid)
        return (int)x_valid - (int)y_valid;
    for (i = 0; i < 3; i++)
        if (x.number[i] != y.number[i])
            return x.number[i] < y.number[i] ? -1 : 1;
    return compare_prerelease(x.prerelease, y.prerelease);
}
