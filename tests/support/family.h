/* support/family.h - what a played runtime appends on behalf of a run that starts others. */
#ifndef SUPPORT_FAMILY_H
#define SUPPORT_FAMILY_H

#include "support/pipeline_fixture.h"
#include "wire/child.h"

struct parent {
    struct aiki_id run;
    uint64_t epoch, number, seen;
};

struct brood {
    const char *workflow;
    uint64_t count, close_policy, pass;
    bool detached;
    uint64_t next;
    uint64_t then; /* EVENT_*: one more event behind the steps, 0 = none */
    int64_t start_limit_ms;
    const char *key; /* NULL: none */
    bool shared;
    uint8_t input; /* one byte; 0: the usual one */
};

/* Of the n-th step that a family begins. */
struct address address_of(uint64_t n);
struct parent start_parent(struct fixture *f);
struct aiki_id child_of(const struct parent *parent, uint64_t n);
/* One append that begins that many children. */
void ask_begin(struct fixture *f, struct parent *parent, const struct brood *family);
void begin(struct fixture *f, struct parent *parent, const struct brood *family);
/* Claims a run under its present epoch. */
uint64_t claim_run(struct fixture *f, struct aiki_id run);
/* The run's events of a kind; *ret_last: the last one, its views in memory of the fixture. */
size_t events_of(struct fixture *f, struct aiki_id run, uint64_t kind, struct event *ret_last);

#endif
