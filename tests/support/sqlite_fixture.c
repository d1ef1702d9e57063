/* sqlite_fixture.c - see sqlite_fixture.h. */
#include "support/sqlite_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

static char root[64]; /* of the test that runs */

const struct wal_limits sqlite_short_log = {6, 20, 1000, BUSY_MS_MAX};

void sqlite_fresh_url(char *ret_url, size_t size)
{
    (void)snprintf(root, sizeof(root), "/tmp/aiki-store-XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(ret_url, size, "sqlite:%s/data/aiki.db", root);
}

void sqlite_wipe(const char *url)
{
    (void)url;
    static const char *const names[] = {
        "data/aiki.db", "data/aiki.db-wal",  "data/aiki.db-shm", "data/aiki.db.lock",
        "data/copy.db", "data/copy.db.lock", "link/aiki.db",     "link",
    };
    char path[128];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/data", root);
    (void)rmdir(path);
    assert_int_equal(rmdir(root), 0); /* nothing else may have been left behind */
}

int sqlite_set_up(void **state)
{
    struct sqlite_fixture *f = calloc(1, sizeof(*f));
    sqlite_fresh_url(f->url, sizeof(f->url));
    f->root = root;
    f->path = f->url + strlen("sqlite:");
    aiki_error err = {.struct_size = sizeof(err)};
    if (store_open(&f->s, f->url, &err) != AIKI_OK)
        fail_msg("%s", err.message);
    *state = f;
    return 0;
}

int sqlite_tear_down(void **state)
{
    struct sqlite_fixture *f = *state;
    store_close(f->s);
    sqlite_wipe(f->url);
    free(f);
    return 0;
}

void sqlite_reopen(struct sqlite_fixture *f)
{
    store_close(f->s);
    assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
}

void sqlite_refused(const char *url, aiki_status status, const char *word)
{
    struct store *s = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = store_open(&s, url, &err);
    if (st != status || strstr(err.message, word) == NULL)
        fail_msg("%s: got %s \"%s\", wanted %s with \"%s\"", url, aiki_status_name(st), err.message,
                 aiki_status_name(status), word);
    assert_null(s);
}

off_t sqlite_size_of(const struct sqlite_fixture *f, const char *suffix)
{
    char path[300];
    struct stat at;
    (void)snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    assert_int_equal(stat(path, &at), 0);
    return at.st_size;
}
