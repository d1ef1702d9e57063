/* intake/lint.h - does workflow code call what it must not? [any]
 *
 * Workflow code is called again from its first line after each wait, so a clock, a random number, a
 * file, a socket or a thread of its own makes it take other steps than those on record. A plugin's
 * tasks may use all of these, so the imports of the file alone say little. What is followed here:
 *
 *   workflow's function --direct calls, addresses taken in code--> functions of the file --> imports
 *
 * in machine code, bounded by the function table that unwinding needs (.eh_frame_hdr; strip keeps it).
 * Tables of pointers in data that such code refers to (of C++ virtual functions, too) are followed: to imports, to
 * functions of the file and what these call, to other tables. Whether they are called nobody knows, so that is told
 * apart. Not seen: tables that only functions of tables refer to (they would lead through all of a language's library),
 * pointers that are written while the plugin runs, tables of 32-bit distances, what other libraries call.
 * A file without that table: all its imports count when it has no task, none when it has.
 * It allocates; limits LINT_FUNCTIONS_MAX, beyond which the file is not looked into, and LINT_TABLE_MAX pointers of a
 * table, LINT_PACKED_MAX packed relocations (RELR), the first ones.
 */
#ifndef INTAKE_LINT_H
#define INTAKE_LINT_H

#include <aiki/status.h>

enum { LINT_FUNCTIONS_MAX = 1000000, LINT_TABLE_MAX = 256, LINT_PACKED_MAX = 1000000 };

/* Imported functions that are found, each once for an entry; both texts borrowed. table: 0, or where the table of
 * pointers is that leads to it: then it is not known whether it is called. function: 0, or where the one begins that calls
 * it, when it is not in the table itself. */
typedef void (*lint_fn)(const char *symbol, const char *what, uint64_t table, uint64_t function, void *arg);

struct lint;
/* file: passed by elf_check, borrowed for the object's life. NULL: out of memory, or no such table. */
struct lint *lint_create(aiki_view file);
void lint_destroy(struct lint *l);
/* The function of a task, before any entry: a table that has it means that the task is defined there. */
void lint_task(struct lint *l, uint64_t entry);
/* What can be reached from the function at this offset in the image. */
void lint_entry(struct lint *l, uint64_t entry, lint_fn fn, void *arg);
/* All that the file imports. */
void lint_imports(aiki_view file, lint_fn fn, void *arg);

#endif
