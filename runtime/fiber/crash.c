/* crash.c - one line that names the run before a crash in plugin code takes the process with it.
 *
 * The handler runs on a stack of its own (the plugin's is what may have overflowed) and calls
 * nothing but system calls before the line is out, but for on_hit, which only stores; then who wants to
 * know more may look at the stack. All of it has CRASH_LOOK_S at most: nobody may read the line, and what
 * was hit may hold any lock. It returns with the default action restored, so the same instruction faults again and the
 * process dies with the right signal, core file included. A signal that was sent (kill, raise) has no
 * such instruction and is sent once more.
 */
#include "fiber/fiber.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "fiber/checkers.h"

enum { LINE_BYTES = 512, HANDLER_BYTES = 64 * 1024, CRASH_LOOK_S = 2 };

static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
enum { DEADLY_COUNT = sizeof(deadly) / sizeof(deadly[0]) };

/* Of threads that execute tasks. */
static _Thread_local struct {
    const char *run, *task; /* NULL: nothing under way */
    uintptr_t stack_begin;  /* 0: unknown */
} thread;

static const struct fiber_crash_callbacks *callbacks;

struct line {
    char text[LINE_BYTES];
    size_t size;
};

static void put(struct line *l, const char *text)
{
    while (*text != '\0' && l->size < LINE_BYTES - 1)
        l->text[l->size++] = *text++;
}

static void put_number(struct line *l, uintptr_t n, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);

    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n > 0 && at > 0);
    put(l, digits + at);
}

static void put_where(struct line *l, bool overflow, const char *run, const char *what,
                      const char *name)
{
    put(l, overflow ? "STACK OVERFLOW in run " : "CRASH in run ");
    put(l, run);
    put(l, " (");
    put(l, what);
    put(l, name);
    put(l, "): ");
}

static bool was_sent(const siginfo_t *info)
{
    return info->si_code <= 0; /* sigaction(2): positive codes are the kernel's own */
}

/* By a filter. The instruction is over: it does not fault again. */
static bool was_refused(const siginfo_t *info)
{
    return info->si_signo == SIGSYS && !was_sent(info);
}

static void put_signal(struct line *l, const siginfo_t *info)
{
    put(l, "signal ");
    put_number(l, (uintptr_t)info->si_signo, 10);
    if (was_refused(info)) {
        put(l, " by system call ");
        put_number(l, (uintptr_t)info->si_syscall, 10);
    } else if (!was_sent(info)) {
        put(l, " at address 0x");
        put_number(l, (uintptr_t)info->si_addr, 16);
    }
    put(l, "\n");
}

static bool describe_fiber(struct line *l, const struct fiber_place *p, const siginfo_t *info)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    bool overflow = info->si_signo == SIGSEGV && at >= p->guard_begin && at < p->stack_begin;

    put_where(l, overflow, p->run, "workflow ", p->workflow);
    if (!overflow) {
        put_signal(l, info);
        return false;
    }
    put(l, "address 0x");
    put_number(l, at, 16);
    put(l, " is ");
    put_number(l, p->stack_begin - at, 10);
    put(l, " bytes below the ");
    put_number(l, FIBER_STACK_BYTES / 1024, 10);
    put(l, " KiB stack; put large buffers into aiki_alloc()\n");
    return true;
}

static bool describe_task(struct line *l, const siginfo_t *info)
{
    /* Libraries differ in whether the guard counts as stack: look on both sides of its border. */
    uintptr_t at = (uintptr_t)info->si_addr, border = thread.stack_begin;
    bool overflow = info->si_signo == SIGSEGV && border != 0 && at + FIBER_GUARD_BYTES >= border &&
                    at < border + FIBER_GUARD_BYTES;

    put_where(l, overflow, thread.run, "task ", thread.task);
    if (overflow)
        put(l, "the stack of the task thread is used up; put large buffers into "
               "aiki_call_alloc()\n");
    else
        put_signal(l, info);
    return overflow;
}

