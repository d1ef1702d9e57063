/* intake/elf.h - does a file hold what its ELF headers promise? [any]
 *
 * The dynamic loader trusts every offset: a truncated or zero-tailed plugin kills the process
 * that maps it. So nothing maps a plugin before these checks have passed over its bytes.
 * They need no more than the bytes, never read outside them, and allocate nothing.
 */
#ifndef INTAKE_ELF_H
#define INTAKE_ELF_H

#include <aiki/status.h>

/* AIKI_OK for a shared object of this machine whose tables all lie inside the file. Else
 * AIKI_INVALID with one of the codes NOT_ELF, WRONG_MACHINE, NOT_SHARED, TRUNCATED, BAD_ELF. */
aiki_status elf_check(aiki_view file, aiki_error *err);

#endif
