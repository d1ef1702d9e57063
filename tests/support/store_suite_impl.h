/* support/store_suite_impl.h - what the sources of the suite share. */
#ifndef SUPPORT_STORE_SUITE_IMPL_H
#define SUPPORT_STORE_SUITE_IMPL_H

#include "support/store_suite.h"

enum { BIG_BYTES = 4 * 1024 * 1024, WHOLE = 1 << 30 };

struct fixture {
    char url[256];
    struct store *s;
    struct store_reader *r;
};

#define NUMBERS(n, ...)                                                                            \
    numbers_assert(n, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),                        \
                   (uint64_t[]){__VA_ARGS__})

/* A callback that counts rows in the size_t it is given. */
bool count_row(void *arg, const struct run_row *row);
void put_workflow(struct fixture *f, const char *space, const char *name, const char *version,
                  const char *build, int64_t at_ms);

#define JOURNAL_CASES(X)                                                                           \
    X(journal_in_pages)                                                                            \
    X(journal_from_within_a_row)                                                                   \
    X(wrong_hash)                                                                                  \
    X(wrong_numbers)                                                                               \
    X(big_event)                                                                                   \
    X(small_buffer)                                                                                \
    X(references_come_with_their_unit)
#define LIST_CASES(X)                                                                              \
    X(scan_open_pages)                                                                             \
    X(scan_undone)                                                                                 \
    X(states_move)                                                                                 \
    X(list_filters)                                                                                \
    X(list_by_build)                                                                               \
    X(list_pages_under_inserts)                                                                    \
    X(list_is_capped)                                                                              \
    X(children_by_number)                                                                          \
    X(a_key_changes_hands)                                                                         \
    X(workflow_registry)

#define DECLARE_CASE(name) void name(void **state);
JOURNAL_CASES(DECLARE_CASE)
LIST_CASES(DECLARE_CASE)
#undef DECLARE_CASE

#endif
