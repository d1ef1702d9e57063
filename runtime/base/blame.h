/* blame.h - which code of which run every thread of a child is executing, for its broker to read
 * once the child has died.
 *
 *   broker: a memfd of fixed size --inherited--> child: one slot a thread, filled on entering code
 *   child dies --> broker looks at its own mapping: busy slots, and what the dying thread left
 *
 * Written by one process while the other may look: a slot counts only while it is busy, and is
 * filled before. Plugin code may have written all over it: the reader believes no size and no text.
 */
#ifndef BASE_BLAME_H
#define BASE_BLAME_H

#include <aiki/status.h>
#include <stdatomic.h>

#include "wire/event.h"

enum {
    BLAME_SLOTS = 1 + 1024, /* the loop thread's is 0; TASK_THREADS_MAX others */
    BLAME_NAME_SIZE = 104,
    BLAME_STACK_BYTES_MAX = 4096,
    BLAME_FOREIGN = BLAME_SLOTS /* a thread that the plugin itself made */
};

struct blame_slot {
    atomic_uint busy;
    uint32_t attempt; /* 0: the workflow's own code */
    struct aiki_id run;
    struct address address; /* of the step; zero without one */
    uint64_t nth;
    _Atomic int64_t left_mono_ms; /* when it was last left; 0 = never */
    char name[BLAME_NAME_SIZE];   /* of task or workflow */
};

struct blame_page {
    /* left by the thread that takes the process down */
    atomic_uint dying; /* 0: nothing was left; else its slot + 1 */
    uint32_t signal;   /* 0: it called exit() */
    uint32_t overflow; /* its stack was used up */
    uint32_t has_fault_address;
    uint64_t fault_address;
    atomic_uint stack_bytes; /* a msgpack array of texts; 0: there was no time for it */
    uint8_t stack[BLAME_STACK_BYTES_MAX];
    struct blame_slot slots[BLAME_SLOTS];
};

/* ---- the broker's side [loop] ---- */

/* *ret_fd: to be inherited and then closed; its size cannot be changed by whoever has it. NULL with
 * errno set. */
struct blame_page *blame_create(int *ret_fd);
void blame_destroy(struct blame_page *page); /* NULL is fine */

/* ---- the child's side ---- */

/* Before there are threads; closes fd. AIKI_INTERNAL: it is no such page. Without one (in tests)
 * everything below does nothing. */
aiki_status blame_attach(int fd);
/* This thread has a slot from now on; the first to come, the loop thread, has slot 0. [any] */
void blame_thread(void);
/* step: NULL for the workflow's own code. [any] */
struct blame_code {
    struct aiki_id run;
    const struct address *address;
    uint64_t nth;
    uint32_t attempt;
    const char *name;
};
void blame_enter(const struct blame_code *code);
void blame_leave(int64_t mono_ms);
/* This thread takes the process down; safe in a signal handler. signal 0: by exit(). NULL: another
 * thread does so already, or there is no page. */
struct blame_page *blame_dying(int signal);

#endif
