/* store/sqlite_file.h - the database file: where it is, whose it is, who has it. [store] */
#ifndef STORE_SQLITE_FILE_H
#define STORE_SQLITE_FILE_H

#include <aiki/status.h>

struct sqlite_file {
    char *path;  /* owned: absolute, without symbolic links */
    int lock_fd; /* the lock lasts as long as this is open */
};

/* Creates the directory (0700, one level) and the file (0600) when missing and takes the lock.
 * AIKI_CONFLICT names the process that has it; AIKI_DENIED, AIKI_INVALID name path and reason. */
aiki_status sqlite_file_claim(const char *path, struct sqlite_file *ret, aiki_error *err);
/* Fine on {NULL, -1}. */
void sqlite_file_release(struct sqlite_file *f);

#endif
