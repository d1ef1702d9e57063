/* pipeline.h - the store thread: commands in, one commit a unit, outcomes out.
 *
 *   inbox --batches--> decide each command --> unit: dirty runs, answers owed
 *                          |                        | one commit
 *                          | durable of nothing     v
 *                          +----> outcome now    settle: answers, offers, notifications --> outcome
 *
 * Rules that keep this exact:
 *   - A command that changes something durable (START, APPEND, SIGNAL) only marks runs dirty and
 *     notes the answer it owes. Answers are written after the commit.
 *   - A command that changes nothing durable (CLAIM, WAIT, ...) is answered at once, and so must
 *     not look at a run that is dirty: such a run is committed first (unit_barrier).
 *   - A unit that the store refuses is rolled back as a whole and its commands are decided again
 *     one by one, so that only the one that cannot be is answered with the refusal.
 *   - What only memory knows about a run (its owner, the epoch after one was lost) lags behind
 *     the row; a run that lags for more than LAG_MS_MAX is written by itself.
 *
 * Everything in this header: [store].
 */
#ifndef SERVER_PIPELINE_H
#define SERVER_PIPELINE_H

#include "base/clock.h"
#include "batch.h"
#include "cache.h"
#include "engine/engine.h"
#include "metrics.h"
#include "quarantine.h"
#include "registry.h"
#include "shown.h"
#include "timers.h"

enum {
    LAG_MS_MAX = 200,
    AUDIT_MS = 500,          /* between looks at streams with runs queued for long */
    RETRY_MS = 1000,         /* before a wake-up that the store refused is tried again, at the latest */
    UNBLOCK_AGAIN_MS = 10000, /* before blocked runs that the store could not offer again are looked for */
    FAMILY_UNIT_RUNS = 16384, /* from here on what is left of a family is closed in the next unit */
    UNIT_REFS = 1024,        /* a unit that brings as many references, too */
    UNIT_RUNS = 4096,        /* a unit that holds this many is committed before the next command */
    SCAN_PAGE = 1000,        /* rows of one offer scan */
    CLAIM_BYTES_MAX = 64 * 1024,   /* journal sent with a claim, or up to twice that; more follows
                                    * by pages, of which a runtime asks for few at a time */
    PAGE_BYTES_MAX = 1024 * 1024,  /* and one append more */
    START_RETRY_BYTES_MAX = 16 * 1024,
    WAITERS_MAX = 1000000,
    WATCHERS_MAX = 10000,    /* of them those who watch a history */
    KEY_BYTES_MAX = 256,     /* start key, actor, signal reference, reason of a request */
    WAIT_MS_MAX = 24 * 3600 * 1000
};

#define START_DELAY_MS_MAX (INT64_C(100) * 366 * 24 * 3600 * 1000)

struct reader;

/* Somebody who waits for a run to end, or for its history to go on. */
struct waiter {
    struct chain of_run, of_party;
    struct entry *entry;
    peer_id peer;
    uint32_t correlation;
    bool watches;            /* its history, of which it wants limit events behind after_seq */
    uint64_t after_seq, limit;
    bool reveal, full;       /* as query_args; a result: reveal alone */
    uint32_t number;         /* index in pipeline.waiters; names its timer */
    uint32_t next_free;
};

/* What the store thread knows about a connection. */
struct party {
    peer_id peer;
    struct session *session; /* while it is a runtime with a lease */
    struct chain waiters;
};

/* A run as it was before the unit touched it. */
struct dirty {
    struct entry *entry;
    struct run before;
    struct session *owner_before;
    uint8_t hash_before[HASH_BYTES];
    uint8_t last_build_before[HASH_BYTES];
    uint8_t *waits_before, *reason_before; /* owned until the unit is settled */
    uint64_t reason_size_before;
    uint64_t journal_size_before;
    uint64_t duplicates_before;
    uint8_t *absorbed_before; /* as waits_before */
    uint64_t absorbed_size_before;
    bool key_dropped_before;
    bool insert;
    bool offer;
    bool timer;              /* became dirty by its timer, not by a command */
};

