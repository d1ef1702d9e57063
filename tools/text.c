/* text.c - see text.h. */
#include "text.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

/* ---- terminal ----------------------------------------------------------------------------- */

bool out_is_terminal(void)
{
    static int known = -1;
    if (known < 0)
        known = isatty(STDOUT_FILENO);
    return known == 1;
}

int out_width(void)
{
    struct winsize size = {.ws_col = 0};
    if (!out_is_terminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return INT_MAX;
    return size.ws_col;
}

static const char *colour(const char *sequence)
{
    const char *no = getenv("NO_COLOR");
    return out_is_terminal() && (no == NULL || no[0] == '\0') ? sequence : "";
}

const char *out_bold(void)
{
    return colour("\033[1m");
}
const char *out_dim(void)
{
    return colour("\033[2m");
}
const char *out_plain(void)
{
    return colour("\033[0m");
}

const char *out_state(aiki_view state)
{
    static const struct {
        const char *state, *sequence;
    } colours[] = {{"completed", "\033[32m"}, {"failed", "\033[31m"},     {"timed_out", "\033[31m"},
                   {"blocked", "\033[33m"},   {"stalled", "\033[33m"},    {"cancelled", "\033[35m"},
                   {"running", "\033[36m"},   {"terminated", "\033[35m"}, {"paused", "\033[33m"},
                   {"cancelling", "\033[35m"}};
    for (size_t i = 0; i < ARRAY_COUNT(colours); i++)
        if (view_is(state, colours[i].state))
            return colour(colours[i].sequence);
    return "";
}

/* C0, DEL and the bytes that begin a C1 sequence in UTF-8; tabs would shift columns. */
static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
            *p = ' ';
}

void print_clean(aiki_view text)
{
    AUTO(free) char *copy = view_dup(text);
    if (copy == NULL)
        return;
    clean(copy);
    fputs(copy, stdout);
}

/* ---- tables ------------------------------------------------------------------------------- */

void table_init(struct table *t, const char *const *headers, unsigned right_mask)
{
    *t = (struct table){.headers = headers, .right_mask = right_mask};
    while (headers[t->column_count] != NULL)
        t->column_count++;
}

static void add_cell(struct table *t, char *owned)
{
    if (t->cell_count == t->cell_room) {
        size_t room = t->cell_room == 0 ? 256 : 2 * t->cell_room;
        char **grown = realloc(t->cells, room * sizeof(*grown));
        if (grown == NULL) {
            fputs("aiki: NOMEM: out of memory\n", stderr);
            exit(1);
        }
        t->cells = grown;
        t->cell_room = room;
    }
    t->cells[t->cell_count++] = owned;
}

