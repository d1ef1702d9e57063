/* broker/builds_impl.h - what builds.c and build.c share. Private. [loop]
 *
 * build.c: one build and its process. builds.c: the files they come from, and all of them. kept.c:
 * those that another took the place of, kept for their open runs. solo.c: processes for one run.
 * recycle.c: a new process in the place of one that is worn. demand.c: a process when runs need it.
 */
#ifndef BROKER_BUILDS_IMPL_H
#define BROKER_BUILDS_IMPL_H

#include "broker/builds.h"
#include "broker/gate_report.h"
#include "broker/oom.h"
#include "broker/proc.h"
#include "intake/admit.h"
#include "intake/crew.h"
#include "intake/keep.h"
#include "intake/watch.h"
#include "wire/keys.h"

/* X(state, as /metrics names it) */
#define BUILD_STATES(X)           \
    X(LOADING, "loading")         \
    X(GATING, "gating")           \
    X(REGISTERING, "registering") \
    X(SERVING, "serving")         \
    X(DRAINING, "draining")       \
    X(KEPT, "kept")               \
    X(SOLO, "solo")               \
    X(SPARE, "spare")

enum build_state {
#define BUILD_STATE_ENUM(name, text) name,
    BUILD_STATES(BUILD_STATE_ENUM)
#undef BUILD_STATE_ENUM
};

/* Of a SERVING build: AWAKE has a process, or is about to, whether or not anybody needs it. */
enum demand_state { AWAKE, ASLEEP, WAKING, ENDING };

enum { LABEL_SIZE = 128 };

struct build {
    struct build *next; /* in builds.all */
    struct builds *owner;
    struct plugin_file *file; /* NULL once it is not the file's any more */
    char file_name[WATCH_NAME_SIZE];
    enum build_state state;
    uint8_t hash[BUILD_BYTES];
    char label[LABEL_SIZE];
    char *copy;             /* owned; the file is unlinked with the build */
    struct build_signature signature;
    char needs[NEEDS_SIZE]; /* what it declares (intake/needs.h); "" = nothing */
    struct proc *proc;      /* NULL between a death and its replacement */
    uint64_t oom_count;     /* when proc began */
    bool ready;             /* proc has said READY */
    aiki_writer descriptor; /* owned bytes; empty before the first READY */
    aiki_writer warnings;   /* owned: of the intake, a msgpack array or nothing */
    struct probe_answer answer; /* owned: until it serves; empty then, or when nobody probed */
    bool noted;             /* it comes from a note */
    struct gate_route *routes;   /* owned; texts borrowed from descriptor */
    size_t route_count;
    struct gate *gate;        /* GATING, while there is a session */
    aiki_writer gate_report;  /* msgpack map; empty = there were no open runs */
    struct request registration;
    uint32_t correlation; /* of a REGISTER without an answer; 0 = none */
    bool registered;      /* the present session was told */
    bool rejected;        /* by the server of the present session */
    uv_timer_t timer; /* REGISTERING, SERVING: until the restart; DRAINING: until it is killed */
    int64_t since_mono_ms; /* in this state; DRAINING, KEPT */
    struct kept {
        struct request question; /* how many open runs it executed last */
        uint32_t correlation;    /* of the question; 0 = none is under way */
        int64_t ask_at_mono_ms, pause_ms;
        uint64_t open;           /* the last answer */
        bool answered;
        uint64_t role; /* as the server was told last; only while registered */
        bool idle;   /* nobody was there at the last look */
        bool ending; /* its process was told to end */
        bool wanted; /* again, once it has ended */
    } kept;
    struct demand {
        enum demand_state state;
        bool wanted;             /* ENDING: again, once it has ended */
        uint64_t idle_s;         /* or IDLE_ALWAYS */
        uint64_t used_ms;        /* of the loop's clock: the last run left it then, or later */
        int64_t asked_mono_ms;   /* WAKING: since then somebody waits */
        int64_t ready_mono_ms;   /* the process has taken runs since */
        uint64_t loads, load_ms; /* how often it was waited for, and how long the last time */
    } demand;
    struct wear {
        struct build *spare;    /* borrowed: of a worn SERVING one, what is to take its place */
        struct build *spare_of; /* borrowed: of a SPARE, whose place it takes */
        int64_t since_mono_ms;  /* the process was started */
        int64_t worn_mono_ms;   /* it was found worn; 0 = it is not */
        int64_t next_mono_ms, pause_ms; /* when it may be replaced again; before the one after that */
        uint64_t processes;        /* that ended and were replaced, since the build serves here */
        char why[PROC_END_TEXT_SIZE]; /* the last of them; "" = there was none */
        int64_t told_mono_ms;      /* when the server was last told what it uses; 0 = not by this session */
        struct usage told;
    } wear;
    const struct verdict *verdict; /* while on_lost tells of its death; NULL: that charges nobody */
    bool blamed;                   /* there are runs that may have caused that death */
    bool solo;                     /* has no run but one; SOLO, then DRAINING */
    bool ended;                    /* killed because it is in the way, not for what it did */
    char refusal[PROC_END_TEXT_SIZE]; /* why the process does not load, as it says; "" = it did not say */
    unsigned crashes; /* in a row, each younger than BUILD_QUICK_CRASH_MS */
    unsigned load_tries;
};