/* An answer owed once the unit is committed. */
struct owed {
    enum { OWED_STARTED, OWED_ACK, OWED_OK, OWED_FAULT, OWED_NOTIFY, OWED_DROP } kind;
    peer_id peer;
    uint32_t correlation;
    struct entry *entry;
    uint64_t number;         /* ACK: of the append. OK: count */
    bool created, want_result;
    bool parked, crashed;    /* ACK: how that append ended */
    aiki_error *error;       /* FAULT; owned */
    uint64_t offset, size_bytes; /* in entry->journal: NOTIFY: the event; ACK, crashed: its events */
    uint64_t epoch;
};

/* What has to be done in a run's family before the commit; see children.c. */
enum follow_what {
    FOLLOW_ENDED,
    FOLLOW_CANCELLED,
    FOLLOW_RETRIED,
    FOLLOW_PARKED, /* with RUN_FLAG_RING, for children */
    FOLLOW_CLOSE /* FOLLOW_ENDED, whose parent has been told */
};
struct follow {
    struct entry *entry; /* dirty */
    enum follow_what what;
};

struct command_ref {
    const struct batch *batch;
    size_t index;
};

/* What the unit at hand has gathered. */
struct work {
    struct dirty *runs;
    size_t run_count, run_capacity;
    struct owed *owed;
    size_t owed_count, owed_capacity;
    struct command_ref *commands;
    size_t command_count, command_capacity;
    struct follow *follow;
    size_t follow_count, follow_capacity;
    aiki_error spoilt;       /* not OK: the unit cannot be committed */
    struct run_write *writes;
    size_t write_capacity;
    struct ref_row *refs;
    size_t ref_count, ref_capacity;
};

struct query_args;
struct pipeline {
    struct postbox inbox;
    struct mailbox *outbox;        /* of the loop; borrowed */
    struct store *store;           /* borrowed */
    struct reader *reader;         /* borrowed */
    struct engine_clock clock;
    struct engine_now now;         /* as of the command at hand */
    const char *space;
    struct cache cache;
    struct registry registry;
    struct quarantine quarantine;
    struct schemas *schemas;       /* owned; the reader asks it, too */
    struct timers timers;
    struct work work;
    struct outcome *outcome;       /* being filled; owned */
    uint32_t *parcel_of_slot;      /* index + 1 in outcome->parcels */
    struct party *parties;         /* by slot */
    struct chain lagging;
    struct waiter **waiters;
    size_t waiter_count, waiter_capacity;
    uint32_t waiter_free;          /* number + 1 */
    size_t waiter_open_count;      /* and how many of them watch */
    size_t watcher_open_count;
    uint64_t run_no_max;
    size_t family_unit_runs; /* FAMILY_UNIT_RUNS */
    int64_t audit_at_ms;
    int64_t unblock_at_ms; /* blocked runs that could go on are looked for again; 0 = none was left */
    int64_t started_at_ms;
    const struct batch *batch;     /* of the command at hand */
    size_t index;
    bool alone;                    /* deciding again one by one after a refusal */
    bool stopping;
    uint64_t claim_bytes_max, page_bytes_max; /* CLAIM_, PAGE_BYTES_MAX; less in tests */
    struct event *fresh;           /* of the append at hand */
    size_t fresh_count, fresh_capacity;
    aiki_writer scratch, body;
};

/* store and outbox must outlive it; p->reader is set before the thread starts. */
void pipeline_init(struct pipeline *p, struct store *store, const char *space,
                   struct mailbox *outbox);
/* After the thread has ended. Batches that nobody took are dropped. */
void pipeline_deinit(struct pipeline *p);
/* Read what a restart needs: workflows, timers, counts. Before the thread starts. */
aiki_status pipeline_restore(struct pipeline *p, aiki_error *err);
/* The thread's function; ends on COMMAND_STOP. */
void pipeline_run(struct pipeline *p);
/* One turn of it: batches, and what is due by time. For tests with a clock of their own. */
void pipeline_turn(struct pipeline *p, struct mail *list);
/* Monotonic time until which there is nothing to do by itself; 0 = for ever. */
int64_t pipeline_deadline(struct pipeline *p);

/* ---- answers --------------------------------------------------------------------------------- */

