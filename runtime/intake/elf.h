/* intake/elf.h - does a file hold what its ELF headers promise, and nothing that we refuse? [any]
 *
 * The dynamic loader trusts every offset: a truncated or zero-tailed plugin kills the process
 * that maps it. So nothing maps a plugin before these checks have passed over its bytes.
 * They need no more than the bytes, never read outside them, and allocate nothing.
 */
#ifndef INTAKE_ELF_H
#define INTAKE_ELF_H

#include <aiki/status.h>

/* AIKI_OK for a shared object of this machine in which every table that the loader reads lies
 * inside the file and every index and address in them inside its table or segment. Else
 * AIKI_INVALID with one of the codes NOT_ELF, WRONG_MACHINE, NOT_SHARED, TRUNCATED, BAD_ELF, and for
 * what loads but is not let in EXEC_STACK, WRITABLE_CODE, TEXT_RELOCATIONS, FOREIGN_RPATH. */
aiki_status elf_check(aiki_view file, aiki_error *err);
/* Where it looks for its libraries: absolute paths with ":" between them, borrowed from the file;
 * empty = nowhere of its own. Only of a file that elf_check has passed. */
aiki_view elf_run_path(aiki_view file);

#endif
