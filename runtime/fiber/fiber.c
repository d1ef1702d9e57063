/* fiber.c - fibers, their stacks and the pool that keeps them.
 *
 *   low                                                               high
 *   | guard: FIBER_GUARD_BYTES | stack: FIBER_STACK_BYTES, grows downward |
 *
 * MADV_GUARD_INSTALL (Linux 6.13) needs no mapping of its own for the guard, so the number of
 * fibers is not bound by vm.max_map_count; older kernels answer EINVAL and get mprotect.
 * Whether a stack went deep is asked of the kernel (mincore) when its fiber ends.
 */
#include "fiber/fiber.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fiber/checkers.h"
#include "fiber/context.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { PAGE_BYTES_MIN = 4096 };

struct fiber {
    struct context here;   /* where it is suspended */
    struct context caller; /* where fiber_resume was called */
    struct fiber_pool *pool;
    struct fiber *next_free;
    uint8_t *mapping; /* guard and stack, owned */
    fiber_fn fn;
    void *arg;
    const char *run, *workflow; /* borrowed, for crash reports */
    bool returned;
    unsigned valgrind_id;
#if FIBER_ASAN
    void *fiber_fake, *caller_fake; /* ASan's shadow of each side's locals */
    const void *caller_stack;
    size_t caller_stack_bytes;
#endif
#if FIBER_TSAN
    void *tsan, *caller_tsan;
#endif
};

struct fiber_pool {
    struct fiber *free;
    uint32_t free_count, warm_max, live_count;
};

static _Thread_local struct fiber *current;

/* ---- stacks ------------------------------------------------------------------------------ */

static uint8_t *stack_of(const struct fiber *f)
{
    return f->mapping + FIBER_GUARD_BYTES;
}

static bool guard_install(uint8_t *guard)
{
    static bool unsupported; /* asked once; the kernel does not change its mind */

    if (!unsupported && madvise(guard, FIBER_GUARD_BYTES, MADV_GUARD_INSTALL) == 0)
        return true;
    unsupported = true;
    return mprotect(guard, FIBER_GUARD_BYTES, PROT_NONE) == 0;
}

static bool stack_map(struct fiber *f)
{
    size_t bytes = FIBER_GUARD_BYTES + FIBER_STACK_BYTES;
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (m == MAP_FAILED)
        return false;
    if (!guard_install(m)) {
        (void)munmap(m, bytes); /* our own fresh mapping: cannot fail */
        return false;
    }
    f->mapping = m;
    f->valgrind_id = VALGRIND_STACK_REGISTER(stack_of(f), stack_of(f) + FIBER_STACK_BYTES);
    return true;
}

static void stack_unmap(struct fiber *f)
{
    VALGRIND_STACK_DEREGISTER(f->valgrind_id);
    (void)munmap(f->mapping, FIBER_GUARD_BYTES + FIBER_STACK_BYTES);
}

/* Give back the pages below FIBER_KEPT_BYTES if the fiber used any. */
static void stack_trim(struct fiber *f)
{
    enum { DEEP_BYTES = FIBER_STACK_BYTES - FIBER_KEPT_BYTES };
    unsigned char resident[DEEP_BYTES / PAGE_BYTES_MIN] = {0};

    /* Frames are contiguous: what went deep touched the page just below the kept part, unless a
     * large array straddles it; so look at all of it. */
    if (mincore(stack_of(f), DEEP_BYTES, resident) != 0)
        return;
    for (size_t i = 0; i < sizeof(resident); i++)
        if (resident[i] & 1) {
            (void)madvise(stack_of(f), DEEP_BYTES, MADV_DONTNEED); /* only an optimisation */
            return;
        }
}

/* ---- pool -------------------------------------------------------------------------------- */

struct fiber_pool *fiber_pool_create(uint32_t warm_max)
{
    struct fiber_pool *pool = calloc(1, sizeof(*pool));

    if (pool != NULL)
        pool->warm_max = warm_max;
    return pool;
}

