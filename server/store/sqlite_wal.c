/* sqlite_wal.c - keeps the write-ahead log short without holding up commits.
 *
 *          pages >= copy             thread is done
 *   IDLE ----------------> COPYING ----------------> COPIED
 *    ^                                                 | next commit: copies the few pages that
 *    +-------------------------------------------------+ came meanwhile; then the log is empty
 *                                                        and SQLite starts it over
 *
 * Copying in the thread alone is not enough: SQLite starts the log over only when all of it is in
 * the database, which never happens while commits go on beside the copying. Copying in the store
 * thread alone makes one commit in a hundred wait for the whole database file to be synced.
 */
#include "store/sqlite_wal.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "store/checks.h"
#include "wire/error.h"

enum wal_state { WAL_IDLE, WAL_COPYING, WAL_COPIED, WAL_FAILED };

struct wal {
    struct sqlite_conn *writer; /* borrowed */
    struct wal_limits limits;
    int pages;                /* after the last commit */
    int copy_at, restart_at;  /* length at which the next attempt is due */
    pthread_rwlock_t reading; /* shared: our readers; exclusive: who starts the log over */

    pthread_t thread;
    bool has_thread;
    struct sqlite_conn conn; /* the thread's */
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t changed;
    enum wal_state state;
    bool stop;
    aiki_error why; /* of WAL_FAILED */
};

static const struct wal_limits usual_limits = {WAL_COPY_PAGES, WAL_RESTART_PAGES, WAL_PAGES_MAX,
                                               BUSY_MS_MAX};

/* *ret_done: whether the log is in the database as far as this connection could see. What does
 * no harm (a reader or another program in the way, a full disk) is not a failure. */
static aiki_status copy_log(struct sqlite_conn *c, int mode, bool *ret_done, aiki_error *err)
{
    int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, NULL, NULL);
    *ret_done = rc == SQLITE_OK;
    if (rc == SQLITE_OK)
        return AIKI_OK;
    aiki_status st = sql_error(c, "checkpoint", err);
    return commit_failure_is_fatal(st) ? st : AIKI_OK;
}

/* ---- the thread ---- */

/* SQLite syncs the database only when all of the log is in it, which is never the case here: that
 * would leave all the work to the store thread. */
static aiki_status sync_database(struct sqlite_conn *c, aiki_error *err)
{
    sqlite3_file *file = NULL;
    if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
        file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) == SQLITE_OK)
        return AIKI_OK;
    return error_set(err, AIKI_INTERNAL,
                     "cannot checkpoint %s: the disk failed; check it, then start the server again",
                     c->path);
}

static aiki_status copy_most(struct sqlite_conn *c, aiki_error *err)
{
    bool done;
    aiki_status st = copy_log(c, SQLITE_CHECKPOINT_PASSIVE, &done, err);
    if (st == AIKI_OK && done)
        st = sync_database(c, err);
    if (st == AIKI_OK && done) /* what came meanwhile, so that little is left */
        st = copy_log(c, SQLITE_CHECKPOINT_PASSIVE, &done, err);
    return st;
}

