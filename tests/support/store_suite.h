/* support/store_suite.h - what every store backend must do, and drafts of runs to do it with. */
#ifndef SUPPORT_STORE_SUITE_H
#define SUPPORT_STORE_SUITE_H

#include "store/store.h"

struct store_backend {
    const char *name;
    /* Where a new, empty store can be opened, again and again, until it is wiped. */
    void (*fresh_url)(char *ret_url, size_t size);
    void (*wipe)(const char *url);
};

/* Runs all cases on the backend and says how many failed, as cmocka does. */
int store_suite_run(const struct store_backend *backend);

/* A run as a test imagines it: what to write next, and what must then be on record. */
struct draft {
    struct run_write write;
    aiki_writer events;
    uint8_t head[HASH_BYTES]; /* of everything drafted so far */
};

/* A queued run of workflow "order" in space "test", with its first event. */
void draft_init(struct draft *d, uint64_t no);
void draft_deinit(struct draft *d);
/* Begins the next write of the same run: nothing appended yet. */
void draft_next(struct draft *d);
/* One more event with a payload of this many bytes. */
void draft_event(struct draft *d, size_t payload_bytes);
/* Commits the drafts as one unit. */
aiki_status draft_commit(struct store *s, struct draft *const drafts[], size_t count,
                         aiki_error *err);
/* The same for one; fails the test unless it is committed. */
void draft_save(struct store *s, struct draft *d);
/* The stored run is what the draft says, found by id. */
void draft_assert_stored(struct store *s, const struct draft *d);

/* Numbers of the runs shown, in order. */
enum { NUMBERS_MAX = 64 };
struct numbers {
    uint64_t no[NUMBERS_MAX];
    size_t count;
    size_t stop_at; /* the callback says enough at this count; 0 = never */
};
bool numbers_add(void *arg, const struct run_row *row);
void numbers_assert(const struct numbers *n, size_t count, const uint64_t *expected);

#endif
