/* lines.c - see lines.h. */
#include "child/lines.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/lines.h"

static struct {
    const struct lines_row *rows; /* NULL: there are none */
    const uint32_t *names_at;
    const char *names;
    uint32_t row_count, file_count;
    uint64_t names_bytes;
} lines;

/* Sizes that fit each other, and a NUL at the end of it all: then no look-up leaves the file. */
static void take(const uint8_t *file, uint64_t size_bytes)
{
    struct lines_head head;
    if (size_bytes <= sizeof(head))
        return;
    memcpy(&head, file, sizeof(head));
    uint64_t rows_bytes = head.row_count * (uint64_t)sizeof(struct lines_row);
    uint64_t files_bytes = head.file_count * (uint64_t)sizeof(uint32_t);
    if (!lines_fit(&head, size_bytes) || file[size_bytes - 1] != '\0')
        return;
    lines.names_at = (const uint32_t *)(const void *)(file + sizeof(head) + rows_bytes);
    lines.names = (const char *)file + sizeof(head) + rows_bytes + files_bytes;
    lines.names_bytes = head.names_bytes;
    lines.row_count = head.row_count;
    lines.file_count = head.file_count;
    lines.rows = (const struct lines_row *)(const void *)(file + sizeof(head));
}

void lines_open(const char *copy)
{
    char path[PATH_MAX];
    struct stat about;
    if (!lines_path(copy, path, sizeof(path)))
        return;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &about) != 0 || about.st_size <= 0 || about.st_size > LINES_FILE_BYTES_MAX)
        return;
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        take(map, (uint64_t)about.st_size);
}

const char *lines_find(uint64_t address, uint32_t *ret_line)
{
    uint32_t low = 0, high = lines.rows != NULL ? lines.row_count : 0;
    while (low < high) { /* the first row behind it */
        uint32_t middle = low + (high - low) / 2;
        if (lines.rows[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct lines_row row = lines.rows[low - 1];
    if (row.line == 0 || row.file >= lines.file_count || lines.names_at[row.file] >= lines.names_bytes)
        return NULL;
    *ret_line = row.line;
    return lines.names + lines.names_at[row.file];
}
