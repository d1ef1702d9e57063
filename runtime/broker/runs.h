/* broker/runs.h - the runs this session holds, by id. [loop] */
#ifndef BROKER_RUNS_H
#define BROKER_RUNS_H

#include <aiki/msgpack.h>

#include "wire/id.h"

struct build;
struct move;

/* One stay of a run here. */
struct run {
    struct run *next; /* in its bucket */
    struct aiki_id id;
    uint64_t epoch;      /* of this stay */
    struct build *build; /* whose process executes it; NULL once it does no longer */
    uint64_t number;     /* of the last APPEND that was passed on */
    bool leaving;        /* an APPEND that ends the stay is on its way */
    bool moving;         /* from one build to another: nobody executes it just now */
    aiki_writer crash;   /* its event, while it leaves because of one; zeroed: of none */
    struct move *move;   /* owned; NULL unless a build was found not to fit it (moves.c) */
};

enum { RUN_BUCKETS = 4096 };
/* Zeroed is empty. */
struct runs {
    struct run *buckets[RUN_BUCKETS];
    struct run *spare; /* removed ones, to be used again */
    uint64_t count;
};

void runs_deinit(struct runs *rs);

struct run *runs_find(struct runs *rs, const struct aiki_id *id);
/* NULL when out of memory. The id must not be there yet. */
struct run *runs_add(struct runs *rs, const struct aiki_id *id, uint64_t epoch);
void runs_remove(struct runs *rs, struct run *run);
/* fn may remove the run it is given. */
void runs_each(struct runs *rs, void (*fn)(struct run *run, void *arg), void *arg);

#endif
