/* support/reader_fixture.h - the server's reader thread on a memory store, asked as a client does. */
#ifndef SUPPORT_READER_FIXTURE_H
#define SUPPORT_READER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "base/buf.h"
#include "engine/run.h"
#include "reader.h"
#include "support/store_suite.h"
#include "wire/error.h"

struct fixture {
    uv_loop_t loop;
    struct mailbox outbox;
    struct store *store;
    struct reader *reader;
    char *answer; /* owned JSON of the last document, or "CODE" of the last refusal */
    uint64_t last_no;
};

int setup(void **state);
int teardown(void **state);
/* The answer, until the next question. Nobody serves anything. args: JSON. */
const char *ask(struct fixture *f, const char *what, const char *args);
const char *ask_about(struct fixture *f, const char *what, const struct aiki_id *run);
/* On record, with one event that nobody reads. */
struct aiki_id add_run(struct fixture *f, const struct aiki_id *parent, uint64_t children,
                       uint32_t run_state, uint64_t flags);
/* How often the part is in it. */
unsigned count_of(const char *text, const char *part);

#endif
