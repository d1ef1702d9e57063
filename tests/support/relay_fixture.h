/* support/relay_fixture.h - a relay between a played server and a played process of one build. */
#ifndef SUPPORT_RELAY_FIXTURE_H
#define SUPPORT_RELAY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/fake_server.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/relay.h"
#include "broker/verdict.h"
#include "wire/error.h"
#include "wire/event.h"

enum { SLOTS = 8, EPOCH = 41 };

/* The relay's neighbours, played: a build whose process is a socketpair's other end. */
struct build {
    struct conn *line;  /* the broker's end; NULL = no process */
    struct conn *child; /* the other end */
    bool assignable, kept;
    unsigned kills, left;
    const struct verdict *verdict;
};
extern unsigned acked, kicks; /* entries, and times the consumer was asked to go on */

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct fake_server server;
    struct fake_server child; /* only its memory for frames is used */
    struct session *session;
    struct relay *relay;
    struct build build;
    struct stream stream;
    struct aiki_id run;
    struct build *other; /* that fits a run that the first does not */
    struct build *alone; /* for a run that has a process of its own */
    uint8_t last[32];    /* who executed it last, as the one who looks for another was told */
    unsigned ups, endings, closed, lefts, conns_gone;
};

int setup(void **state);
int teardown(void **state);
void ticket(struct fixture *f, uint64_t epoch);
/* The claim for the fixture's run, in this epoch. */
uint32_t await_claim(struct fixture *f, uint64_t epoch);
struct msg_ASSIGN await_assign(struct fixture *f);
void grant(struct fixture *f, uint32_t correlation, uint64_t epoch, bool more, aiki_view journal);
/* From the ticket to the child. */
void begin_stay(struct fixture *f, uint64_t epoch);
void child_appends(struct fixture *f, uint64_t epoch, uint64_t number, uint64_t next);
uint32_t await_append(struct fixture *f, uint64_t number, uint64_t next);
void server_acks(struct fixture *f, uint32_t correlation, uint64_t number);
void await_drop(struct fixture *f);
void await_held(struct fixture *f, uint64_t held);
/* The next request for a page. */
uint32_t await_page_request(struct fixture *f, uint64_t after_seq);
/* Of a connection that nobody has to hear the end of. */
void on_line_closed(struct conn *c, aiki_status status, const char *why, void *arg);
void notify(struct fixture *f, uint64_t epoch, uint64_t kind);

#endif
