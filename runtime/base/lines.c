/* lines.c - see lines.h. */
#include "base/lines.h"

#include <stdio.h>
#include <string.h>

bool lines_fit(const struct lines_head *head, uint64_t size_bytes)
{
    uint64_t rows_bytes = head->row_count * (uint64_t)sizeof(struct lines_row);
    uint64_t files_bytes = head->file_count * (uint64_t)sizeof(uint32_t);
    return memcmp(head->magic, LINES_MAGIC, sizeof(head->magic)) == 0 && head->names_bytes > 0 &&
           head->names_bytes <= size_bytes &&
           size_bytes == sizeof(*head) + rows_bytes + files_bytes + head->names_bytes;
}

bool lines_path(const char *copy, char *ret, size_t size_bytes)
{
    const char *name = strrchr(copy, '/'), *dot = name != NULL ? strchr(name, '.') : NULL;
    int size = dot != NULL ? snprintf(ret, size_bytes, "%.*s.lines", (int)(dot - copy), copy) : -1;
    return size > 0 && (size_t)size < size_bytes;
}