static void fiber_free(struct fiber *f)
{
    stack_unmap(f);
    free(f);
}

void fiber_pool_destroy(struct fiber_pool *pool)
{
    if (pool == NULL)
        return;
    assert(pool->live_count == 0);
    while (pool->free != NULL) {
        struct fiber *f = pool->free;
        pool->free = f->next_free;
        fiber_free(f);
    }
    free(pool);
}

static struct fiber *fiber_take(struct fiber_pool *pool)
{
    struct fiber *f = pool->free;

    if (f != NULL) {
        pool->free = f->next_free;
        pool->free_count--;
        return f;
    }
    f = calloc(1, sizeof(*f));
    if (f != NULL && !stack_map(f)) {
        free(f);
        return NULL;
    }
    return f;
}

/* ---- switching --------------------------------------------------------------------------- */

static void enter_fiber(struct fiber *f)
{
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(&f->caller_fake, stack_of(f), FIBER_STACK_BYTES);
#endif
#if FIBER_TSAN
    f->caller_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan, 0);
#endif
    context_switch(&f->caller, &f->here);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->caller_fake, NULL, NULL);
#endif
}

static void leave_fiber(struct fiber *f)
{
#if FIBER_ASAN
    /* NULL tells ASan that this side never comes back. */
    __sanitizer_start_switch_fiber(f->returned ? NULL : &f->fiber_fake, f->caller_stack,
                                   f->caller_stack_bytes);
#endif
#if FIBER_TSAN
    __tsan_switch_to_fiber(f->caller_tsan, 0);
#endif
    context_switch(&f->here, &f->caller);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->fiber_fake, &f->caller_stack, &f->caller_stack_bytes);
#endif
}

static void run_fiber(void *arg)
{
    struct fiber *f = arg;

#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &f->caller_stack, &f->caller_stack_bytes);
#endif
    f->fn(f->arg);
    f->returned = true;
    leave_fiber(f);
    abort(); /* a returned fiber was resumed */
}

/* ---- a fiber's life ---------------------------------------------------------------------- */

struct fiber *fiber_create(struct fiber_pool *pool, fiber_fn fn, void *arg)
{
    struct fiber *f = fiber_take(pool);

    if (f == NULL)
        return NULL;
    f->pool = pool;
    f->fn = fn;
    f->arg = arg;
    f->returned = false;
    f->run = f->workflow = "?";
    pool->live_count++;
#if FIBER_ASAN
    /* The last user may have been dropped with its frames' red zones still in place. */
    __asan_unpoison_memory_region(stack_of(f), FIBER_STACK_BYTES);
#endif
#if FIBER_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    context_prepare(&f->here, stack_of(f), FIBER_STACK_BYTES, run_fiber, f);
    return f;
}

void fiber_destroy(struct fiber *f)
{
    if (f == NULL)
        return;
    assert(f != current);
#if FIBER_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    struct fiber_pool *pool = f->pool;
    pool->live_count--;
    if (pool->free_count >= pool->warm_max) {
        fiber_free(f);
        return;
    }
    stack_trim(f);
    f->next_free = pool->free;
    pool->free = f;
    pool->free_count++;
}

bool fiber_resume(struct fiber *f)
{
    assert(current == NULL && !f->returned);
    current = f;
    enter_fiber(f);
    current = NULL;
    return !f->returned;
}

void fiber_yield(void)
{
    assert(current != NULL);
    leave_fiber(current);
}

struct fiber *fiber_current(void)
{
    return current;
}

void fiber_set_label(struct fiber *f, const char *run, const char *workflow)
{
    f->run = run;
    f->workflow = workflow;
}

void fiber_place(const struct fiber *f, struct fiber_place *ret)
{
    ret->guard_begin = (uintptr_t)f->mapping;
    ret->stack_begin = (uintptr_t)stack_of(f);
    ret->stack_end = ret->stack_begin + FIBER_STACK_BYTES;
    ret->run = f->run;
    ret->workflow = f->workflow;
}