void table_cell(struct table *t, const char *format, ...)
{
    char text[CELL_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean(text);
    add_cell(t, strdup(text));
}

void table_view(struct table *t, aiki_view text)
{
    table_cell(t, "%.*s", text.size_bytes > CELL_BYTES_MAX ? CELL_BYTES_MAX : (int)text.size_bytes,
               text.data != NULL ? (const char *)text.data : "");
}

/* Columns a text takes: code points, which is right for everything but wide scripts. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static const char *cell_at(const struct table *t, size_t i)
{
    return t->cells[i] != NULL ? t->cells[i] : "";
}

static void print_cell(const struct table *t, unsigned column, const char *text, int width,
                       const char *sequence)
{
    int padding = width - width_of(text);
    bool right = (t->right_mask >> column & 1u) != 0;
    bool last = column + 1 == t->column_count;
    printf("%*s%s%s%s%*s%s", right ? padding : 0, "", sequence, text,
           sequence[0] != '\0' ? out_plain() : "", right || last ? 0 : padding, "",
           last ? "\n" : "  ");
}

static void print_aligned(const struct table *t)
{
    int widths[TABLE_COLUMNS_MAX] = {0};
    for (unsigned c = 0; c < t->column_count; c++)
        widths[c] = width_of(t->headers[c]);
    for (size_t i = 0; i < t->cell_count; i++) {
        int width = width_of(cell_at(t, i));
        if (width > widths[i % t->column_count])
            widths[i % t->column_count] = width;
    }
    for (unsigned c = 0; c < t->column_count; c++)
        print_cell(t, c, t->headers[c], widths[c], out_dim());
    for (size_t i = 0; i < t->cell_count; i++) {
        unsigned c = (unsigned)(i % t->column_count);
        const char *text = cell_at(t, i);
        bool is_state = strcmp(t->headers[c], "STATE") == 0;
        print_cell(t, c, text, widths[c], is_state ? out_state(view_of(text)) : "");
    }
}

static void print_tabbed(const struct table *t)
{
    for (unsigned c = 0; c < t->column_count; c++)
        printf("%s%c", t->headers[c], c + 1 == t->column_count ? '\n' : '\t');
    for (size_t i = 0; i < t->cell_count; i++)
        printf("%s%c", cell_at(t, i), (i + 1) % t->column_count == 0 ? '\n' : '\t');
}

void table_print(struct table *t, const char *none)
{
    if (t->cell_count == 0 && out_is_terminal())
        fprintf(stderr, "%s\n", none);
    else if (out_is_terminal())
        print_aligned(t);
    else
        print_tabbed(t);
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){.headers = t->headers};
}

/* ---- time --------------------------------------------------------------------------------- */

const char *human_us(char buffer[HUMAN_SIZE], int64_t us)
{
    int64_t s = us / 1000000;
    if (us < 0)
        us = 0;
    if (us < 1000)
        snprintf(buffer, HUMAN_SIZE, "%lldus", (long long)us);
    else if (us < 10000)
        snprintf(buffer, HUMAN_SIZE, "%.1fms", (double)us / 1e3);
    else if (us < 1000000)
        snprintf(buffer, HUMAN_SIZE, "%lldms", (long long)(us / 1000));
    else if (s < 60)
        snprintf(buffer, HUMAN_SIZE, "%.1fs", (double)us / 1e6);
    else if (s < 3600)
        snprintf(buffer, HUMAN_SIZE, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    else if (s < 86400)
        snprintf(buffer, HUMAN_SIZE, "%lldh%02lldm", (long long)(s / 3600),
                 (long long)(s % 3600 / 60));
    else
        snprintf(buffer, HUMAN_SIZE, "%lldd%02lldh", (long long)(s / 86400),
                 (long long)(s % 86400 / 3600));
    return buffer;
}

const char *human_ms(char buffer[HUMAN_SIZE], int64_t ms)
{
    if (ms >= 1000)
        return human_us(buffer, ms * 1000);
    snprintf(buffer, HUMAN_SIZE, "%lldms", (long long)(ms > 0 ? ms : 0));
    return buffer;
}

const char *human_age(char buffer[HUMAN_SIZE], int64_t at_ms, int64_t now_ms)
{
    int64_t age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    if (at_ms <= 0)
        snprintf(buffer, HUMAN_SIZE, "-");
    else
        (void)human_ms(buffer, age_ms);
    return buffer;
}

const char *human_time(char buffer[HUMAN_SIZE], int64_t at_ms)
{
    time_t at = (time_t)(at_ms / 1000), now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm, today;
    localtime_r(&at, &tm);
    localtime_r(&now, &today);
    bool same_day = tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year;
    size_t n = strftime(buffer, HUMAN_SIZE, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(buffer + n, HUMAN_SIZE - n, ".%03d", (int)(at_ms % 1000));
    return buffer;
}

/* ---- JSON --------------------------------------------------------------------------------- */

aiki_status print_json(aiki_view value, unsigned indent, aiki_error *err)
{
    static const uint8_t nil = 0xc0;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    if (value.size_bytes == 0)
        value = (aiki_view){&nil, 1};
    aiki_status st = msgpack_to_json(value, indent, &w, err);
    if (st != AIKI_OK)
        return st;
    fwrite(w.data, 1, w.size_bytes, stdout);
    putchar('\n');
    return AIKI_OK;
}

enum { SHORT_MORE_SIZE = 48 };

const char *short_json(aiki_view value, char *buffer, size_t size)
{
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    buffer[0] = '\0';
    if (value.size_bytes == 0 || msgpack_to_json(value, 0, &w, NULL) != AIKI_OK)
        return buffer;
    if (w.size_bytes < size) {
        snprintf(buffer, size, "%.*s", (int)w.size_bytes, (const char *)w.data);
    } else {
        uint64_t kept = size - SHORT_MORE_SIZE;
        while (kept > 0 && (w.data[kept] & 0xc0) == 0x80)
            kept--; /* not within a character */
        snprintf(buffer, size, "%.*s... %llu bytes more", (int)kept, (const char *)w.data,
                 (unsigned long long)(w.size_bytes - kept));
    }
    clean(buffer);
    return buffer;
}
