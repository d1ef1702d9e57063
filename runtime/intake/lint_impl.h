/* intake/lint_impl.h - what lint.c, lint_read.c and lint_names.c share. Private. [any]
 *
 * lint_read.c: functions, slots and pointers of a file, into tables. lint.c: the way through them.
 */
#ifndef INTAKE_LINT_IMPL_H
#define INTAKE_LINT_IMPL_H

#include "intake/elf_impl.h"

struct slot {
    uint64_t address;
    const char *symbol; /* NULL: one of the file itself, at `target` */
    uint64_t target;
};

struct pointer {
    uint64_t address;
    uint64_t target; /* 0: not in the file */
    uint64_t size;   /* the linkage table's: of the object there; 0: a pointer in an object of the plugin */
};

struct function {
    uint64_t start, size;
};

struct lint {
    struct image image;
    struct function *functions; /* owned, sorted */
    uint8_t *seen;    /* owned: one for each */
    uint8_t *is_task; /* owned: one for each */
    uint64_t *table;  /* owned: where the table is through which it was found first; 0: certain */
    uint32_t *todo;   /* owned: indices of functions still to be looked into */
    struct slot *slots; /* owned, sorted by address: what is of interest */
    uint8_t *slot_seen;
    struct pointer *pointers; /* owned, sorted by address */
    uint8_t *pointer_seen;    /* owned: POINTER_* */
    uint8_t *pointer_begins;  /* owned: something refers to it, so an object begins there */
    uint32_t *pointer_todo;   /* owned: where tables begin that are still to be looked at */
    size_t function_count, todo_count, slot_count, pointer_count, pointer_todo_count;
};

/* An address is the first member of what the tables hold. */
const void *lint_find(uint64_t address, const void *table, size_t count, size_t size);
/* What four bytes lead to, as a distance from `base`. */
uint64_t lint_relative(uint64_t base, const uint8_t *at);
/* Whether code at this index may be the distance of a call, a jump or an address; never at 0. */
bool lint_is_distance(const uint8_t *code, uint64_t at);
/* The tables of an image that elf_open has passed. False: no memory, or no table of functions. */
bool lint_read(struct lint *l);

/* Why workflow code must not call it, or NULL. */
const char *lint_what(const char *symbol);

#endif