struct plugin_file {
    struct plugin_file *next;
    char name[WATCH_NAME_SIZE];
    struct build *serving, *candidate; /* borrowed from builds.all */
    bool admitting;                    /* a thread reads it */
    bool look_again;                   /* it changed meanwhile */
    bool removed;                      /* it was removed meanwhile */
    unsigned unstable;                 /* times in a row that it changed while it was read */
    bool conflicted; /* refused because another file offers the same: may change */
    bool trouble;    /* no file that is looked at: what keeps the watch from looking, by that name */
    bool refused;
    uint8_t refused_hash[BUILD_BYTES];
    aiki_writer refusal; /* error map */
};

/* The server said that this build does not execute that code any more. */
struct quarantine {
    struct quarantine *next;
    uint8_t hash[BUILD_BYTES];
    bool workflow;
    char name[NAME_BYTES_MAX + 1];
};

/* Refusal codes that are counted one by one, for stats.c; further ones are "other". */
enum { STATS_CODES_MAX = 64 };

struct code_count {
    char code[AIKI_CODE_SIZE];
    uint64_t count;
};

/* Since the start of this process. */
struct build_stats {
    struct code_count codes[STATS_CODES_MAX];
    unsigned code_count;
    uint64_t other_codes, restarts, gate_moves, gate_stays, gate_crashes;
    uint64_t probes;                  /* files whose note did not do, or that are new */
    uint64_t loads, load_ms, unloads; /* on demand, and their waits together; for want of runs */
};

struct builds {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct session *session;
    struct builds_options options;
    struct builds_callbacks cb;
    void *arg;
    struct cache *cache;
    struct watch *watch;
    struct plugin_file *files;
    struct build *all;
    struct quarantine *quarantines;
    struct oom oom;
    struct crew crew;   /* who looks at files */
    unsigned policy;    /* how often it was set */
    struct revoked *revoked;
    unsigned admitting; /* files, and builds that are checked anew */
    struct build_stats stats;
    struct keep *keep;
    unsigned adopting; /* builds of an earlier process that are read */
    bool adopted;      /* all of them were found */
    uv_timer_t look; /* at kept builds, while there are any */
    bool draining, drained, closing;
};

static inline aiki_view hash_view(const uint8_t hash[BUILD_BYTES])
{
    return (aiki_view){hash, BUILD_BYTES};
}

/* ---- builds.c ---- */

/* Tell whoever waits for it if nothing is on its way any more. */
void builds_settle(struct builds *bs);
void builds_check_drained(struct builds *bs);
/* Files refused because of a conflict may fit now that something else went. */
void builds_reconsider(struct builds *bs);
/* Keep why the file is not served, and tell log and server. error: error map. */
void file_refuse_with(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                      aiki_view error);
void file_refuse(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                 const aiki_error *err);
void file_forget_refusal(struct plugin_file *f);

/* ---- build.c ---- */

/* A new candidate for the file, out of the copy that was admitted. Takes the copy and the answer. */
void build_start(struct builds *bs, struct plugin_file *f, struct admission *a);
/* In builds.all, without a process; NULL: out of memory. Takes the file at `copy` in any case. needs: what it
 * declares. */
struct build *build_create(struct builds *bs, const char *file_name, const uint8_t *hash,
                           const char *copy, const char *needs);
/* Append what its processes may do: base/sandbox.h. */
void build_write_sandbox(const struct build *b, aiki_writer *w);
void build_start_process(struct build *b);
/* Its copy may have been removed, with all of the cache: it is made again of what is kept, or else its file is looked
 * at, which brings another one. */
void build_mend_copy(struct build *b);
/* Another child of it is started, after a pause if it keeps dying. */
void build_restart(struct build *b);
/* The answer of its probe, from whoever has it; it is empty then. */
void build_take_answer(struct build *b, struct admission *a);
/* What a READY or a probe said. */
aiki_status build_take_descriptor(struct build *b, aiki_view bytes, aiki_error *err);
bool build_offers(const struct build *b, aiki_view workflow, aiki_view version);
void build_bury(struct build *b);
/* The candidate will not serve. */
void build_refuse(struct build *b, const aiki_error *err);
/* (Again) with the present session, if there is one. */
void build_register(struct build *b);
void build_unregister(struct build *b);
/* Nothing new for it; what is resident finishes, or is given back after drain_ms. */
void build_drain(struct build *b);
/* Its process is to end: nobody comes any more; who is there has grace_ms. */
void build_end_process(struct build *b, uint64_t grace_ms);
void file_drop_candidate(struct plugin_file *f);

