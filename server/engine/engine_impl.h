/* engine_impl.h - what the sources of the engine share. Nobody else includes this. */
#ifndef ENGINE_ENGINE_IMPL_H
#define ENGINE_ENGINE_IMPL_H

#include "engine/engine.h"

enum engine_change {
    CHANGE_CLAIM,
    CHANGE_CONTINUE,
    CHANGE_FINISH,
    CHANGE_PARK,
    CHANGE_RELEASE,
    CHANGE_BLOCK,
    CHANGE_SIGNAL,
    CHANGE_CHILD,
    CHANGE_TIMER,
    CHANGE_LOSE,
    CHANGE_UNBLOCK,
    CHANGE_CANCEL,
    CHANGE_TERMINATE,
    CHANGE_PAUSE,
    CHANGE_RESUME,
    CHANGE_WAKE,
    CHANGE_EXPIRE,
    CHANGE_RETRY,
    CHANGE_DROP,
    CHANGES
};

/* Besides states. 0: refused. STAY: unchanged. ENDED, PARKED: decided by the last event and by
 * the waits. */
enum { STAY = 100, ENDED = 101, PARKED = 102 };
uint8_t engine_outcome(enum engine_change change, uint32_t state);

bool engine_refuse(struct engine_refusal *ret, aiki_status status, const char *code,
                   const char *text);
bool engine_refuse_limit(struct engine_refusal *ret, const char *text, uint64_t value,
                         uint64_t limit);

/* Runnable again under a new epoch, or paused when that was asked: whoever held an older one can
 * no longer write. */
void engine_queue(struct run *run, const struct engine_now *now, struct engine_effects *effects);
void engine_disown(struct run *run);
/* Over, in that state. */
void engine_end(struct run *run, uint32_t state, struct engine_effects *effects);
void engine_touch(struct run *run, const struct engine_now *now);
/* [seq, at_ms, epoch, kind, body], see wire/event.h. */
void engine_record(struct run *run, uint64_t kind, aiki_view body, aiki_writer *events,
                   struct engine_effects *effects);
/* Whether a parked run waits for a step of this kind; name empty: whatever it is called. */
bool engine_waits_for(aiki_view waits, uint64_t kind, aiki_view name);

#endif
