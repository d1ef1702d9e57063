/* filter.c - see filter.h. */
#include "child/filter.h"

#include <linux/audit.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#else
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

void filter_put(struct filter *f, struct sock_filter instruction)
{
    if (f->count < FILTER_CODE_MAX)
        f->at[f->count] = instruction;
    f->count++;
}

static void load(struct filter *f, size_t offset)
{
    filter_put(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

void filter_load_number(struct filter *f)
{
    load(f, offsetof(struct seccomp_data, nr));
}

void filter_load_argument(struct filter *f, unsigned index)
{
    /* both machines are little-endian */
    load(f, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

void filter_return(struct filter *f, uint32_t action)
{
    filter_put(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

void filter_when(struct filter *f, uint32_t value, uint8_t skipped)
{
    filter_put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped));
}

unsigned filter_case(struct filter *f, uint32_t value)
{
    filter_when(f, value, 0);
    return f->count;
}

void filter_end(struct filter *f, unsigned begun)
{
    if (begun <= FILTER_CODE_MAX)
        f->at[begun - 1].jf = (uint8_t)(f->count - begun);
}

void filter_begin(struct filter *f, uint32_t other_machine)
{
    f->count = 0;
    load(f, offsetof(struct seccomp_data, arch));
    filter_put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0));
    filter_return(f, other_machine);
    filter_load_number(f);
}

void filter_threads_only(struct filter *f, uint32_t action)
{
    filter_when(f, __NR_clone3, 1);
    filter_return(f, FILTER_FAILS(ENOSYS));
    filter_when(f, __NR_clone, 4);
    filter_load_argument(f, 0);
    filter_put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
    filter_return(f, SECCOMP_RET_ALLOW);
    filter_return(f, action);
}

/* Not by prctl: that would also take the processor's speculation from the whole process, on kernels before 5.16. */
int filter_enter(const struct filter *f)
{
    struct sock_fprog program = {.len = (unsigned short)f->count};
    if (f->count > FILTER_CODE_MAX)
        return E2BIG;
    program.filter = (struct sock_filter *)(uintptr_t)f->at; /* only read */
    return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) == 0 ? 0
                                                                                                       : errno;
}
