/* base/clock.h - the two clocks. [any] */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* ms since 1970 UTC */
int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);

/* RFC 3339: "2026-11-21T07:31:02.114Z", or with an offset such as +01:00, as ms since 1970. 0 when
 * the text is no such time after 1970. */
int64_t clock_parse_ms(const char *text);

/* Engine clock: starts at max(wall, floor), then advances by the monotonic clock, so it never
 * goes back and a jump of the wall clock moves nothing. One owner, any one thread. */
struct engine_clock {
    int64_t base_ms, mono_base_ms;
};
void engine_clock_init(struct engine_clock *c, int64_t floor_ms);
int64_t engine_clock_ms(const struct engine_clock *c);

#endif
