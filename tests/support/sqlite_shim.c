/* sqlite_shim.c - a disk under SQLite that fails when told to. */
#include "support/sqlite_shim.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

/* A file of ours is followed in memory by the file of the real VFS. */
struct shim_file {
    sqlite3_file base;
    int is_database;
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;
static atomic_int ordered; /* enum shim_failure */
static atomic_int syncs;

static sqlite3_file *real(sqlite3_file *f)
{
    return (sqlite3_file *)((struct shim_file *)f + 1);
}

static int on_write(sqlite3_file *f, const void *data, int size, sqlite3_int64 offset)
{
    if (ordered == SHIM_DISK_FULL)
        return SQLITE_FULL;
    if (ordered == SHIM_WRITE) {
        ordered = SHIM_NONE;
        return SQLITE_IOERR_WRITE;
    }
    return real(f)->pMethods->xWrite(real(f), data, size, offset);
}

static int on_sync(sqlite3_file *f, int flags)
{
    syncs++;
    if (ordered == SHIM_SYNC || (ordered == SHIM_SYNC_DB && ((struct shim_file *)f)->is_database)) {
        ordered = SHIM_NONE;
        return SQLITE_IOERR_FSYNC;
    }
    return real(f)->pMethods->xSync(real(f), flags);
}

static int on_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}
static int on_read(sqlite3_file *f, void *to, int size, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, size, at);
}
static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real(f)->pMethods->xTruncate(real(f), size);
}
static int on_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real(f)->pMethods->xFileSize(real(f), ret);
}
static int on_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}
static int on_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}
static int on_reserved(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}
static int on_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int on_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int on_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int on_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
    return real(f)->pMethods->xShmMap(real(f), region, size, extend, ret);
}
static int on_shm_lock(sqlite3_file *f, int offset, int count, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, count, flags);
}
static void on_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}
static int on_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2, /* without memory mapping */
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_traits,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
    (void)vfs;
    struct shim_file *file = (struct shim_file *)f;
    file->base.pMethods = NULL;
    file->is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    int rc = real_vfs->xOpen(real_vfs, name, real(f), flags, ret_flags);
    if (rc != SQLITE_OK)
        return rc;
    file->base.pMethods = &shim_methods;
    return SQLITE_OK;
}

void shim_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL)
        abort();
    shim_vfs = *real_vfs;
    shim_vfs.zName = "shim";
    shim_vfs.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
    shim_vfs.pNext = NULL;
    shim_vfs.xOpen = on_open;
    if (sqlite3_vfs_register(&shim_vfs, 1) != SQLITE_OK)
        abort();
}

void shim_order(enum shim_failure failure)
{
    ordered = failure;
}

int shim_take_syncs(void)
{
    return atomic_exchange(&syncs, 0);
}
