/* fiber.h - functions that can be suspended: one stack each, all on one thread. [loop]
 *
 *   fiber_create --> fiber_resume --> ... fn ... --fiber_yield--> back in fiber_resume's caller
 *                         ^                                            |
 *                         +--------------------------------------------+
 *
 * A stack is FIBER_STACK_BYTES of address space over a guard that cannot be touched. Running into
 * the guard ends the process with one line that names the fiber (fiber_watch_crashes). Stacks are
 * kept warm in a pool; what a deep fiber used is given back to the system.
 *
 * Destroying a suspended fiber frees its stack without unwinding: code on a fiber holds nothing
 * that needs cleaning up across a yield.
 */
#ifndef FIBER_FIBER_H
#define FIBER_FIBER_H

#include <aiki/status.h>

enum {
    FIBER_STACK_BYTES = 256 * 1024,
    FIBER_GUARD_BYTES = 64 * 1024,
    FIBER_KEPT_BYTES = 32 * 1024, /* of a warm stack; a deeper one is given back below that */
    FIBER_WARM_MAX = 1024         /* stacks kept for reuse */
};

struct fiber;
struct fiber_pool;
typedef void (*fiber_fn)(void *arg);

/* NULL: out of memory. */
struct fiber_pool *fiber_pool_create(uint32_t warm_max);
/* All fibers of the pool have been destroyed before. NULL is fine. */
void fiber_pool_destroy(struct fiber_pool *pool);

/* NULL: out of memory or address space. */
struct fiber *fiber_create(struct fiber_pool *pool, fiber_fn fn, void *arg);
/* Suspended, returned or never resumed; not the running one. NULL is fine. */
void fiber_destroy(struct fiber *f);
/* Run until the next yield (true) or until fn has returned (false; then only destroy it). */
bool fiber_resume(struct fiber *f);
/* Back to the caller of fiber_resume; only on a fiber. */
void fiber_yield(void);
/* The one running on this thread, or NULL. */
struct fiber *fiber_current(void);

/* What a crash report says about this fiber. Borrowed as long as it lives. */
void fiber_set_label(struct fiber *f, const char *run, const char *workflow);
/* Once per process, on the thread that runs fibers: a deadly signal writes one line about the fiber
 * or labelled work it hit, then the process dies as it would have without. AIKI_NOMEM,
 * AIKI_INTERNAL. */
aiki_status fiber_watch_crashes(void);
/* Called from the signal handler on the thread that was hit, with all signals blocked, so what they
 * may do is little. Several threads may be there at once. Before fiber_watch_crashes. */
struct fiber_crash {
    uintptr_t instruction; /* that it happened at; 0: not known */
    int signal;
    bool overflow; /* the stack was used up */
    bool has_address;
    uintptr_t address;
    uint32_t refused; /* 1 + the system call that was refused (SIGSYS); 0: that was not it */
};
struct fiber_crash_callbacks {
    void *(*on_hit)(const struct fiber_crash *crash); /* before the line; may only note it */
    void (*on_told)(void *hit); /* behind it, with SIGALRM for an end; the process ends when it returns */
};
void fiber_on_crash(const struct fiber_crash_callbacks *callbacks); /* borrowed for ever */
/* The same for a further thread that runs plugin code, so that its stack may overflow too. */
aiki_status fiber_watch_thread(void);
/* What this thread executes besides fibers: a task and its run. Borrowed until the next call; NULL:
 * nothing. [any] */
void fiber_label_thread(const char *run, const char *task);

/* For crash.c: where the stack of f begins and what it is called. */
struct fiber_place {
    uintptr_t guard_begin, stack_begin, stack_end;
    const char *run, *workflow;
};
void fiber_place(const struct fiber *f, struct fiber_place *ret);

#endif
