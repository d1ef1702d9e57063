/* base/clock.h - the two clocks. [any] */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* ms since 1970 UTC */
int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);

/* Engine clock: starts at max(wall, floor), then advances by the monotonic clock, so it never
 * goes back and a jump of the wall clock moves nothing. One owner, any one thread. */
struct engine_clock {
    int64_t base_ms, mono_base_ms;
};
void engine_clock_init(struct engine_clock *c, int64_t floor_ms);
int64_t engine_clock_ms(const struct engine_clock *c);

#endif
