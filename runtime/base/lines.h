/* base/lines.h - the file that says which source line an address of a plugin belongs to. [any]
 *
 *   DIR/BUILD.lines, beside the copies DIR/BUILD.N.so      written by aiki-lines (runtime/lines), once a build
 *
 *   head | rows, by address | offset of each file's name | names, each with a NUL
 *
 * In the byte order of the machine, which it never leaves. It is kept with its build (intake/keep.h). Readers believe no
 * number in it. Limits: LINES_FILE_BYTES_MAX, LINES_NAME_BYTES_MAX; a plugin with more has no lines.
 */
#ifndef BASE_LINES_H
#define BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_MAGIC "aikiln1"

enum { LINES_FILE_BYTES_MAX = 64 * 1024 * 1024, LINES_NAME_BYTES_MAX = 96 };

struct lines_head {
    char magic[8];
    uint32_t row_count, file_count;
    uint64_t names_bytes;
};

/* From address (in the file's image) up to the next row's. */
struct lines_row {
    uint64_t address;
    uint32_t file, line; /* line 0: nothing is known from here on */
};

/* A file of that size that begins like this is whole. */
bool lines_fit(const struct lines_head *head, uint64_t size_bytes);
/* "DIR/BUILD.lines" for "DIR/BUILD.N.so". False: it has another form, or there is no room. */
bool lines_path(const char *copy, char *ret, size_t size_bytes);

#endif
