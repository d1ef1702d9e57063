/* reader_tree.c - "runs.tree": a run, its children, theirs, and so on.
 *
 *   {"id", "truncated", "unread", "runs": [{"depth": 0, ...}, {"depth": 1, ...}, {"depth": 2, ...}, ...]}
 *
 * Parents come before their children and siblings in the order of their starts, so that the list
 * printed from top to bottom is the tree. Behind its children stand the runs that a run has joined by a
 * shared key (decision 9), with "joined": they belong to another family, so what is below them is not shown.
 * Its own journal names them. Limits: TREE_RUNS_MAX, TREE_DEPTH_MAX, TREE_JOINED_MAX a run,
 * TREE_JOURNAL_BYTES_MAX read for all of it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "reader_impl.h"
#include "wire/child.h"

enum { KIN_PAGE = 100, JOURNAL_PAGE_BYTES = 256 * 1024 };

struct tree {
    struct reader *reader;
    const struct job *job;
    struct shown how;
    aiki_writer rows; /* owned; encoded, in order */
    uint64_t count, journal_bytes; /* so far */
    bool truncated;
    bool unread; /* there are journals, or calls in one, that were not looked at */
};

/* Some children of one run, as read. */
struct kin {
    struct tree *tree;
    aiki_writer rows; /* owned; their maps, one after the other */
    unsigned depth, count;
    bool joined; /* they are no children */
    struct relative {
        struct aiki_id id;
        uint64_t no, seq, children, size_bytes;
    } of[KIN_PAGE];
};

/* A step that called something shared. */
struct ask {
    struct aiki_id child; /* what the step knows it as */
    struct aiki_id by;    /* what ended in its place; zero: none has */
    bool told;            /* it has ended */
    char workflow[NAME_BYTES_MAX + 1], key[CHILD_KEY_BYTES_MAX + 1];
};

struct asks {
    unsigned count;
    bool more; /* than there is room for */
    struct ask all[TREE_JOINED_MAX];
};

static bool add_row(void *arg, const struct run_row *row)
{
    struct kin *k = arg;
    struct view_map m;
    uint64_t before = k->rows.size_bytes;
    view_map_begin(&m, &k->rows);
    view_put_uint(&m, "depth", k->depth);
    view_put_bool(&m, "joined", k->joined);
    view_run_fields(&m, &k->tree->how, row, reader_state(k->tree->reader, k->tree->job, row));
    view_map_end(&m);
    k->of[k->count].id = row->id;
    k->of[k->count].no = row->no;
    k->of[k->count].seq = row->seq;
    k->of[k->count].children = row->children;
    k->of[k->count].size_bytes = k->rows.size_bytes - before;
    return ++k->count < KIN_PAGE;
}

/* ---- who was joined -------------------------------------------------------------------------- */

static struct ask *find_ask(struct asks *a, const struct aiki_id *child)
{
    for (unsigned i = 0; i < a->count; i++)
        if (id_equal(&a->all[i].child, child))
            return &a->all[i];
    return NULL;
}

static void note_begun(struct asks *a, const struct aiki_id *run, const struct event *e)
{
    struct child_options o = {0};
    aiki_view name = e->as.step.name;
    if (e->as.step.identity_kind != STEP_CHILD ||
        child_options_read(e->as.step.options, &o) != AIKI_OK || !o.shared ||
        name.size_bytes > NAME_BYTES_MAX || o.key.size_bytes > CHILD_KEY_BYTES_MAX)
        return;
    struct aiki_id child = child_id(run, &e->as.step.address, e->as.step.nth, o.pass);
    if (find_ask(a, &child) != NULL)
        return; /* begun again */
    if (a->count == TREE_JOINED_MAX) {
        a->more = true;
        return;
    }
    struct ask *new = &a->all[a->count++];
    *new = (struct ask){.child = child};
    memcpy(new->workflow, name.data, name.size_bytes);
    memcpy(new->key, o.key.data, o.key.size_bytes);
}

static void note_event(struct asks *a, const struct aiki_id *run, const struct event *e)
{
    struct ask *ask;
    if (e->kind == EVENT_STEP_BEGUN)
        note_begun(a, run, e);
    if (e->kind == EVENT_CHILD_DONE && (ask = find_ask(a, &e->as.child_done.child)) != NULL) {
        ask->by = e->as.child_done.by;
        ask->told = true;
    }
}

