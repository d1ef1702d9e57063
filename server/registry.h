/* registry.h - which workflows there are, and which sessions serve them. [store]
 *
 *   family "orders" --> flow orders 1.2.0 --> serving: plugin (session A, build b1) ...
 *                   \-> flow orders 1.3.0
 *
 * Flows are interned: one per (workflow, version) ever seen, never freed while the server runs,
 * so entries and streams point at them. Limits: FLOWS_MAX, PLUGINS_PER_SESSION_MAX.
 */
#ifndef SERVER_REGISTRY_H
#define SERVER_REGISTRY_H

#include "batch.h"
#include "chain.h"
#include "store/store.h"
#include "wire/descriptor.h"
#include "wire/schema.h"

enum { FLOWS_MAX = 20000, PLUGINS_PER_SESSION_MAX = 10000, USAGE_WHY_SIZE = 160 };

struct flow;

/* What the process of a build uses, as its runtime last said. */
struct plugin_usage {
    int64_t at_ms; /* 0: it has not said anything */
    uint64_t pid, memory_bytes, files, threads, cpu_ms, replaced; /* pid 0: it has none now */
    int64_t since_at_ms;     /* the process takes runs */
    uint64_t loads, load_ms; /* how often runs waited for one, and how long the last time */
    char why[USAGE_WHY_SIZE]; /* the last one was replaced */
};

/* A build that a session serves, or a file it refused. */
struct plugin {
    struct chain of_session;
    struct session *session;
    uint8_t build[HASH_BYTES];
    uint64_t build_size_bytes;
    char *file;                  /* owned */
    uint8_t *descriptor;         /* owned msgpack map; NULL when refused */
    uint64_t descriptor_size_bytes;
    uint8_t *error;              /* owned error map of a refusal, or NULL */
    uint64_t error_size_bytes;
    struct flow **flows;         /* owned array */
    size_t flow_count;
    uint64_t role;               /* BUILD_* bits; 0: it takes new runs */
    int64_t since_at_ms;         /* in that role */
    uint8_t *gate;               /* owned: report of its replay gate (runtime/broker/gate.h), or NULL */
    uint64_t gate_size_bytes;
    struct plugin_usage usage;
};

/* Open runs of a flow that one build executed last. */
struct build_count {
    uint8_t build[HASH_BYTES];
    uint64_t open; /* never 0: who is the last goes */
};

/* One connected runtime, from HELLO to the end of its lease or connection. */
struct session {
    uint64_t no;                 /* rises; run.owner */
    peer_id peer;
    struct session_open info;
    uint64_t busy;
    int64_t connected_at_ms, beat_at_ms;
    struct chain owned;          /* entries */
    size_t owned_count;
    struct chain plugins;
    size_t plugin_count;
    struct chain all;
};

/* What is on record of a flow, in the workflows table. */
struct description {
    uint8_t *descriptor;         /* owned: the workflow's map in the last descriptor seen */
    uint64_t descriptor_size_bytes;
    struct schema *input_schema; /* owned; NULL = anything goes */
    int64_t run_timeout_ms;      /* of a run whose start gives none; 0 = none */
    char plugin_name[NAME_BYTES_MAX + 1];
    uint8_t build[HASH_BYTES];   /* the last that served it */
    bool has_build;
    int64_t first_seen_at_ms, last_seen_at_ms;
};

struct flow {
    struct stream stream;
    char name[NAME_BYTES_MAX + 1], version[NAME_BYTES_MAX + 1];
    struct family *family;
    struct flow *next_version;
    struct plugin **serving;     /* owned array of borrowed plugins */
    size_t serving_count, serving_capacity;
    size_t kept_count;           /* of these, builds that are only kept for open runs */
    struct description said;
    bool unrecorded;             /* served for the first time, and that could not be recorded: nothing starts */
    uint64_t counts[RUN_CANCELLING + 1]; /* open runs by state */
    int64_t queued_since_ms;     /* when counts[RUN_QUEUED] last rose from 0 */
    struct build_count *builds;  /* owned; no more than there are open runs */
    size_t build_count, build_capacity;
};

struct family {
    char name[NAME_BYTES_MAX + 1];
    struct flow *versions;
    struct family *next;
};

struct registry {
    const char *space;
    struct family **buckets;
    size_t bucket_count;
    struct flow **flows;         /* by stream.index */
    size_t flow_count, flow_capacity;
    struct chain sessions;
    uint64_t session_no_max;
};

void registry_init(struct registry *r, const char *space);
void registry_deinit(struct registry *r);

struct family *registry_family(const struct registry *r, aiki_view name);
struct flow *registry_find(const struct registry *r, aiki_view name, aiki_view version);
/* Find or add. AIKI_INVALID for names outside the grammar, AIKI_LIMIT over FLOWS_MAX. */
aiki_status registry_intern(struct registry *r, aiki_view name, aiki_view version,
                            struct flow **ret, aiki_error *err);
/* The flow a start names; version empty: the newest served, else the newest ever seen.
 * AIKI_NOT_FOUND says what is known. */
aiki_status registry_resolve(const struct registry *r, aiki_view name, aiki_view version,
                             struct flow **ret, aiki_error *err);
/* What the workflows table says. */
aiki_status registry_restore(struct registry *r, const struct workflow_row *row, aiki_error *err);

struct session *session_create(struct registry *r, peer_id peer, const struct session_open *info,
                               int64_t now_ms);
/* Owns no runs any more. */
void session_destroy(struct registry *r, struct session *s);

/* A build that is served as far as memory is concerned. */
struct registration {
    struct plugin *plugin;
    struct change {
        struct flow *flow;         /* its row in the workflows table must be written */
        struct description before; /* owned */
    } *changed;                    /* owned */
    size_t changed_count;
};
/* Serve a build; registry_recorded or registry_take_back ends what is begun. Registering the same build again
 * replaces its descriptor. */
aiki_status registry_serve(struct registry *r, struct session *s, const struct msg_REGISTER *m,
                           int64_t now_ms, struct registration *ret, aiki_error *err);
/* Those rows are written: runs of the flows may start. */
void registry_recorded(struct registration *done);
/* They could not be: flows are described as they are on record, and the build is not served. */
void registry_take_back(struct registration *refused);
aiki_status registry_refused(struct registry *r, struct session *s, const struct msg_REFUSAL *m,
                             aiki_error *err);
/* False: it did not serve that build. */
bool registry_withdraw(struct registry *r, struct session *s, aiki_view build);
/* False: it does not have that build. */
bool registry_used(struct session *s, const struct msg_USAGE *m, int64_t now_ms);
void flow_row(const struct registry *r, const struct flow *f, struct workflow_row *ret_row);
/* Move a run between the counters; 0 = it was or is not open. */
void flow_count(struct flow *f, uint32_t from_state, uint32_t to_state, int64_t now_ms);
/* False for zeros: no build has executed it. */
bool build_is_known(const uint8_t build[HASH_BYTES]);
/* Move an open run from one build to another; zeros: it was or is not open, or nobody executed it. */
void flow_count_build(struct flow *f, const uint8_t from[HASH_BYTES], const uint8_t to[HASH_BYTES]);
/* Open runs that the build executed last. */
uint64_t flow_build_open(const struct flow *f, const uint8_t build[HASH_BYTES]);
/* A queued run that nobody serves is stalled. */
uint32_t flow_display_state(const struct flow *f, uint32_t state);
/* The workflow's map in a flow's descriptor. */
bool flow_descriptor(const struct flow *f, struct descriptor_workflow *ret);

#endif