/* Frames for a connection in the outcome at hand; valid until the next call. */
aiki_writer *answer_frames(struct pipeline *p, peer_id peer);
/* Push without answering a request. */
aiki_writer *push_frames(struct pipeline *p, peer_id peer);
void answer_refusal(struct pipeline *p, const struct command *c, const aiki_error *err);
#define answer(p, c, NAME, ...) \
    frame_add(answer_frames(p, (c)->peer), NAME, (c)->correlation, __VA_ARGS__)
void post_outcome(struct pipeline *p);
void offer_run(struct pipeline *p, const struct entry *e);

/* ---- runs ------------------------------------------------------------------------------------ */

/* Cached, or read from the store. AIKI_NOT_FOUND names the run. */
aiki_status run_load(struct pipeline *p, const struct aiki_id *id, struct entry **ret,
                     aiki_error *err);
/* The same for a command that is answered at once: a run that is dirty is committed first. *ret is
 * NULL on failure. */
aiki_status run_load_clean(struct pipeline *p, const struct aiki_id *id, struct entry **ret,
                           aiki_error *err);
aiki_status run_load_no(struct pipeline *p, uint64_t no, struct entry **ret, aiki_error *err);
/* What a new run is made of; workflow and version of `started` come from the flow. */
struct birth {
    struct aiki_id id;
    uint8_t input_hash[HASH_BYTES];
    uint64_t flags; /* RUN_FLAG_* */
    int64_t start_by_ms; /* it ends unless somebody claims it until then; 0 = it waits */
    struct event started;
};
struct entry *run_start(struct pipeline *p, struct flow *flow, const struct birth *b);
/* AIKI_NOT_FOUND: no run has this start key. */
aiki_status run_load_key(struct pipeline *p, struct flow *flow, aiki_view key, struct entry **ret,
                         aiki_error *err);
/* Stored events of a run from after_seq on, at most about bytes_max, whole events: from memory
 * or read into p->scratch. Borrowed until the next call. */
aiki_status run_journal(struct pipeline *p, struct entry *e, uint64_t after_seq,
                        uint64_t bytes_max, aiki_view *ret, uint64_t *ret_last_seq,
                        aiki_error *err);
/* Its last event; for the result of an ended run. */
aiki_status run_last_event(struct pipeline *p, struct entry *e, struct event *ret,
                           aiki_error *err);
/* The body alone of an event: [kind, body] without its first two bytes. In p->body. */
aiki_view event_body(struct pipeline *p, const struct event *event);
/* When the run has to be looked at by itself; 0 = never. */
int64_t run_timer_at_ms(const struct run *run);
/* After the engine changed the run: links, counters, timers, lag. Only for changes that stand. */
void run_settle(struct pipeline *p, struct entry *e);
/* Memory is ahead of the row. */
bool run_lags(const struct entry *e);
void run_set_owner(struct entry *e, struct session *s);
void session_lose_all(struct pipeline *p, struct session *s);
void answer_started(struct pipeline *p, const struct command *c, const struct entry *e,
                    bool created, bool want_result);
/* shown: to people. */
void answer_result(struct pipeline *p, struct entry *e, peer_id peer, uint32_t correlation, bool shown);
/* Whose the input and output of a run are. */
struct value_of run_value(const struct entry *e, bool output);

/* ---- unit ------------------------------------------------------------------------------------ */

/* Note the run's state before a durable change; call before the engine. */
struct dirty *unit_touch(struct pipeline *p, struct entry *e);
/* Undo the latest unit_touch: nothing came of it. */
void unit_untouch(struct pipeline *p, struct entry *e);
/* The engine recorded events at `from` of the journal: chain them, keep waits and reason. */
void unit_recorded(struct pipeline *p, struct entry *e, uint64_t from,
                   const struct engine_effects *effects);
/* The command at hand is answered when the unit commits. */
struct owed *unit_owe(struct pipeline *p, const struct command *c, struct entry *e);
/* The command at hand is refused because of how e stands: at once, or, when that is not committed yet and
 * may come to nothing, when the unit commits. e NULL: at once. */