/* Everything shared that its journal speaks of. */
static aiki_status read_asks(struct tree *t, const struct relative *run, struct asks *a,
                             aiki_error *err)
{
    AUTO(buf) aiki_writer page;
    struct store_reader *connection = t->reader->connection;
    aiki_status status = AIKI_OK;
    buf_init(&page);
    for (uint64_t at = 0, last_seq; status == AIKI_OK && at < run->seq; at = last_seq) {
        aiki_reader events;
        struct event e;
        if (t->journal_bytes >= TREE_JOURNAL_BYTES_MAX) {
            t->unread = true;
            break;
        }
        buf_clear(&page, JOURNAL_PAGE_BYTES);
        status = connection->ops->reader_journal(connection, run->no, at, JOURNAL_PAGE_BYTES, &page,
                                                 &last_seq, NULL, err);
        t->journal_bytes += page.size_bytes;
        aiki_reader_init(&events, aiki_writer_view(&page));
        while (status == AIKI_OK && aiki_reader_left(&events) > 0)
            if ((status = event_read_stored(&events, &e, NULL)) == AIKI_OK)
                note_event(a, &run->id, &e);
            else
                status = AIKI_CORRUPT;
        if (status != AIKI_OK || last_seq == at)
            break;
    }
    if (status == AIKI_CORRUPT) { /* the family is shown all the same; its history says what is wrong */
        t->unread = true;
        status = AIKI_OK;
    }
    t->unread |= a->more;
    return status;
}

static bool see(void *arg, const struct run_row *row)
{
    (void)row;
    *(bool *)arg = true;
    return false;
}

/* The run that the step follows, into k; none when that is a child of its own, or there is none. */
static aiki_status find_joined(struct kin *k, const struct ask *ask, aiki_error *err)
{
    const struct reader *r = k->tree->reader;
    const struct store_ops *ops = r->connection->ops;
    aiki_status status = AIKI_NOT_FOUND;
    bool own = false;
    if (!ask->told) {
        const struct list_filter by_key = {
            .space = r->space, .workflow = ask->workflow, .key = ask->key, .limit = 1};
        status = ops->reader_find_run(r->connection, &ask->child, see, &own, err);
        if (status == AIKI_NOT_FOUND)
            return ops->list(r->connection, &by_key, add_row, k, err);
    } else if (!id_is_zero(&ask->by)) {
        status = ops->reader_find_run(r->connection, &ask->by, add_row, k, err);
    }
    return status == AIKI_NOT_FOUND ? AIKI_OK : status;
}

static bool is_there(const struct kin *k, const struct aiki_id *id, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (id_equal(&k->of[i].id, id))
            return true;
    return false;
}

/* Each of them once, however often the run called. */
static aiki_status find_all_joined(struct kin *k, const struct asks *a, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    for (unsigned i = 0; status == AIKI_OK && i < a->count; i++) {
        unsigned before = k->count;
        uint64_t size_bytes = k->rows.size_bytes;
        status = find_joined(k, &a->all[i], err);
        if (k->count > before && is_there(k, &k->of[before].id, before)) {
            k->count = before;
            k->rows.size_bytes = size_bytes;
        }
    }
    return status;
}

static aiki_status add_kin(struct kin *k, aiki_error *err);

static aiki_status add_joined(struct tree *t, const struct relative *run, unsigned depth,
                              aiki_error *err)
{
    AUTO(free) struct asks *asks = memory_need(sizeof(*asks));
    AUTO(free) struct kin *k = NULL;
    aiki_status status = read_asks(t, run, asks, err);
    if (status != AIKI_OK || asks->count == 0)
        return status;
    k = memory_need(sizeof(*k));
    k->tree = t;
    k->depth = depth;
    k->joined = true;
    buf_init(&k->rows);
    status = find_all_joined(k, asks, err);
    if (status == AIKI_OK)
        status = add_kin(k, err);
    buf_deinit(&k->rows);
    return status;
}

/* ---- the family ------------------------------------------------------------------------------ */

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
        if (k->joined)
            continue;
        aiki_status status = AIKI_OK;
        if (k->of[i].children > 0)
            status = add_children(t, &k->of[i].id, k->depth + 1, err);
        if (status == AIKI_OK)
            status = add_joined(t, &k->of[i], k->depth + 1, err);
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
    struct tree t = {.reader = r, .job = job, .how = reader_shown(r, a)};
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
        view_put_bool(&m, "unread", t.unread);
        view_name(&m, "runs");
        aiki_mp_array(doc, t.count);
        aiki_mp_raw(doc, t.rows.data, t.rows.size_bytes);
        view_map_end(&m);
    }
    buf_deinit(&root->rows);
    buf_deinit(&t.rows);
    return status;
}
