/* text.h - show things to people: tables, durations, ages, colours. [main thread]
 *
 * On a terminal: aligned columns, the header dim, states coloured (NO_COLOR turns that off).
 * Piped: the same cells separated by tabs, for cut and awk. Control characters in what users
 * wrote never reach a terminal.
 */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

enum { TABLE_COLUMNS_MAX = 12, CELL_BYTES_MAX = 160 };

struct table {
    const char *const *headers;
    unsigned column_count;
    unsigned right_mask; /* bit n: column n is a number, aligned to the right */
    char **cells;        /* owned; row by row */
    size_t cell_count, cell_room;
};

/* headers: NULL-terminated, borrowed until table_print. A column headed STATE is coloured. */
void table_init(struct table *t, const char *const *headers, unsigned right_mask);
/* Cells are added left to right, row after row. Cut at CELL_BYTES_MAX. */
void table_cell(struct table *t, const char *format, ...) AIKI_PRINTF(2, 3);
void table_view(struct table *t, aiki_view text);
/* Prints and frees. With no rows, says `none` to stderr when that is a terminal. */
void table_print(struct table *t, const char *none);

bool out_is_terminal(void);
/* Columns of the terminal; INT_MAX when stdout is none. */
int out_width(void);
/* Escape sequence when stdout is a terminal that wants colour, else "". */
const char *out_bold(void);
const char *out_dim(void);
const char *out_state(aiki_view state);
const char *out_plain(void);

enum { HUMAN_SIZE = 32 };
/* "812us", "12ms", "1.4s", "3m05s", "2h10m", "5d03h" */
const char *human_us(char buffer[HUMAN_SIZE], int64_t us);
/* The same of something measured in whole milliseconds. */
const char *human_ms(char buffer[HUMAN_SIZE], int64_t ms);
/* How long ago. */
const char *human_age(char buffer[HUMAN_SIZE], int64_t at_ms, int64_t now_ms);
/* "07:31:02.114" local time, with the date before it when that is not today. */
const char *human_time(char buffer[HUMAN_SIZE], int64_t at_ms);

/* One msgpack value as JSON on stdout; indent 0 = one line. Ends with a newline. */
aiki_status print_json(aiki_view value, unsigned indent, aiki_error *err);
/* The same as text into the buffer, cut with "..." when longer. */
const char *short_json(aiki_view value, char *buffer, size_t size);
/* Text that users wrote, with control characters replaced, to stdout. */
void print_clean(aiki_view text);

#endif
