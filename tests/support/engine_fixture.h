/* support/engine_fixture.h - one run under the rules of the engine, and what a runtime does to it.
 */
#ifndef SUPPORT_ENGINE_FIXTURE_H
#define SUPPORT_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "wire/event.h"
#include "wire/message.h"

enum { OWNER = 7, OTHER = 8, START_MS = 1000 };

struct fixture {
    struct run run;
    struct engine_now now;
    struct engine_effects effects;
    struct engine_refusal refusal;
    aiki_writer journal, events, waits;
    uint64_t number; /* of the last append */
};

extern const aiki_view empty_body; /* [nil] */

int setup(void **state);
int teardown(void **state);
void add_event(struct fixture *f, uint64_t kind);
bool claim(struct fixture *f);
struct engine_append next_append(struct fixture *f, uint64_t next);
bool send_append(struct fixture *f, const struct engine_append *a);
/* One append with the event that `next` asks for. */
bool append(struct fixture *f, uint64_t next);
void add_wait(struct fixture *f, uint64_t kind, const char *name);
bool park_for(struct fixture *f, uint64_t kind, const char *name);
bool signal_run(struct fixture *f, const char *name);
bool end_with(struct fixture *f, uint64_t kind);
bool request(struct fixture *f, uint64_t action);
/* A fresh run that starts later. */
void schedule(struct fixture *f);
bool expire(struct fixture *f);

enum act {
    CLAIM, CONTINUE, FINISH, PARK, RELEASE, BLOCK, SIGNAL, TIMER, LOSE, UNBLOCK,
    CANCEL, TERMINATE, PAUSE, RESUME, WAKE, CHILD, EXPIRE, RETRY, DROP, ACTS
};
/* Done; false: refused, and nothing has changed. */
bool act(struct fixture *f, enum act what);
/* Bring a fresh run into that state. */
void bring_to(struct fixture *f, uint32_t state);

#endif
