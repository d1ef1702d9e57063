/* pages.h - lists that the server answers page by page, as one table or one JSON array. [main thread] */
#ifndef TOOLS_PAGES_H
#define TOOLS_PAGES_H

#include "cli.h"
#include "text.h"

struct pages {
    const char *what;  /* query, as "runs.list" */
    const char *array; /* member of its document that has the rows */
    aiki_writer pairs; /* owned: the filters that were given, encoded */
    uint64_t pair_count;
};

/* Borrows both names. */
void pages_init(struct pages *p, const char *what, const char *array);
void pages_deinit(struct pages *p);
/* A filter; text NULL = not given. */
void pages_text(struct pages *p, const char *name, const char *text);
/* A duration before now, given as the flag `name`, as a time. */
void pages_ago(struct pages *p, const char *name, const struct args *a);

typedef void (*pages_row_fn)(struct table *t, aiki_view row, int64_t now_ms);
/* At most the flag --limit of them. With --json an array, else the table, or `none`. The answer is
 * the exit code. */
int pages_print(struct cli *cli, const struct pages *p, struct table *t, pages_row_fn fn,
                const char *none);

#endif
