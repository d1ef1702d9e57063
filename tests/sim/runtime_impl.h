/* runtime_impl.h - between runtime.c (sessions, claims), stay.c (runs that are executed) and attempt.c
 * (what their tasks do). */
#ifndef SIM_RUNTIME_IMPL_H
#define SIM_RUNTIME_IMPL_H

#include "sim.h"

enum { SLOTS = 6, STAYS_MAX = 64, ARENA_BYTES = 16 * 1024, BEAT_MS = LEASE_MS / 3 };

struct block {
    struct block *next;
    uint64_t used, size;
    uint8_t bytes[];
};

/* A run in a runtime, from its claim to its last append's answer. */
struct stay {
    bool used, zombie, leaving, loading;
    bool brokers;               /* what the broker keeps of a run whose child is gone */
    bool acted, moved;          /* an attempt began; another build was asked first */
    bool given_up;              /* an append was not recorded: handed back by its number */
    bool alone, wants_alone;    /* no other run is in its process; it was handed back to be that */
    bool orderly;               /* it hands the run back by itself */
    bool mismatch;              /* its code has come to a recorded value that does not fit */
    bool held_back;             /* it comes to what its build may not execute: back when the rest has ended */
    aiki_view why;              /* the build that was asked first does not execute it: error map */
    uint64_t serial;            /* names this use of the struct */
    uint32_t runtime, run, build;
    uint64_t epoch, appends, journal_seq;
    struct replay replay;
    struct interp interp;
    uint32_t seen_at_call[FUTURES_MAX + 1]; /* by future */
    bool shielded[FUTURES_MAX + 1];
    uint32_t attempts;          /* execution + 1, linked by next */
    int64_t next_pass_at_ms;
    struct block *blocks;       /* owned */
    int64_t timer_at_ms;
    uint64_t input;
};

enum ask_kind { ASK_REGISTER, ASK_CLAIM, ASK_JOURNAL, ASK_APPEND, ASK_BEAT, ASK_OTHER };
struct ask {
    uint32_t correlation;
    enum ask_kind kind;
    uint32_t workflow, build;
    struct ticket ticket;
    uint64_t stay, number;      /* serial; of the append, or of the last event read */
};

struct runtime {
    uint32_t number, build;
    uint64_t generation;        /* rises when the process is a new one */
    bool up, registered;
    int64_t frozen_until_ms, renewed_at_ms;
    int64_t serve_at_ms;        /* the server could not record its build: again then; 0 = it need not */
    struct aiki_id session;
    uint32_t correlation;
    int64_t offset_ms, last_ms; /* engine's clock as learnt */
    struct ask asks[256];
    uint32_t ask_count, claims_open;
    uint32_t quarantined[BUILDS]; /* quarantine_bit */
    struct stay stays[STAYS_MAX];
};
extern struct runtime runtimes[RUNTIMES_MAX];
extern uint64_t stay_serial;

void *stay_alloc(void *stay, uint64_t size_bytes);
aiki_view stay_copy(struct stay *s, aiki_view v);
void stay_drop(struct stay *s);
struct stay *stay_find(struct runtime *rt, uint64_t serial);
struct stay *stay_of_run(struct runtime *rt, uint32_t run);
struct stay *stay_new(struct runtime *rt, uint32_t run, uint64_t epoch);
/* Nothing of it has come yet; build executes it. */
void stay_loads(struct stay *s, uint32_t build);
/* What is on record does not fit the build of s, which has done nothing: another is asked. */
void runtime_move(struct stay *s, aiki_view why);
/* That build executes it, or was asked first and blocks it. */
void runtime_moved(struct stay *s, uint32_t to);
/* All that was recorded goes along. */
void stay_give_back(struct stay *s);
uint32_t stay_count(const struct runtime *rt);
void build_hash(uint32_t build, uint8_t ret_hash[HASH_BYTES]);
int64_t host_now_ms(struct runtime *rt);
void learn_time(struct runtime *rt, int64_t now_ms);
/* An event of a runtime that is stopped happens when it goes on. */
bool later(const struct sim_event *e, const struct runtime *rt);
uint32_t ask(struct runtime *rt, const struct ask *a);
struct runtime *host_of(const struct stay *s);
/* A page of the journal has come; ready: it was the last, replay it and go on. */
void stay_page(struct stay *s, aiki_view page);
void stay_ready(struct stay *s);
/* Go on as far as possible. */
void stay_pump(struct stay *s);
/* Number, first of the pair if it is one. */
uint64_t number_in(aiki_view value);

void runtime_release(struct stay *s, aiki_view events);

/* ---- schemas.c ---- */

/* The judge of signals; the arg is the stay. */
aiki_view schema_judge(void *arg, struct step *step);
/* False: the attempt has failed for good. */
bool schema_output_passes(struct stay *s, struct step *step, uint64_t value);
/* False: what is on record does not fit this build. */
bool schema_record_passes(struct stay *s, struct step *step);

/* ---- crash.c ---- */

/* The broker hands back what a child that hangs has; the child goes on unknowing. */
void crash_hang(struct runtime *rt);
/* A child is gone with all that was under way in it. */
void crash_child(struct runtime *rt);
bool crash_is_in_child(const struct stay *s);

/* ---- attempt.c ---- */

void attempt_start(struct stay *s, struct step *step);
/* REPLAY_OVERDUE. */
void attempt_check(struct stay *s, struct step *step);
/* One that a thread is executing, or NULL. */
const struct execution *attempt_under_way(const struct stay *s);
/* One that was given out and has not ended, begun or not. */
bool attempt_is_open(const struct stay *s);
const struct task_policy *attempt_policy(struct stay *s, const struct op *op);

#endif
