/* base/planted.h - mistakes on purpose, for the simulator alone. [any]
 *
 * tests/sim compiles the engine, the pipeline and the replay code once more with AIKI_PLANTED; there
 * one of the mistakes of planted.def can be switched on, to prove that the simulator finds it.
 * Everywhere else BUG(name) is false and costs nothing; a name that is not in the table does not compile.
 */
#ifndef BASE_PLANTED_H
#define BASE_PLANTED_H

#include "base/planted.def"

enum planted {
#define PLANTED_ENUM(name, what) PLANTED_##name,
    PLANTED_BUGS(PLANTED_ENUM)
#undef PLANTED_ENUM
    PLANTED_NONE
};

#ifdef AIKI_PLANTED
extern int planted_bug; /* PLANTED_* */
#define BUG(name) (planted_bug == PLANTED_##name)
#else
#define BUG(name) ((void)PLANTED_##name, 0)
#endif

#endif
