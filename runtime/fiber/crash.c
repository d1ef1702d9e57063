/* crash.c - one line that names the run before a crashing fiber takes the process with it.
 *
 * The handler runs on a stack of its own (the fiber's is what overflowed) and calls nothing but
 * write and sigaction. It returns with the default action restored, so the same instruction
 * faults again and the process dies with the right signal, core file included.
 */
#include "fiber/fiber.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fiber/checkers.h"

enum { LINE_BYTES = 512, HANDLER_BYTES = 16 * 1024 };

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

static void describe(struct line *l, const struct fiber_place *p, int signal_number, uintptr_t at)
{
    bool overflow = at >= p->guard_begin && at < p->stack_begin;

    put(l, overflow ? "STACK OVERFLOW in run " : "CRASH in run ");
    put(l, p->run);
    put(l, " (");
    put(l, p->workflow);
    put(l, "): ");
    if (overflow) {
        put(l, "address 0x");
        put_number(l, at, 16);
        put(l, " is ");
        put_number(l, p->stack_begin - at, 10);
        put(l, " bytes below the ");
        put_number(l, FIBER_STACK_BYTES / 1024, 10);
        put(l, " KiB stack; put large buffers into aiki_run alloc()\n");
        return;
    }
    put(l, "signal ");
    put_number(l, (uintptr_t)signal_number, 10);
    put(l, " at address 0x");
    put_number(l, at, 16);
    put(l, " in workflow code\n");
}

static void on_crash(int signal_number, siginfo_t *info, void *context)
{
    struct sigaction restore = {.sa_handler = SIG_DFL};
    const struct fiber *f = fiber_current();
    (void)context;

    if (f != NULL) {
        struct line l = {.size = 0};
        struct fiber_place place;
        fiber_place(f, &place);
        describe(&l, &place, signal_number, (uintptr_t)info->si_addr);
        ssize_t ignored = write(STDERR_FILENO, l.text, l.size); /* dying: nobody to tell */
        (void)ignored;
    }
    (void)sigaction(signal_number, &restore, NULL);
}

static size_t alternate_stack_bytes(void)
{
    long frame = sysconf(_SC_MINSIGSTKSZ); /* 12 KiB and more with wide vector registers */

    return (frame > 0 ? (size_t)frame : 16384) + HANDLER_BYTES;
}

aiki_status fiber_watch_crashes(void)
{
    struct sigaction act = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static void *stack; /* lives as long as the process */

    if (FIBER_ASAN || FIBER_TSAN)
        return AIKI_OK; /* they install their own handlers and say more */
    if (stack == NULL)
        stack = malloc(alternate_stack_bytes());
    if (stack == NULL)
        return AIKI_NOMEM;

    stack_t alternate = {.ss_sp = stack, .ss_size = alternate_stack_bytes()};
    (void)sigemptyset(&act.sa_mask);
    if (sigaltstack(&alternate, NULL) != 0 || sigaction(SIGSEGV, &act, NULL) != 0 ||
        sigaction(SIGBUS, &act, NULL) != 0)
        return AIKI_INTERNAL;
    return AIKI_OK;
}
