/* child/filter.h - a program for the kernel that looks at each system call, written instruction by instruction.
 *
 *   filter_begin --> rules --> filter_return(ALLOW) --> filter_enter
 *
 * The loaded word is the number of the call at first; who loads an argument either returns or loads the number
 * again (filter_load_number). Limit: FILTER_CODE_MAX instructions; a longer one is no program: filter_enter says so.
 */
#ifndef CHILD_FILTER_H
#define CHILD_FILTER_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>

enum { FILTER_CODE_MAX = 512 };

#define FILTER_ENDS SECCOMP_RET_TRAP
#define FILTER_FAILS(number) (SECCOMP_RET_ERRNO | (number))

struct filter {
    struct sock_filter at[FILTER_CODE_MAX];
    unsigned count;
};

/* other_machine: what becomes of calls that a program for another machine makes; the rules know nothing of them. */
void filter_begin(struct filter *f, uint32_t other_machine);
void filter_put(struct filter *f, struct sock_filter instruction);
void filter_load_number(struct filter *f);
/* The lower half of an argument: what is a number of a process, a descriptor or a command has no other. */
void filter_load_argument(struct filter *f, unsigned index);
void filter_return(struct filter *f, uint32_t action);
/* The next `skipped` instructions are for when the loaded word is that value. */
void filter_when(struct filter *f, uint32_t value, uint8_t skipped);
/* The same, and how many there are is said by filter_end with what this answers. */
unsigned filter_case(struct filter *f, uint32_t value);
void filter_end(struct filter *f, unsigned begun);
/* clone starts threads; processes are `action`. clone3 hides its flags: libraries then use clone. */
void filter_threads_only(struct filter *f, uint32_t action);
/* For this thread and all that it will start. 0, or errno: EACCES when the process may still get rights by
 * executing a program (no_new_privs), and has none itself. */
int filter_enter(const struct filter *f);

#endif
