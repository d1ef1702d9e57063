/* nearest.c - see nearest.h.
 *
 * How many letters are to be inserted, removed, replaced, or exchanged with their neighbour, to make one name out
 * of the other: row by row of the table of all their beginnings.
 */
#include "child/nearest.h"

#include <string.h>

#include "wire/keys.h"

enum {
    LETTERS_A_MISTAKE = 4, /* a shorter name is near nothing: too many are as near */
    MISTAKES_MAX = 2
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t distance(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    uint32_t rows[3][NAME_BYTES_MAX + 1] = {{0}}; /* the present one, and two before it */

    for (size_t k = 0; k <= b_size; k++)
        rows[0][k] = (uint32_t)k;
    for (size_t i = 1; i <= a_size; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = (uint32_t)i;
        for (size_t k = 1; k <= b_size; k++) {
            row[k] = least(least(above[k], row[k - 1]) + 1, above[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], two_above[k - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}

struct nearest nearest_begin(aiki_view name)
{
    uint64_t mistakes = name.size_bytes <= NAME_BYTES_MAX ? name.size_bytes / LETTERS_A_MISTAKE : 0;

    return (struct nearest){.name = name, .distance = least((uint32_t)mistakes, MISTAKES_MAX) + 1};
}

void nearest_try(struct nearest *n, const char *candidate)
{
    size_t size = strnlen(candidate, NAME_BYTES_MAX + 1);

    if (n->distance <= 1 || size > NAME_BYTES_MAX)
        return;
    uint32_t d = distance(n->name.data, (size_t)n->name.size_bytes, (const uint8_t *)candidate, size);
    if (d >= n->distance)
        return;
    n->distance = d;
    n->found = candidate;
}
