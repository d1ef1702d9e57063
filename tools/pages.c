/* pages.c - see pages.h. */
#include "pages.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "doc.h"

enum { PAGE_ROWS_MAX = 500 };

void pages_init(struct pages *p, const char *what, const char *array)
{
    *p = (struct pages){.what = what, .array = array};
    buf_init(&p->pairs);
}

void pages_deinit(struct pages *p)
{
    buf_deinit(&p->pairs);
}

void pages_text(struct pages *p, const char *name, const char *text)
{
    if (text == NULL)
        return;
    aiki_mp_str(&p->pairs, name);
    aiki_mp_str(&p->pairs, text);
    p->pair_count++;
}

void pages_ago(struct pages *p, const char *name, const struct args *a)
{
    if (!args_has(a, name))
        return;
    aiki_mp_str(&p->pairs, name);
    aiki_mp_int(&p->pairs, clock_wall_ms() - args_ms(a, name));
    p->pair_count++;
}

/* One page; before: the cursor the page before ended with, or empty. */
static int query_page(struct cli *cli, const struct pages *p, int64_t limit, aiki_view before,
                      aiki_view *ret_document)
{
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, p->pair_count + 1 + (before.size_bytes > 0));
    aiki_mp_raw(&args, p->pairs.data, p->pairs.size_bytes);
    aiki_mp_str(&args, "limit");
    aiki_mp_int(&args, limit < PAGE_ROWS_MAX ? limit : PAGE_ROWS_MAX);
    if (before.size_bytes > 0) {
        aiki_mp_str(&args, "before");
        aiki_mp_raw(&args, before.data, before.size_bytes);
    }
    return cli_query(cli, p->what, &args, ret_document);
}

/* Pages until the limit is reached: into the table, or into an array of raw values. */
static int collect(struct cli *cli, const struct pages *p, struct table *t, pages_row_fn fn,
                   aiki_writer *raw, uint64_t *ret_count)
{
    AUTO(buf) aiki_writer cursor;
    buf_init(&cursor);
    int64_t left = args_int(&cli->args, "limit");
    int64_t now_ms = clock_wall_ms();
    while (left > 0) {
        aiki_view document;
        int code = query_page(cli, p, left, aiki_writer_view(&cursor), &document);
        if (code != EXIT_OK)
            return code;
        for (struct doc_list l = doc_list(document, p->array); left > 0 && doc_next(&l); left--) {
            if (cli->json)
                aiki_mp_raw(raw, l.item.data, l.item.size_bytes);
            else
                fn(t, l.item, now_ms);
            ++*ret_count;
        }
        aiki_view next = doc_get(document, "next");
        buf_clear(&cursor, 64);
        aiki_mp_raw(&cursor, next.data, next.size_bytes);
        if (next.size_bytes == 0)
            left = 0;
        aiki_client_free(document.data);
    }
    return EXIT_OK;
}

static int print_array(struct cli *cli, const aiki_writer *raw, uint64_t count)
{
    AUTO(buf) aiki_writer array;
    buf_init(&array);
    aiki_mp_array(&array, count);
    aiki_mp_raw(&array, raw->data, raw->size_bytes);
    aiki_status st = print_json(aiki_writer_view(&array), 0, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int pages_print(struct cli *cli, const struct pages *p, struct table *t, pages_row_fn fn,
                const char *none)
{
    AUTO(buf) aiki_writer raw;
    uint64_t count = 0;
    buf_init(&raw);
    int code = collect(cli, p, t, fn, &raw, &count);
    if (code == EXIT_OK && cli->json)
        return print_array(cli, &raw, count);
    if (code == EXIT_OK)
        table_print(t, none);
    return code;
}
