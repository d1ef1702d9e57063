/* clock.c - the two clocks. */
#include "base/clock.h"

#include <time.h>

enum { NS_PER_MS = 1000 * 1000, MS_PER_S = 1000 };

static struct timespec now(clockid_t id)
{
    struct timespec t = {0};
    (void)clock_gettime(id, &t); /* cannot fail for the two clocks used here */
    return t;
}

int64_t clock_wall_ms(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * MS_PER_S + t.tv_nsec / NS_PER_MS;
}

int64_t clock_mono_ms(void) { return clock_mono_ns() / NS_PER_MS; }

int64_t clock_mono_ns(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return (int64_t)t.tv_sec * MS_PER_S * NS_PER_MS + t.tv_nsec;
}

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
