/* store/memory_disk.h - what a memory store has in place of a file: it outlives the handle.
 *
 *   disk: runs sorted by no --> journal rows        index: id, (space, key, workflow)
 *
 * The store thread writes, readers look, under one lock, which those who call hold.
 */
#ifndef STORE_MEMORY_DISK_H
#define STORE_MEMORY_DISK_H

#include <pthread.h>

#include "store/memory_index.h"

struct workflow {
    struct workflow_row row;
    void *block; /* owned, what row looks at */
};

struct disk {
    struct disk *next; /* named disks */
    char *name;        /* owned, "" = dies with its handle */
    bool open;         /* guarded by the lock of the list of disks */
    pthread_mutex_t lock;
    struct run_index runs;
    struct workflow *workflows; /* sorted by space, name, version */
    size_t workflow_count;
    uint64_t incarnation;
    int64_t clock_ms_max;
};

/* The disk of that name, or a new one. AIKI_CONFLICT: another handle has it. [any] */
aiki_status disk_claim(const char *name, struct disk **ret, aiki_error *err);
/* The next may claim it; one without a name is gone. [any] */
void disk_release(struct disk *d);
/* Forget a disk that nobody has claimed. A name that is not there is fine. [any] */
void disk_wipe(const char *name);

/* All of the unit or nothing; what is wrong with it, as commit() of store.h says. Takes d->lock held. */
aiki_status disk_apply(struct disk *d, const struct unit *unit, aiki_error *err);

/* As the bytes are ordered, and a beginning before what it begins. */
int disk_compare(aiki_view a, aiki_view b);

#endif