void unit_refuse(struct pipeline *p, const struct command *c, struct entry *e, const aiki_error *err);
/* unit_recorded, and what others are owed for it: the owner is shown an arrival, or dropped. */
void unit_changed(struct pipeline *p, struct entry *e, uint64_t from,
                  const struct engine_effects *effects);
/* Commit and settle; on a refusal decide its commands again one by one. Nothing is left dirty. */
void unit_commit(struct pipeline *p);
/* The same, and what came of it leaves at once. */
void unit_finish(struct pipeline *p);
/* Commit first when e is dirty. e may be gone afterwards (rolled back): look it up again. */
bool unit_barrier(struct pipeline *p, const struct entry *e);
/* Every commit goes through here; by itself: what is no part of the unit at hand, as rows of the registry.
 * A full disk is nobody's mistake who asks: AIKI_UNAVAILABLE, STORE_FULL. Else AIKI_CONFLICT, AIKI_STALE or
 * AIKI_UNAVAILABLE: nothing was written. Any other failure ends the process. */
aiki_status unit_store(struct pipeline *p, const struct unit *unit, aiki_error *err);
void unit_deinit(struct work *u);

/* ---- commands -------------------------------------------------------------------------------- */

/* The engine's refusal as an error about this run. */
void refusal_error(const struct entry *e, const struct engine_refusal *r, aiki_error *err);
void command_decide(struct pipeline *p, const struct command *c, aiki_view payload);
void command_start(struct pipeline *p, const struct command *c, aiki_view payload);
void command_control(struct pipeline *p, const struct command *c, aiki_view payload);
void command_signal(struct pipeline *p, const struct command *c, aiki_view payload);
void command_wait(struct pipeline *p, const struct command *c, aiki_view payload);
void command_claim(struct pipeline *p, const struct command *c, aiki_view payload);
void command_journal(struct pipeline *p, const struct command *c, aiki_view payload);
void command_append(struct pipeline *p, const struct command *c, aiki_view payload);
void command_register(struct pipeline *p, const struct command *c, aiki_view payload);
void command_unregister(struct pipeline *p, const struct command *c, aiki_view payload);
void command_moved(struct pipeline *p, const struct command *c, aiki_view payload);
void command_usage(struct pipeline *p, const struct command *c, aiki_view payload);
void command_refused(struct pipeline *p, const struct command *c, aiki_view payload);
void command_stream_reset(struct pipeline *p, const struct command *c, aiki_view payload);
void command_offer(struct pipeline *p, const struct offer_scan *scan);
void command_tickets(struct pipeline *p, aiki_view tickets);
void command_query(struct pipeline *p, const struct command *c, aiki_view payload);
void command_open(struct pipeline *p, const struct command *c, const struct session_open *info);
void session_end(struct pipeline *p, peer_id peer);
/* The session of a connection that has one with a lease; else answers FENCED and NULL. */
struct session *session_of(struct pipeline *p, const struct command *c);

/* ---- blocked runs (unblock.c) ---- */

/* A build appeared: runs that another build blocked may go on with it. */
void unblock_for(struct pipeline *p, const struct plugin *plugin);
/* The store could not: in UNBLOCK_AGAIN_MS once more, for all builds there are then. */
void unblock_later(struct pipeline *p);
void unblock_again(struct pipeline *p);
/* Runs that are blocked because that build, named by its first hex digits, crashed; *ret_lifted is
 * raised by how many. */
aiki_status unblock_crashed(struct pipeline *p, aiki_view build_hex, uint64_t *ret_lifted,
                            aiki_error *err);

/* One msgpack value within the limits; empty becomes nil. */
aiki_status check_payload(aiki_view *value, const char *what, aiki_error *err);
/* AIKI_LIMIT over KEY_BYTES_MAX. */
aiki_status check_text(aiki_view text, const char *what, aiki_error *err);

/* ---- requests -------------------------------------------------------------------------------- */

/* Who asks, why, and under which reference, for the record; empty: not said. */
struct asked {
    aiki_view reason, actor, ref;
};

/* CONTROL_* but for CONTROL_RETRY and CONTROL_DROP. False: refused. effects->recorded 0: it was so already. */
bool run_request(struct pipeline *p, struct entry *e, uint64_t action, const struct asked *asked,
                 struct engine_effects *ret_effects, struct engine_refusal *ret_refusal);
