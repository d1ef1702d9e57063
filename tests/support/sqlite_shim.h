/* support/sqlite_shim.h - a disk under SQLite that fails when told to. [any]
 *
 * Installs itself as the default VFS: everything goes to the real one, except what was ordered.
 */
#ifndef SUPPORT_SQLITE_SHIM_H
#define SUPPORT_SQLITE_SHIM_H

enum shim_failure {
    SHIM_NONE,
    SHIM_SYNC,      /* fsync answers EIO, once */
    SHIM_SYNC_DB,   /* the same, only for the database itself: a checkpoint */
    SHIM_DISK_FULL, /* writes answer ENOSPC until taken back */
    SHIM_WRITE      /* a write answers EIO, once */
};

void shim_install(void);
void shim_order(enum shim_failure failure);
/* fsync calls since the last time this was asked. */
int shim_take_syncs(void);

#endif
