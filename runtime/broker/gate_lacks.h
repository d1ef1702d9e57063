/* broker/gate_lacks.h - which tasks other builds of a plugin have and a new one does not. [any] */
#ifndef BROKER_GATE_LACKS_H
#define BROKER_GATE_LACKS_H

#include "wire/descriptor.h"

enum { GATE_LACKS_MAX = DESCRIPTOR_TASKS_MAX }; /* names; those beyond are not looked for */

/* Append the array of their names; nothing when there are none. descriptor: of the new build. document: the answer
 * to plugins.tasks, {"tasks": names}; one that cannot be read has none. */
void gate_lacks_write(aiki_writer *w, aiki_view descriptor, aiki_view document);

#endif