/* ---- demand.c ---- */

/* Whether a candidate has a process before it serves, so that nobody waits when it does. */
bool demand_is_warm(const struct build *b);
/* It serves from now on. in_use: the build before it had a process. */
void demand_begin(struct build *b, bool in_use);
/* Runs for it are claimed although it has no process that takes them: they wait for one. */
bool demand_claims(const struct build *b);
/* Somebody needs a SERVING build's process. False: nobody may wait for it. */
bool demand_wake(struct build *b);
/* Its process takes runs. */
void demand_ready(struct build *b);
/* Its process has ended. True: and that was all; false: it is to be replaced. */
bool demand_gone(struct build *b);
/* Its process could not be started. */
void demand_failed(struct build *b);
/* Its process has been looked at: does anybody need it? */
void demand_look(struct build *b);

/* ---- gating.c ---- */

/* Loaded: do the open runs fit? Then it is registered. Again with each session until it is known. */
void build_gate(struct build *b);

/* ---- kept.c ---- */

/* Another build took the place of `before`, or its file went: a build in state KEPT beside it, which
 * drains. */
void kept_add(struct build *before);
/* A new build that an earlier process kept; without a descriptor it has yet to load. */
void kept_adopt(struct build *b, int64_t since_mono_ms);
/* The kept build with that hash, or NULL. */
struct build *kept_find(const struct builds *bs, const uint8_t *hash);
/* It serves: from now on it outlives this process, and what its probe said with it. */
void kept_begin(struct build *b);
/* That alone. */
void kept_note(struct build *b);
/* Its process ends, with the runs in it or those given back after grace_ms. */
void kept_end_process(struct build *b, uint64_t grace_ms);
/* Kept no longer: whoever waits for it is told, its process ends. */
void kept_drop(struct build *b);
/* Told to the server, unless it serves as well. */
void kept_register(struct build *b);
/* Another build of it serves, or it is gone. */
void kept_file_changed(struct builds *bs, const char *file_name);
void kept_session_up(struct builds *bs);
void kept_ready(struct build *b, aiki_view descriptor);
void kept_gone(struct build *b, const struct proc_end *end, const char *text);
/* Whether it is the one that serves this workflow version, which its file offers no more. */
bool kept_serves(const struct build *b, const struct gate_route *route);

/* ---- adopt.c ---- */

/* What an earlier process kept and no file here is; once, when there is a session and no file is being read. */
void adopt_rest(struct builds *bs);

/* ---- stats.c ---- */

/* A file was refused with this code. */
void stats_refused(struct build_stats *s, const char *code);

/* ---- solo.c ---- */

/* That build serves no longer. */
void solo_drain(struct builds *bs, const uint8_t *hash);
void solo_ready(struct build *b);
void solo_gone(struct build *b, const struct proc_end *end, const char *text);

/* ---- policy.c ---- */

/* Its signature is not good any more: what runs are told that need it. */
void policy_revoke(struct builds *bs, const uint8_t *hash, const aiki_error *why);
/* It was let in anew. */
void policy_allow(struct builds *bs, const uint8_t *hash);
void policy_forget_all(struct builds *bs);
/* There are no keys to check with: that speaks against no build. */
bool policy_has_no_keys(const aiki_error *err);
/* Is it signed still? If not it is withdrawn. */
void policy_check_anew(const struct build *b);

/* ---- recycle.c ---- */

/* Its process has come to a limit that asks for another one. */
void recycle_worn(struct build *b, const struct limit_hit *hit);
/* A SPARE has loaded, or has ended. */
void recycle_ready(struct build *spare);
void recycle_gone(struct build *spare, const char *text);
/* The build does not serve any more: its spare is not wanted. */
void recycle_stop(struct build *b);
/* For `aiki plugins show`, every USAGE_TELL_MS if it has changed. */
void recycle_tell(struct build *b, const struct usage *u);
/* The same at once: it was registered, or has another process, or none. */
void recycle_tell_now(struct build *b);

/* ---- quarantine.c ---- */

/* Its process has loaded: what it is not to execute. */
void quarantine_tell(struct build *b);
/* A new session tells all of them anew: what was lifted meanwhile it does not mention. */
void quarantine_forget_all(struct builds *bs);

#endif