static void *run_thread(void *arg)
{
    struct wal *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        if (w->state != WAL_COPYING) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        aiki_error err = {.struct_size = sizeof(err)};
        pthread_mutex_unlock(&w->lock);
        aiki_status st = copy_most(&w->conn, &err);
        pthread_mutex_lock(&w->lock);
        w->state = st == AIKI_OK ? WAL_COPIED : WAL_FAILED;
        w->why = err;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void enter(struct wal *w, enum wal_state state)
{
    pthread_mutex_lock(&w->lock);
    w->state = state;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* wait: until the thread is done. WAL_FAILED fills in *err. */
static enum wal_state look(struct wal *w, bool wait, aiki_error *err)
{
    pthread_mutex_lock(&w->lock);
    while (wait && w->state == WAL_COPYING)
        pthread_cond_wait(&w->changed, &w->lock);
    enum wal_state state = w->state;
    if (state == WAL_FAILED)
        *err = w->why;
    pthread_mutex_unlock(&w->lock);
    return state;
}

/* ---- create and destroy ---- */

static void expect_from(struct wal *w, int pages)
{
    w->copy_at = pages + w->limits.copy_pages;
    w->restart_at = pages + w->limits.restart_pages;
}

static int on_commit(void *arg, sqlite3 *db, const char *schema, int pages)
{
    struct wal *w = arg;
    (void)db;
    (void)schema;
    if (pages < w->pages)
        expect_from(w, 0); /* the log was started over */
    w->pages = pages;
    return SQLITE_OK;
}

void wal_set_limits(struct wal *w, const struct wal_limits *limits)
{
    w->limits = *limits;
    sqlite3_busy_timeout(w->writer->db, limits->busy_ms_max);
    expect_from(w, w->pages);
}

/* The store thread comes before readers that are not reading yet. */
static void init_reading(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

aiki_status wal_create(struct wal **ret, struct sqlite_conn *writer, aiki_error *err)
{
    struct wal *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return error_set(err, AIKI_NOMEM, "log of %s", writer->path);
    w->writer = writer;
    init_reading(&w->reading);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    wal_set_limits(w, &usual_limits);
    aiki_status st = sql_open(&w->conn, writer->path, false, err);
    if (st == AIKI_OK) {
        sql_keep_log(&w->conn);
        w->has_thread = pthread_create(&w->thread, NULL, run_thread, w) == 0;
        if (!w->has_thread)
            st = error_set(err, AIKI_LIMIT, "%s: no thread for its log; raise the limit on threads",
                           writer->path);
    }
    if (st != AIKI_OK) {
        wal_destroy(w);
        return st;
    }
    sqlite3_wal_hook(writer->db, on_commit, w);
    *ret = w;
    return AIKI_OK;
}

void wal_destroy(struct wal *w)
{
    if (w == NULL)
        return;
    if (w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    sqlite3_wal_hook(w->writer->db, NULL, NULL);
    if (w->state == WAL_FAILED)
        sql_keep_log(w->writer);
    sql_close(&w->conn);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    pthread_rwlock_destroy(&w->reading);
    free(w);
}

void wal_read_begin(struct wal *w)
{
    pthread_rwlock_rdlock(&w->reading);
}

void wal_read_end(struct wal *w)
{
    pthread_rwlock_unlock(&w->reading);
}

/* ---- around a commit ---- */

/* Copies all of the log and waits until nobody reads it; pages > 0 when somebody still does. */
static aiki_status restart(struct wal *w, aiki_error *err)
{
    bool done;
    enter(w, WAL_IDLE);
    pthread_rwlock_wrlock(&w->reading);
    aiki_status st = copy_log(w->writer, SQLITE_CHECKPOINT_RESTART, &done, err);
    pthread_rwlock_unlock(&w->reading);
    if (st == AIKI_OK && done)
        w->pages = 0;
    expect_from(w, w->pages);
    return st;
}

static aiki_status restart_or_warn(struct wal *w, aiki_error *err)
{
    aiki_status st = restart(w, err);
    if (st == AIKI_OK && w->pages > 0)
        log_warn("store",
                 "the log of %s has %d pages and grows on, since another program keeps reading "
                 "the database; commits are refused from %d pages on; end that program",
                 w->writer->path, w->pages, w->limits.pages_max);
    return st;
}

/* Copies what came while the thread was copying; the next commit starts the log over, unless a
 * reader still needs it. */
static aiki_status finish(struct wal *w, aiki_error *err)
{
    bool done;
    enter(w, WAL_IDLE);
    w->copy_at = w->pages + w->limits.copy_pages;
    return copy_log(w->writer, SQLITE_CHECKPOINT_PASSIVE, &done, err);
}

aiki_status wal_tend(struct wal *w, aiki_error *err)
{
    bool is_long = w->pages >= w->restart_at;
    switch (look(w, is_long, err)) {
    case WAL_IDLE:
        if (is_long)
            return restart_or_warn(w, err);
        if (w->pages >= w->copy_at)
            enter(w, WAL_COPYING);
        return AIKI_OK;
    case WAL_COPYING: return AIKI_OK;
    case WAL_COPIED: return is_long ? restart_or_warn(w, err) : finish(w, err);
    case WAL_FAILED: break;
    }
    return err->status;
}

aiki_status wal_check_room(struct wal *w, aiki_error *err)
{
    if (w->pages < w->limits.pages_max)
        return AIKI_OK;
    if (look(w, true, err) == WAL_FAILED)
        return err->status;
    sqlite3_busy_timeout(w->writer->db, 0); /* everybody else waits for the store thread */
    aiki_status st = restart(w, err);
    sqlite3_busy_timeout(w->writer->db, w->limits.busy_ms_max);
    if (st == AIKI_OK && w->pages >= w->limits.pages_max)
        st = error_set(err, AIKI_LIMIT,
                       "the log of %s is over WAL_PAGES_MAX (%d) since another program keeps "
                       "reading the database; end that program",
                       w->writer->path, w->limits.pages_max);
    return st;
}
