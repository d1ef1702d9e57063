/* context.c - stack switching, written down once per processor.
 *
 *   x86-64 stack of a suspended side     aarch64
 *   sp -> | mxcsr | x87 control word |   sp -> | x19 ... x30 | d8 ... d15 | fpcr | pad |
 *         | r15 r14 r13 r12 rbx rbp  |
 *         | return address           |
 *
 * Only what the calling convention lets a callee keep is saved. The floating point control words
 * are part of it: plugin code may have changed the rounding mode. No shadow stack is switched:
 * glibc does not enable user shadow stacks where this runs; when it does, this file must learn it.
 */
#include "fiber/context.h"

#include <stdint.h>

#if defined(FIBER_UCONTEXT)

/* makecontext hands over ints: a pointer travels in two halves. */
static void start_halves(unsigned fn_high, unsigned fn_low, unsigned arg_high, unsigned arg_low)
{
    uintptr_t fn = (uintptr_t)(((uint64_t)fn_high << 32) | fn_low);
    uintptr_t arg = (uintptr_t)(((uint64_t)arg_high << 32) | arg_low);

    ((void (*)(void *))fn)((void *)arg); /* never returns */
}

void context_prepare(struct context *c, void *stack, size_t stack_bytes, void (*fn)(void *arg),
                     void *arg)
{
    uint64_t f = (uint64_t)(uintptr_t)fn, a = (uint64_t)(uintptr_t)arg;

    (void)getcontext(&c->saved); /* cannot fail with a valid pointer */
    c->saved.uc_stack.ss_sp = stack;
    c->saved.uc_stack.ss_size = stack_bytes;
    c->saved.uc_link = NULL;
    makecontext(&c->saved, (void (*)(void))start_halves, 4, (unsigned)(f >> 32), (unsigned)f,
                (unsigned)(a >> 32), (unsigned)a);
}

void context_switch(struct context *from, struct context *to)
{
    (void)swapcontext(&from->saved, &to->saved);
}

#else

/* Save this side's registers on its stack and its stack pointer in *save; load the other's. */
void fiber_switch_stack(void **save, void *sp);
/* First return address of a new stack. Not a C function: it finds fn and arg in registers. */
void fiber_first_entry(void);

#if defined(__x86_64__)

#define PUSH(reg) "push %" #reg "\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset %" #reg ", 0\n"
#define POP(reg) "pop %" #reg "\n .cfi_adjust_cfa_offset -8\n .cfi_restore %" #reg "\n"

__asm__(".text\n"
        ".p2align 4\n"
        ".globl fiber_switch_stack\n"
        ".hidden fiber_switch_stack\n"
        ".type fiber_switch_stack, @function\n"
        "fiber_switch_stack:\n"
        ".cfi_startproc\n"
        "endbr64\n"
        PUSH(rbp) PUSH(rbx) PUSH(r12) PUSH(r13) PUSH(r14) PUSH(r15)
        "sub $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "stmxcsr (%rsp)\n"
        "fnstcw 4(%rsp)\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n" /* the same layout on the other side: the unwind rules stay true */
        "ldmxcsr (%rsp)\n"
        "fldcw 4(%rsp)\n"
        "add $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        POP(r15) POP(r14) POP(r13) POP(r12) POP(rbx) POP(rbp)
        "ret\n"
        ".cfi_endproc\n"
        ".size fiber_switch_stack, . - fiber_switch_stack\n"

        ".p2align 4\n"
        ".globl fiber_first_entry\n"
        ".hidden fiber_first_entry\n"
        ".type fiber_first_entry, @function\n"
        "fiber_first_entry:\n"
        ".cfi_startproc\n"
        ".cfi_undefined %rip\n" /* debuggers stop here: nobody called us */
        "endbr64\n"
        "xor %ebp, %ebp\n"
        "mov %r12, %rdi\n"
        "call *%rbx\n"
        "ud2\n"
        ".cfi_endproc\n"
        ".size fiber_first_entry, . - fiber_first_entry\n");

