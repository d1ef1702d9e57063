/* store_lists.c - the part of the suite about many runs: scans, lists, families; and workflows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "support/store_suite_impl.h"

/* ---- scans and lists ---- */

static void save_in_state(struct fixture *f, uint64_t no, uint32_t run_state)
{
    struct draft d;
    draft_init(&d, no);
    draft_save(f->s, &d);
    draft_next(&d);
    d.write.row.state = run_state;
    draft_save(f->s, &d);
    draft_deinit(&d);
}

/* Recovery sees every run that is not final, by rising number, page by page. */
void scan_open_pages(void **state)
{
    struct fixture *f = *state;
    const struct store_ops *ops = f->s->ops;
    save_in_state(f, 9, RUN_RUNNING);
    save_in_state(f, 2, RUN_COMPLETED);
    save_in_state(f, 3, RUN_BLOCKED);
    save_in_state(f, 5, RUN_SLEEPING);
    save_in_state(f, 6, RUN_FAILED);
    save_in_state(f, 4, RUN_QUEUED);
    save_in_state(f, 8, RUN_PAUSED);
    struct numbers n = {0};
    assert_int_equal(ops->scan_open(f->s, 0, 3, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 3, 4, 5);
    assert_int_equal(ops->scan_open(f->s, 5, 3, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 3, 4, 5, 8, 9);
    assert_int_equal(ops->scan_open(f->s, 9, 3, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(ops->scan_open(f->s, UINT64_MAX, 3, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(n.count, 5);
    struct numbers enough = {.stop_at = 1};
    assert_int_equal(ops->scan_open(f->s, 0, 3, numbers_add, &enough, NULL), AIKI_OK);
    NUMBERS(&enough, 3);
}

/* A run with something left to do about it is shown by a scan, whatever its state, until it is
 * done. */
void scan_undone(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    struct numbers n = {0};
    draft_init(&d, 4);
    d.write.row.state = RUN_COMPLETED;
    d.write.row.flags = STORE_FLAG_UNDONE;
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    assert_int_equal(f->s->ops->scan_open(f->s, 0, 9, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 4);
    draft_next(&d);
    draft_event(&d, 10);
    d.write.row.flags = 0;
    draft_save(f->s, &d);
    assert_int_equal(f->s->ops->scan_open(f->s, 0, 9, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(n.count, 1);
    draft_deinit(&d);
}

/* A run that leaves or re-enters the open states is found accordingly. */
void states_move(void **state)
{
    struct fixture *f = *state;
    static const uint32_t path[] = {RUN_BLOCKED, RUN_QUEUED,    RUN_STALLED, RUN_BLOCKED,
                                    RUN_RUNNING, RUN_COMPLETED, RUN_QUEUED,  RUN_FAILED};
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    for (size_t i = 0; i < ARRAY_COUNT(path); i++) {
        draft_next(&d);
        d.write.row.state = path[i];
        draft_save(f->s, &d);
        struct list_filter filter = {.space = "test", .limit = 10};
        filter.state_mask = UINT64_C(1) << path[i];
        struct numbers listed = {0};
        size_t open = 0;
        assert_int_equal(f->s->ops->scan_open(f->s, 0, 10, count_row, &open, NULL), AIKI_OK);
        assert_int_equal(open, !run_state_is_terminal(path[i]));
        assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &listed, NULL), AIKI_OK);
        NUMBERS(&listed, 1);
        filter.state_mask = ~filter.state_mask;
        assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &listed, NULL), AIKI_OK);
        assert_int_equal(listed.count, 1);
    }
    draft_deinit(&d);
}

static struct numbers listed(struct fixture *f, struct list_filter filter)
{
    struct numbers n = {0};
    if (filter.limit == 0)
        filter.limit = NUMBERS_MAX;
    assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &n, NULL), AIKI_OK);
    return n;
}

#define LISTED(f, expected, ...)                                                                   \
    do {                                                                                           \
        struct numbers listed_ = listed(f, (struct list_filter){.space = "test", __VA_ARGS__});    \
        numbers_assert(&listed_, strlen(expected), (uint64_t[]){DIGITS(expected)});                \
    } while (0)
#define DIGIT(text, i) ((i) < strlen(text) ? (uint64_t)((text)[i] - '0') : 0)
#define DIGITS(text)                                                                               \
    DIGIT(text, 0), DIGIT(text, 1), DIGIT(text, 2), DIGIT(text, 3), DIGIT(text, 4),                \
        DIGIT(text, 5), DIGIT(text, 6), DIGIT(text, 7)

/* Every filter alone and together, newest first. */
void list_filters(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *space, *workflow, *version, *key;
        uint32_t state;
    } rows[] = {
        {"test", "order", "1.0.0", "a", RUN_COMPLETED},
        {"test", "order", "2.0.0", "b", RUN_FAILED},
        {"test", "refund", "1.0.0", "a", RUN_COMPLETED},
        {"test", "refund", "1.0.0", "", RUN_SLEEPING},
        {"other", "order", "1.0.0", "a", RUN_FAILED},
        {"test", "order", "1.0.0", "", RUN_BLOCKED},
        {"test", "order", "1.0.0", "", RUN_QUEUED},
        {"test", "order", "2.0.0", "c", RUN_TERMINATED},
    };
    for (uint64_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct draft d;
        draft_init(&d, i + 1);
        d.write.row.space = view_of(rows[i].space);
        d.write.row.workflow = view_of(rows[i].workflow);
        d.write.row.version = view_of(rows[i].version);
        d.write.row.key = view_of(rows[i].key);
        d.write.row.state = rows[i].state;
        draft_save(f->s, &d);
        draft_deinit(&d);
    }
    const uint64_t failed = 1u << RUN_FAILED, blocked = 1u << RUN_BLOCKED;
    const uint64_t completed = 1u << RUN_COMPLETED, sleeping = 1u << RUN_SLEEPING;
    LISTED(f, "8764321", .limit = 10);
    LISTED(f, "87621", .workflow = "order");
    LISTED(f, "82", .version = "2.0.0");
    LISTED(f, "761", .workflow = "order", .version = "1.0.0");
    LISTED(f, "31", .key = "a");
    LISTED(f, "3", .key = "a", .workflow = "refund");
    LISTED(f, "", .key = "z");
    LISTED(f, "2", .state_mask = failed);
    LISTED(f, "62", .state_mask = failed | blocked);
    LISTED(f, "64", .state_mask = sleeping | blocked);
    LISTED(f, "31", .state_mask = completed);
    LISTED(f, "1", .state_mask = completed, .workflow = "order");
    LISTED(f, "321", .state_mask = completed | failed);
    LISTED(f, "2", .state_mask = failed, .workflow = "order", .version = "2.0.0", .key = "b");
    LISTED(f, "87", .limit = 2);
    LISTED(f, "64", .limit = 2, .before_no = 7);
    LISTED(f, "6", .workflow = "order", .limit = 1, .before_no = 7);
    LISTED(f, "", .before_no = 1);
    LISTED(f, "87", .before_no = UINT64_MAX, .limit = 2);
    struct numbers n = {.stop_at = 3};
    struct list_filter all = {.space = "test", .limit = UINT32_MAX};
    assert_int_equal(f->r->ops->list(f->r, &all, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 8, 7, 6);
    all.space = NULL;
    assert_int_equal(f->r->ops->list(f->r, &all, numbers_add, &n, NULL), AIKI_INVALID);
}

/* By the build that executed a run last, which an update may change: one, or all between two. */
void list_by_build(void **state)
{
    static const uint8_t builds[][HASH_BYTES] = {{1}, {2}, {2, 9}, {3}};
    const aiki_view one = {builds[0], HASH_BYTES}, two = {builds[1], HASH_BYTES};
    const aiki_view more = {builds[2], HASH_BYTES}, three = {builds[3], HASH_BYTES};
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5; i++) {
        struct draft d;
        draft_init(&d, i + 1);
        if (i < ARRAY_COUNT(builds))
            d.write.row.build = (aiki_view){builds[i], HASH_BYTES};
        draft_save(f->s, &d);
        if (i == 0) {
            draft_next(&d);
            draft_event(&d, 10);
            d.write.row.build = three;
            draft_save(f->s, &d);
            draft_assert_stored(f->s, &d);
        }
        draft_deinit(&d);
    }
    LISTED(f, "41", .build_min = three, .build_max = three);
    LISTED(f, "32", .build_min = two, .build_max = more);
    LISTED(f, "4321", .build_min = one, .build_max = three);
    LISTED(f, "4", .build_min = three, .build_max = three, .before_no = 5, .limit = 1);
    LISTED(f, "", .build_min = one, .build_max = one);
    LISTED(f, "54321", .limit = 10);
}

/* Pages neither repeat nor skip a run while new ones arrive. */
void list_pages_under_inserts(void **state)
{
    struct fixture *f = *state;
    for (uint64_t no = 1; no <= 6; no++)
        save_in_state(f, no, RUN_COMPLETED);
    LISTED(f, "654", .limit = 3);
    save_in_state(f, 7, RUN_COMPLETED);
    save_in_state(f, 8, RUN_QUEUED);
    LISTED(f, "321", .limit = 3, .before_no = 4);
    LISTED(f, "", .limit = 3, .before_no = 1);
}

/* A listing is cut at STORE_LIST_MAX rows whatever is asked for. */
void list_is_capped(void **state)
{
    struct fixture *f = *state;
    struct draft *drafts = calloc(STORE_LIST_MAX + 5, sizeof(*drafts));
    struct draft **unit = calloc(STORE_LIST_MAX + 5, sizeof(struct draft *));
    assert_true(drafts != NULL && unit != NULL);
    for (size_t i = 0; i < STORE_LIST_MAX + 5; i++) {
        draft_init(&drafts[i], i + 1);
        unit[i] = &drafts[i];
    }
    assert_int_equal(draft_commit(f->s, unit, STORE_LIST_MAX + 5, NULL), AIKI_OK);
    assert_int_equal(f->s->commits, 1);
    size_t count = 0;
    struct list_filter filter = {.space = "test", .limit = UINT32_MAX};
    assert_int_equal(f->r->ops->list(f->r, &filter, count_row, &count, NULL), AIKI_OK);
    assert_int_equal(count, STORE_LIST_MAX);
    for (size_t i = 0; i < STORE_LIST_MAX + 5; i++)
        draft_deinit(&drafts[i]);
    free(drafts);
    free((void *)unit);
}

/* ---- workflows ---- */

struct registry {
    char text[256];
};

static bool registry_add(void *arg, const struct workflow_row *row)
{
    struct registry *r = arg;
    size_t size = strlen(r->text);
    (void)snprintf(r->text + size, sizeof(r->text) - size, "%.*s@%.*s %.*s %ld-%ld;",
                   (int)row->name.size_bytes, (const char *)row->name.data,
                   (int)row->version.size_bytes, (const char *)row->version.data,
                   (int)row->build.size_bytes, (const char *)row->build.data,
                   (long)row->first_seen_at_ms, (long)row->last_seen_at_ms);
    return true;
}

void put_workflow(struct fixture *f, const char *space, const char *name, const char *version,
                  const char *build, int64_t at_ms)
{
    struct workflow_row row = {
        .space = view_of(space),
        .name = view_of(name),
        .version = view_of(version),
        .plugin = view_of("orders"),
        .build = view_of(build),
        .descriptor = view_of("\x80"),
        .first_seen_at_ms = at_ms,
        .last_seen_at_ms = at_ms,
    };
    struct unit unit = {.workflows = &row, .workflow_count = 1};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
}

/* The registry keeps when a version was first seen and who served it last, by namespace. */
void workflow_registry(void **state)
{
    struct fixture *f = *state;
    put_workflow(f, "test", "order", "1.0.0", "b1", 10);
    put_workflow(f, "test", "order", "0.9.0", "b0", 5);
    put_workflow(f, "test", "billing", "1.0.0", "b7", 20);
    put_workflow(f, "other", "order", "1.0.0", "b9", 30);
    put_workflow(f, "test", "order", "1.0.0", "b2", 40);
    struct registry r = {""};
    assert_int_equal(f->r->ops->workflows(f->r, "test", registry_add, &r, NULL), AIKI_OK);
    assert_string_equal(r.text, "billing@1.0.0 b7 20-20;order@0.9.0 b0 5-5;order@1.0.0 b2 10-40;");
}

/* ---- children ---- */

/* A parent's children come by rising number, page by page, open or ended; nobody else's do. */
void children_by_number(void **state)
{
    struct fixture *f = *state;
    struct aiki_id parent = {.bytes = {9}}, nobody = {.bytes = {8}};
    struct draft d[5];
    for (uint64_t i = 0; i < ARRAY_COUNT(d); i++) {
        draft_init(&d[i], i + 1);
        if (i != 2)
            d[i].write.row.parent = parent;
        draft_save(f->s, &d[i]);
    }
    draft_next(&d[1]);
    d[1].write.row.state = RUN_COMPLETED;
    draft_event(&d[1], 10);
    draft_save(f->s, &d[1]);
    draft_assert_stored(f->s, &d[1]);
    struct numbers page = {0}, rest = {0}, none = {0};
    assert_int_equal(f->s->ops->children(f->s, &parent, 0, 2, numbers_add, &page, NULL), AIKI_OK);
    NUMBERS(&page, 1, 2);
    assert_int_equal(f->r->ops->reader_children(f->r, &parent, 2, 100, numbers_add, &rest, NULL),
                     AIKI_OK);
    NUMBERS(&rest, 4, 5);
    assert_int_equal(f->s->ops->children(f->s, &nobody, 0, 2, numbers_add, &none, NULL), AIKI_OK);
    assert_int_equal(none.count, 0);
    for (size_t i = 0; i < ARRAY_COUNT(d); i++)
        draft_deinit(&d[i]);
}

static void assert_key_of(struct fixture *f, uint64_t no)
{
    struct numbers found = {0};
    assert_int_equal(f->s->ops->find_key(f->s, view_of("test"), view_of("order"), view_of("k"),
                                         numbers_add, &found, NULL),
                     AIKI_OK);
    NUMBERS(&found, no);
}

/* A key goes from one run to the next in one unit, or stays where it was. */
void a_key_changes_hands(void **state)
{
    struct fixture *f = *state;
    struct draft old, new;
    draft_init(&old, 1);
    draft_init(&new, 2);
    old.write.row.key = new.write.row.key = view_of("k");
    draft_save(f->s, &old);
    draft_next(&old);
    draft_event(&old, 10);
    old.write.drop_key = true;
    new.write.row.id = old.write.row.id; /* refused: nothing of the unit stays */
    struct draft *unit[] = {&old, &new};
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_CONFLICT);
    assert_key_of(f, 1);
    new.write.row.id.bytes[0] ^= 1;
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    assert_key_of(f, 2);
    old.write.row.key = (aiki_view){NULL, 0};
    draft_assert_stored(f->s, &old);
    draft_deinit(&old);
    draft_deinit(&new);
}