static uintptr_t instruction_of(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static void *note(const siginfo_t *info, const ucontext_t *context, bool overflow)
{
    struct fiber_crash crash = {.signal = info->si_signo, .overflow = overflow};

    crash.instruction = instruction_of(context);
    crash.refused = was_refused(info) ? (uint32_t)info->si_syscall + 1 : 0;
    crash.has_address = !was_sent(info) && !was_refused(info);
    if (crash.has_address)
        crash.address = (uintptr_t)info->si_addr;
    return callbacks->on_hit(&crash);
}

/* Should what follows hang, the process ends all the same: nobody may read what it writes. */
static void limit_time(void)
{
    struct sigaction restore = {.sa_handler = SIG_DFL};
    sigset_t alarms;

    (void)sigemptyset(&alarms); /* these four cannot fail with what they are given */
    (void)sigaddset(&alarms, SIGALRM);
    (void)sigaction(SIGALRM, &restore, NULL);
    (void)pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    (void)alarm(CRASH_LOOK_S);
}

static bool describe(struct line *l, const siginfo_t *info)
{
    const struct fiber *f = fiber_current();
    struct fiber_place place;

    if (f == NULL)
        return thread.run != NULL && describe_task(l, info);
    fiber_place(f, &place);
    return describe_fiber(l, &place, info);
}

static void on_crash(int signal_number, siginfo_t *info, void *context)
{
    struct sigaction restore = {.sa_handler = SIG_DFL};
    struct line l = {.size = 0};
    bool overflow = describe(&l, info);
    void *hit = callbacks != NULL ? note(info, context, overflow) : NULL;

    limit_time();
    if (l.size > 0) {
        ssize_t ignored = write(STDERR_FILENO, l.text, l.size); /* dying: nobody to tell */
        (void)ignored;
    }
    if (callbacks != NULL)
        callbacks->on_told(hit);
    (void)sigaction(signal_number, &restore, NULL);
    if (was_sent(info) || was_refused(info))
        (void)raise(signal_number); /* blocked until the handler returns, then deadly */
}

void fiber_on_crash(const struct fiber_crash_callbacks *c)
{
    callbacks = c;
}

static size_t alternate_stack_bytes(void)
{
    long frame = sysconf(_SC_MINSIGSTKSZ); /* 12 KiB and more with wide vector registers */

    return (frame > 0 ? (size_t)frame : 16384) + HANDLER_BYTES;
}

/* The memory lives as long as the process: threads that call this do not end before. */
static aiki_status use_alternate_stack(void)
{
    stack_t alternate = {.ss_sp = malloc(alternate_stack_bytes()),
                         .ss_size = alternate_stack_bytes()};

    if (alternate.ss_sp == NULL)
        return AIKI_NOMEM;
    return sigaltstack(&alternate, NULL) == 0 ? AIKI_OK : AIKI_INTERNAL;
}

aiki_status fiber_watch_crashes(void)
{
    static bool watching;
    struct sigaction act = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    /* The address sanitizer lets its handlers be replaced, and what it finds ends with abort(). */
    if (FIBER_TSAN || watching)
        return AIKI_OK;
    aiki_status st = use_alternate_stack();
    (void)sigfillset(&act.sa_mask);
    for (int i = 0; i < DEADLY_COUNT && st == AIKI_OK; i++)
        if (sigaction(deadly[i], &act, NULL) != 0)
            st = AIKI_INTERNAL;
    watching = st == AIKI_OK;
    return st;
}

aiki_status fiber_watch_thread(void)
{
    pthread_attr_t attr;
    void *begin;
    size_t size;

    if (FIBER_TSAN)
        return AIKI_OK;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &begin, &size) == 0)
            thread.stack_begin = (uintptr_t)begin;
        (void)pthread_attr_destroy(&attr);
    }
    return use_alternate_stack();
}

void fiber_label_thread(const char *run, const char *task)
{
    thread.run = run;
    thread.task = task;
}
