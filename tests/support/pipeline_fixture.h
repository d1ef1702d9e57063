/* support/pipeline_fixture.h - the store thread's turns on the memory store, with a clock the test
 * moves, a client and two runtimes that are played. One fixture a case; setup serves workflow
 * "order" 1.0.0 from RUNTIME. */
#ifndef SUPPORT_PIPELINE_FIXTURE_H
#define SUPPORT_PIPELINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "pipeline.h"
#include "store/memory.h"
#include "wire/error.h"

enum { ANSWERS_MAX = 8192, CLIENT = 1, RUNTIME = 2, RIVAL = 3 };

struct answer {
    peer_id peer;
    uint32_t type, correlation;
    uint8_t *payload;
    uint64_t size_bytes;
};

struct fixture {
    char url[40];
    uv_loop_t loop;
    struct mailbox mailbox;
    struct store *store;
    struct pipeline p;
    struct batch *batch;
    struct answer answers[ANSWERS_MAX];
    size_t answer_count;
    uint64_t answered[4]; /* requests counted as answered, by peer */
    struct offer offers[ANSWERS_MAX];
    size_t offer_count;
    size_t orphan_count;
    struct offer_scan scan;
    bool scanned;
};

extern const uint8_t build[HASH_BYTES], other_build[HASH_BYTES];
extern const uint8_t input[4], other_input[4], answer42[1];

struct said {
    struct aiki_id run;
    uint64_t epoch, number, next, seen;
    int64_t wake_at_ms;
    uint64_t kind;           /* EVENT_* or 0 */
    const char *wait_signal; /* parks for it */
};

void forget_answers(struct fixture *f);
void forget(struct fixture *f);
void command(struct fixture *f, uint32_t who, uint32_t type, uint32_t correlation,
             const void *payload, size_t size_bytes);
/* One turn of the store thread; what it posts is delivered. */
void turn(struct fixture *f);
void pass_ms(struct fixture *f, int64_t ms);
/* The only answer to that request since the last look, of that type. */
const struct answer *answer_to(struct fixture *f, uint32_t who, uint32_t correlation,
                               uint32_t type);
bool has_answer(const struct fixture *f, uint32_t who, uint32_t correlation);
void expect_fault(struct fixture *f, uint32_t who, uint32_t correlation, aiki_status status,
                  const char *code);
void serve(struct fixture *f, uint32_t who, const uint8_t *with_build); /* workflow order */
void serve_workflow(struct fixture *f, uint32_t who, const uint8_t *with_build, const char *workflow);
void open_session(struct fixture *f, uint32_t who);
int setup(void **state);
int teardown(void **state);
void restart(struct fixture *f);
void ask_start(struct fixture *f, uint32_t correlation, const char *key);
/* A started run and its offer. */
struct aiki_id start(struct fixture *f);
/* Takes the latest offer. */
uint64_t claim(struct fixture *f, uint32_t who);
void ask_append(struct fixture *f, uint32_t who, uint32_t correlation, const struct said *s);
void finish(struct fixture *f, struct aiki_id run, uint64_t epoch);
uint32_t state_of(struct fixture *f, struct aiki_id run);
void park(struct fixture *f, struct aiki_id run, uint64_t epoch, const char *signal,
          int64_t wake_in_ms);
peer_id peer(uint32_t who);
uint64_t ask(struct fixture *f, struct aiki_id run, uint64_t action);

#define say(f, who, NAME, correlation, ...)                                                        \
    do {                                                                                           \
        const struct msg_##NAME m_ = {__VA_ARGS__};                                                \
        aiki_writer w_;                                                                            \
        buf_init(&w_);                                                                             \
        msg_##NAME##_write(&w_, &m_);                                                              \
        command(f, who, WIRE_##NAME, correlation, w_.data, (size_t)w_.size_bytes);                 \
        buf_deinit(&w_);                                                                           \
    } while (0)

#define expect(f, who, correlation, NAME, m)                                                       \
    do {                                                                                           \
        const struct answer *a_ = answer_to(f, who, correlation, WIRE_##NAME);                     \
        assert_int_equal(msg_##NAME##_read((aiki_view){a_->payload, a_->size_bytes}, m, NULL), 0); \
    } while (0)

#endif
