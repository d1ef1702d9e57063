/* sqlite_fixture.h - a store in a file of its own, for tests of the SQLite backend. [one thread] */
#ifndef SUPPORT_SQLITE_FIXTURE_H
#define SUPPORT_SQLITE_FIXTURE_H

#include <sys/types.h>

#include "store/sqlite.h"

struct sqlite_fixture {
    const char *root; /* a directory of its own; the data directory in it is the store's to create */
    char url[256];
    const char *path; /* of the database */
    struct store *s;  /* may be closed by the test and set to NULL */
};

/* So that a test meets every state of the log within a few commits. */
extern const struct wal_limits sqlite_short_log;

/* For cmocka: *state is a struct sqlite_fixture. Nothing but what a store leaves may be there at the end. */
int sqlite_set_up(void **state);
int sqlite_tear_down(void **state);
/* The same for the common suite. */
void sqlite_fresh_url(char *ret_url, size_t size);
void sqlite_wipe(const char *url);

void sqlite_reopen(struct sqlite_fixture *f);
/* Such a store is not opened: the message has this word. */
void sqlite_refused(const char *url, aiki_status status, const char *word);
/* Bytes of the database file, or with "-wal" behind its name of its log. */
off_t sqlite_size_of(const struct sqlite_fixture *f, const char *suffix);

#endif
