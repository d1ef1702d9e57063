/* context.h - the one place that knows how to leave one stack for another. [any]
 *
 * x86-64 and aarch64 switch in a few instructions; elsewhere, or with -DFIBER_UCONTEXT, swapcontext
 * does it at the price of a system call each way.
 */
#ifndef FIBER_CONTEXT_H
#define FIBER_CONTEXT_H

#include <stddef.h>

#if !defined(FIBER_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define FIBER_UCONTEXT
#endif

#ifdef FIBER_UCONTEXT
#include <ucontext.h>
struct context {
    ucontext_t saved;
};
#else
struct context {
    void *sp; /* of the suspended side; its registers lie there */
};
#endif

/* Make *c start fn(arg) on the given stack when it is first switched to. fn must not return. */
void context_prepare(struct context *c, void *stack, size_t stack_bytes, void (*fn)(void *arg),
                     void *arg);
/* Suspend here into *from and go on in *to. Returns when somebody switches to *from. */
void context_switch(struct context *from, struct context *to);

#endif
