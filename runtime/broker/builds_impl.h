/* broker/builds_impl.h - what builds.c and build.c share. Private. [loop]
 *
 * build.c: one build and its process. builds.c: the files they come from, and all of them.
 */
#ifndef BROKER_BUILDS_IMPL_H
#define BROKER_BUILDS_IMPL_H

#include "broker/builds.h"
#include "broker/proc.h"
#include "intake/admit.h"
#include "intake/watch.h"

enum build_state { LOADING, REGISTERING, SERVING, DRAINING };

enum { LABEL_SIZE = 128 };

struct route {
    aiki_view workflow, version;
};

struct build {
    struct build *next; /* in builds.all */
    struct builds *owner;
    struct plugin_file *file;
    enum build_state state;
    uint8_t hash[BUILD_BYTES];
    char label[LABEL_SIZE];
    char *copy;             /* owned; the file is unlinked with the build */
    struct proc *proc;      /* NULL between a death and its replacement */
    bool ready;             /* proc has said READY */
    aiki_writer descriptor; /* owned bytes; empty before the first READY */
    struct route *routes;   /* owned; texts borrowed from descriptor */
    size_t route_count;
    struct request registration;
    uint32_t correlation; /* of a REGISTER without an answer; 0 = none */
    bool registered;      /* the present session was told */
    bool rejected;        /* by the server of the present session */
    uv_timer_t timer; /* REGISTERING, SERVING: until the restart; DRAINING: until it is killed */
    unsigned crashes; /* in a row, each younger than BUILD_QUICK_CRASH_MS */
    unsigned load_tries;
};

struct plugin_file {
    struct plugin_file *next;
    char name[WATCH_NAME_SIZE];
    struct build *serving, *candidate; /* borrowed from builds.all */
    bool admitting;                    /* a pool thread reads it */
    bool look_again;                   /* it changed meanwhile */
    bool removed;                      /* it was removed meanwhile */
    bool conflicted; /* refused because another file offers the same: may change */
    bool refused;
    uint8_t refused_hash[BUILD_BYTES];
    aiki_writer refusal; /* error map */
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
    unsigned admitting;
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

/* A new candidate for the file, out of the copy that was admitted. Takes the copy. */
void build_start(struct builds *bs, struct plugin_file *f, const struct admission *a);
/* (Again) with the present session, if there is one. */
void build_register(struct build *b);
void build_unregister(struct build *b);
/* Nothing new for it; what is resident finishes, or is given back after drain_ms. */
void build_drain(struct build *b);
void file_drop_candidate(struct plugin_file *f);

#endif
