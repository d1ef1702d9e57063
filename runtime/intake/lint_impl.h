/* intake/lint_impl.h - what lint.c asks of lint_names.c. Private. [any] */
#ifndef INTAKE_LINT_IMPL_H
#define INTAKE_LINT_IMPL_H

/* Why workflow code must not call it, or NULL. */
const char *lint_what(const char *symbol);

#endif
