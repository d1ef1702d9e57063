/* schemas.h - what builds say of the inputs and outputs of their workflows and tasks, as far as
 * payloads have to be hidden from people (docs/decisions/0015). [any] but where stated
 *
 *   REGISTER --> schemas_add --> row, space "SPACE!schemas", slot 0...SCHEMA_BUILDS_MAX - 1
 *                    |                                        \--restart--> schemas_restore
 *                    \--> schemas_find, by whoever shows a payload: store thread, reader thread
 *
 * Runs outlive the runtimes that served them, so this is kept on record: of each build the names it
 * offers, and only those schemas that mark something. The build that nobody has named for longest
 * makes room. A build on record does not change. Limits: SCHEMA_BUILDS_MAX, SCHEMAS_BYTES_MAX.
 */
#ifndef SERVER_SCHEMAS_H
#define SERVER_SCHEMAS_H

#include "store/store.h"
#include "wire/keys.h"
#include "wire/redact.h"
#include "wire/schema.h"

#define SCHEMAS_MARK "!schemas"

enum { SCHEMA_BUILDS_MAX = 4096, SCHEMAS_BYTES_MAX = 64 * 1024 * 1024 };

struct schemas;
struct schemas *schemas_create(void);
void schemas_destroy(struct schemas *s);

/* What a build registered. True: it has to be put on record, by the row of schemas_row; schemas_refused if it
 * cannot be. serving: it takes new runs, which makes it the newest one. [store] */
bool schemas_add(struct schemas *s, const uint8_t build[HASH_BYTES], aiki_view descriptor, bool serving);
/* Memory of the row but for space, until the next call for s. */
struct schemas_text {
    char space[NAME_BYTES_MAX + 16], slot[16];
};
void schemas_row(struct schemas *s, const uint8_t build[HASH_BYTES], const char *space,
                 struct schemas_text *text, struct workflow_row *ret);
void schemas_refused(struct schemas *s, const uint8_t build[HASH_BYTES]);
/* What was on record. A row that does not read is passed over: what it knew stays hidden. [store] */
aiki_status schemas_restore(struct schemas *s, struct store *store, const char *space, aiki_error *err);

/* What is of no kind of step: signals, details of errors and of heartbeats. */
enum { VALUE_FREE = 255 };

/* Whose value it is. */
struct value_of {
    uint64_t kind;           /* STEP_TASK; STEP_CHILD: of a workflow; 0: of a step that is not known.
                              * The other kinds of steps have no schemas, nor has VALUE_FREE */
    aiki_view name, version; /* version: of workflows; empty: any */
    aiki_view home;          /* the workflow of the run: its plugin is asked first */
    const uint8_t *build;    /* that executed it; NULL: not known */
    bool output;
};

struct offers;
/* What hides parts of it, in this order. */
struct hiding {
    bool known;                 /* false: nobody has ever said what it is */
    const struct schema *by[2]; /* of the build itself, else of the newest; of the newest if it is another
                                 * one. NULL: it marks nothing */
    const struct redact_names *names[2]; /* in their place, of what has no schema */
    struct offers *held[2];
};
/* schemas_release afterwards. */
void schemas_find(struct schemas *s, const struct value_of *of, struct hiding *ret);
void schemas_release(struct hiding *h);

#endif
