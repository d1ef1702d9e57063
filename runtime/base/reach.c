/* reach.c - see reach.h. */
#include "base/reach.h"

#include <stddef.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

const char *reach_call_name(uint32_t system_call)
{
    static const struct {
        uint32_t number;
        const char *name;
    } calls[] = {
#define RULE(name, when, whom) {__NR_##name, #name},
#include "base/reach_calls.def"
#undef RULE
    };
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        if (calls[i].number == system_call)
            return calls[i].name;
    return NULL;
}
