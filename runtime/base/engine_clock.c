/* engine_clock.c - the engine's clock, over whatever the two clocks of the process are. */
#include "base/clock.h"

void engine_clock_init(struct engine_clock *c, int64_t floor_ms)
{
    int64_t wall_ms = clock_wall_ms();
    c->base_ms = wall_ms > floor_ms ? wall_ms : floor_ms;
    c->mono_base_ms = clock_mono_ms();
}

int64_t engine_clock_ms(const struct engine_clock *c)
{
    return c->base_ms + (clock_mono_ms() - c->mono_base_ms);
}