/* step empty: only what failed is executed again. */
aiki_status run_retry(struct pipeline *p, struct entry *e, aiki_view step,
                      const struct asked *asked, aiki_error *err);
/* The run has been touched. False: its deadline has not passed. */
bool run_expire(struct pipeline *p, struct entry *e);
/* False: it need not be claimed, or not yet. */
bool run_unclaimed(struct pipeline *p, struct entry *e);

/* ---- references (refs.c) --------------------------------------------------------------------- */

/* Whether that was asked of the run before: on record, or in the unit at hand. of: REF_SIGNAL, or CONTROL_*.
 * Only the store can refuse. */
aiki_status refs_know(struct pipeline *p, const struct entry *e, uint64_t of, aiki_view ref,
                      bool *ret_known, aiki_error *err);
/* It is recorded in the unit at hand. */
void refs_add(struct pipeline *p, const struct entry *e, uint64_t of, aiki_view ref);

/* ---- shared children (joins.c) --------------------------------------------------------------- */

struct joined {
    struct aiki_id parent, child; /* who waits, and what its step knows the run as */
};
/* Who has joined e, by its journal; the caller frees *ret, also after a failure. */
aiki_status joins_of(struct pipeline *p, struct entry *e, struct joined **ret, size_t *ret_count,
                     aiki_error *err);
enum { JOIN_WALK_RUNS_MAX = 256 };
/* `asks` is about to wait for the end of holder; both are in use. Whoever may be part of a circle by that is
 * marked with RUN_FLAG_RING. Only the store can refuse. */
aiki_status joins_mark(struct pipeline *p, struct entry *asks, struct entry *holder, aiki_error *err);
/* A run with that flag, in use, parks for children: when it closes a circle, a call in it fails (JOIN_CIRCLE).
 * Only the store can refuse. */
aiki_status joins_untie(struct pipeline *p, struct entry *parked, aiki_error *err);

/* ---- families (children.c) ------------------------------------------------------------------- */

/* Whether an event that an owner appends is about a child. */
bool child_is_concerned(const struct event *e);
/* Start and close the children that these new events of the run, already recorded, are about. */
void children_begin(struct pipeline *p, struct entry *parent, aiki_view events);
/* Something happened to a dirty run that its family has to follow. */
void children_note(struct pipeline *p, struct entry *e, enum follow_what what);
/* The step of an open parent that has that child has failed. */
void child_record_failed(struct pipeline *p, struct entry *parent, const struct aiki_id *child,
                         const aiki_error *why);
/* All that was noted, and what follows from it. */
void children_follow(struct pipeline *p);
/* A run with RUN_FLAG_FOLLOW, touched: goes on where a unit before this one stopped. */
void children_follow_on(struct pipeline *p, struct entry *e);

/* ---- queries --------------------------------------------------------------------------------- */

/* The reader answers, or the refusal does. flow: the only one that matters, or NULL for all. */
void ask_reader(struct pipeline *p, const struct command *c, const struct flow *flow,
                aiki_view what, aiki_view args);

/* ---- waiters --------------------------------------------------------------------------------- */

enum { WAITER_TIMER = 1 }; /* timer keys: run number * 2, or waiter number * 2 + WAITER_TIMER */
aiki_status waiter_add(struct pipeline *p, struct entry *e, peer_id peer, uint32_t correlation,
                       bool shown, int64_t timeout_ms, aiki_error *err);
/* It is answered with a page of history once there are events behind args->after, the run has ended,
 * or the time is up. AIKI_LIMIT over WATCHERS_MAX. */
aiki_status watcher_add(struct pipeline *p, struct entry *e, const struct command *c,
                        const struct query_args *args, int64_t timeout_ms, aiki_error *err);
void waiter_timed_out(struct pipeline *p, uint32_t number);
/* Whoever waited for what this run, just committed, has become. */
void waiters_answer(struct pipeline *p, struct entry *e);
void waiters_forget(struct pipeline *p, peer_id peer, const uint32_t *correlation);

struct party *party_of(struct pipeline *p, peer_id peer);

#endif