void context_prepare(struct context *c, void *stack, size_t stack_bytes, void (*fn)(void *arg),
                     void *arg)
{
    enum { MXCSR_DEFAULT = 0x1f80, X87_DEFAULT = 0x037f };
    uint64_t *sp = (uint64_t *)(((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15);

    *--sp = 0; /* two words keep the stack 16-aligned at the first call */
    *--sp = 0;
    *--sp = (uint64_t)(uintptr_t)fiber_first_entry;
    *--sp = 0;                        /* rbp */
    *--sp = (uint64_t)(uintptr_t)fn;  /* rbx */
    *--sp = (uint64_t)(uintptr_t)arg; /* r12 */
    *--sp = 0;                        /* r13 */
    *--sp = 0;                        /* r14 */
    *--sp = 0;                        /* r15 */
    *--sp = ((uint64_t)X87_DEFAULT << 32) | MXCSR_DEFAULT;
    c->sp = sp;
}

#else /* aarch64 */

__asm__(".text\n"
        ".p2align 4\n"
        ".globl fiber_switch_stack\n"
        ".hidden fiber_switch_stack\n"
        ".type fiber_switch_stack, %function\n"
        "fiber_switch_stack:\n"
        ".cfi_startproc\n"
        "hint #34\n" /* bti c; a no-op on processors without it */
        "sub sp, sp, #176\n"
        ".cfi_def_cfa_offset 176\n"
        "stp x19, x20, [sp]\n"
        "stp x21, x22, [sp, #16]\n"
        "stp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]\n"
        "stp x27, x28, [sp, #64]\n"
        "stp x29, x30, [sp, #80]\n"
        ".cfi_offset x29, -96\n"
        ".cfi_offset x30, -88\n"
        "stp d8, d9, [sp, #96]\n"
        "stp d10, d11, [sp, #112]\n"
        "stp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]\n"
        "mrs x9, fpcr\n"
        "str x9, [sp, #160]\n"
        "mov x9, sp\n"
        "str x9, [x0]\n"
        "mov sp, x1\n"
        "ldr x9, [sp, #160]\n"
        "msr fpcr, x9\n"
        "ldp d14, d15, [sp, #144]\n"
        "ldp d12, d13, [sp, #128]\n"
        "ldp d10, d11, [sp, #112]\n"
        "ldp d8, d9, [sp, #96]\n"
        "ldp x29, x30, [sp, #80]\n"
        "ldp x27, x28, [sp, #64]\n"
        "ldp x25, x26, [sp, #48]\n"
        "ldp x23, x24, [sp, #32]\n"
        "ldp x21, x22, [sp, #16]\n"
        "ldp x19, x20, [sp]\n"
        "add sp, sp, #176\n"
        ".cfi_def_cfa_offset 0\n"
        ".cfi_restore x29\n"
        ".cfi_restore x30\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size fiber_switch_stack, . - fiber_switch_stack\n"

        ".p2align 4\n"
        ".globl fiber_first_entry\n"
        ".hidden fiber_first_entry\n"
        ".type fiber_first_entry, %function\n"
        "fiber_first_entry:\n"
        ".cfi_startproc\n"
        ".cfi_undefined x30\n"
        "hint #34\n"
        "mov x29, #0\n"
        "mov x30, #0\n"
        "mov x0, x20\n"
        "blr x19\n"
        "brk #1\n"
        ".cfi_endproc\n"
        ".size fiber_first_entry, . - fiber_first_entry\n");

void context_prepare(struct context *c, void *stack, size_t stack_bytes, void (*fn)(void *arg),
                     void *arg)
{
    enum { SAVED_WORDS = 22, AT_FN = 0, AT_ARG = 1, AT_RETURN = 11 };
    uint64_t *sp = (uint64_t *)(((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15) - SAVED_WORDS;

    for (int i = 0; i < SAVED_WORDS; i++)
        sp[i] = 0;
    sp[AT_FN] = (uint64_t)(uintptr_t)fn;
    sp[AT_ARG] = (uint64_t)(uintptr_t)arg;
    sp[AT_RETURN] = (uint64_t)(uintptr_t)fiber_first_entry;
    c->sp = sp;
}

#endif

void context_switch(struct context *from, struct context *to)
{
    fiber_switch_stack(&from->sp, to->sp);
}

#endif
