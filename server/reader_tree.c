/* reader_tree.c - "runs.tree": a run, its children, theirs, and so on.
 *
 *   {"id", "truncated", "runs": [{"depth": 0, ...}, {"depth": 1, ...}, {"depth": 2, ...}, ...]}
 *
 * Parents come before their children and siblings in the order of their starts, so that the list
 * printed from top to bottom is the tree. Limits: TREE_RUNS_MAX, TREE_DEPTH_MAX.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "reader_impl.h"

enum { KIN_PAGE = 100 };

struct tree {
    struct reader *reader;
    const struct job *job;
    aiki_writer rows; /* owned; encoded, in order */
    uint64_t count;
    bool truncated;
};

/* Some children of one run, as read. */
struct kin {
    struct tree *tree;
    aiki_writer rows; /* owned; their maps, one after the other */
    unsigned depth, count;
    struct {
        struct aiki_id id;
        uint64_t no, children, size_bytes;
    } of[KIN_PAGE];
};

static bool add_row(void *arg, const struct run_row *row)
{
    struct kin *k = arg;
    struct view_map m;
    uint64_t before = k->rows.size_bytes;
    view_map_begin(&m, &k->rows);
    view_put_uint(&m, "depth", k->depth);
    view_run_fields(&m, row, reader_state(k->tree->reader, k->tree->job, row));
    view_map_end(&m);
    k->of[k->count].id = row->id;
    k->of[k->count].no = row->no;
    k->of[k->count].children = row->children;
    k->of[k->count].size_bytes = k->rows.size_bytes - before;
    return ++k->count < KIN_PAGE;
}

static aiki_status add_children(struct tree *t, const struct aiki_id *parent, unsigned depth,
                                aiki_error *err);

/* Each with what is below it. */
static aiki_status add_kin(struct kin *k, aiki_error *err)
{
    struct tree *t = k->tree;
    uint64_t at = 0;
    for (unsigned i = 0; i < k->count; i++) {
        if (t->count == TREE_RUNS_MAX || t->rows.size_bytes >= DOCUMENT_BYTES_MAX) {
            t->truncated = true;
            return AIKI_OK;
        }
        aiki_mp_raw(&t->rows, k->rows.data + at, k->of[i].size_bytes);
        t->count++;
        at += k->of[i].size_bytes;
        if (k->of[i].children == 0)
            continue;
        aiki_status status = add_children(t, &k->of[i].id, k->depth + 1, err);
        if (status != AIKI_OK)
            return status;
    }
    return k->rows.status;
}

/* Recurses at most TREE_DEPTH_MAX deep. */
static aiki_status add_children(struct tree *t, const struct aiki_id *parent, unsigned depth,
                                aiki_error *err)
{
    struct store_reader *connection = t->reader->connection;
    if (depth > TREE_DEPTH_MAX) {
        t->truncated = true;
        return AIKI_OK;
    }
    AUTO(free) struct kin *k = memory_need(sizeof(*k));
    aiki_status status = AIKI_OK;
    uint64_t after_no = 0;
    k->tree = t;
    k->depth = depth;
    buf_init(&k->rows);
    do {
        k->count = 0;
        buf_clear(&k->rows, 0);
        status = connection->ops->reader_children(connection, parent, after_no, KIN_PAGE, add_row,
                                                  k, err);
        if (k->count > 0)
            after_no = k->of[k->count - 1].no;
        if (status == AIKI_OK)
            status = add_kin(k, err);
    } while (status == AIKI_OK && k->count == KIN_PAGE && !t->truncated);
    buf_deinit(&k->rows);
    return status;
}

aiki_status runs_tree(struct reader *r, const struct job *job, const struct query_args *a,
                      aiki_writer *doc, aiki_error *err)
{
    char text[AIKI_ID_TEXT_SIZE];
    struct aiki_id id;
    struct view_map m;
    struct tree t = {.reader = r, .job = job};
    AUTO(free) struct kin *root = memory_need(sizeof(*root));
    root->tree = &t;
    buf_init(&root->rows);
    buf_init(&t.rows);
    aiki_status status = reader_find(r, a, add_row, root, &id, err);
    if (status == AIKI_OK)
        status = add_kin(root, err);
    if (status == AIKI_OK && (status = t.rows.status) == AIKI_OK) {
        id_text(&id, text);
        view_map_begin(&m, doc);
        view_put_text(&m, "id", view_of(text));
        view_put_bool(&m, "truncated", t.truncated);
        view_name(&m, "runs");
        aiki_mp_array(doc, t.count);
        aiki_mp_raw(doc, t.rows.data, t.rows.size_bytes);
        view_map_end(&m);
    }
    buf_deinit(&root->rows);
    buf_deinit(&t.rows);
    return status;
}
