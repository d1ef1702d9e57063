/* views.h - what runs, events, workflows and workers look like to people: the one place for the
 * field names of the CLI and the HTTP API. [any] Writes msgpack maps.
 */
#ifndef SERVER_VIEWS_H
#define SERVER_VIEWS_H

#include "registry.h"
#include "shown.h"
#include "steps.h"
#include "store/store.h"

/* The arguments a query may bring; numbers may come as text. Unknown names are skipped. */
struct query_args {
    aiki_view id, workflow, version, state, key, task;
    aiki_view build;           /* hex digits its hash begins with */
    uint64_t limit, before, after;
    uint64_t wait_ms;          /* for the history to go on */
    uint64_t since, until;     /* ms since 1970; when a run was started; until 0 = any */
    bool reveal;               /* personal data too; whoever asked may (core.h, rpc.h) */
    bool full;                 /* payloads of any length */
};
aiki_status query_args_read(aiki_view map, struct query_args *ret, aiki_error *err);

/* "2026-11-21T07:31:02.114Z"; 0 is nil. */
void view_time(aiki_writer *w, int64_t at_ms);
void view_hex(aiki_writer *w, const uint8_t *bytes, size_t size_bytes);
void view_id(aiki_writer *w, const struct aiki_id *id);

/* A map whose size is known only at its end; at most 65535 pairs. */
struct view_map {
    aiki_writer *w;
    uint64_t at; /* of its head in w */
    uint32_t count;
};
void view_map_begin(struct view_map *m, aiki_writer *w);
void view_map_end(struct view_map *m);
/* The name of the next pair; its value goes into m->w. */
void view_name(struct view_map *m, const char *name);
/* Whole pairs; what is empty or 0 is nil, except numbers. */
void view_put_text(struct view_map *m, const char *name, aiki_view text);
void view_put_uint(struct view_map *m, const char *name, uint64_t value);
void view_put_bool(struct view_map *m, const char *name, bool value);
void view_put_time(struct view_map *m, const char *name, int64_t at_ms);
void view_put_raw(struct view_map *m, const char *name, aiki_view value);
void view_put_payload(struct view_map *m, const char *name, const struct shown *how,
                      const struct value_of *of, aiki_view payload);
void view_put_error(struct view_map *m, const char *name, const struct shown *how,
                    const struct value_of *of, aiki_view error);
void view_put_id(struct view_map *m, const char *name, const struct aiki_id *id);
/* As JSON Schema; nil when there is none. */
void view_put_schema(struct view_map *m, const char *name, aiki_view schema);
/* An array of retry.h as the map people write; nil when empty. */
void view_put_retry(struct view_map *m, const char *name, aiki_view retry);

/* What people are shown: an open run that is to be cancelled is cancelling, unless it waits for
 * somebody to act. state: of flow_display_state. */
uint32_t view_state(uint32_t state, uint64_t flags);
/* What every document says of a run. state: as people are to see it. */
void view_run_fields(struct view_map *m, const struct shown *how, const struct run_row *row, uint32_t state);
/* Whose the error of a run is. */
struct value_of view_row_value(const struct run_row *row);
/* Who was answered with this run instead of a new one: an array of {at, actor}. */
void view_absorbed(aiki_writer *w, aiki_view absorbed);
/* How a history is shown. */
struct view_scene {
    const struct aiki_id *run;
    const struct shown *how;
    const struct steps *steps; /* it knows the event and all before; NULL: nothing is hidden, as `how` says */
};
/* One map; view_event.c. hash: chain value up to this event. */
void view_event(aiki_writer *w, const struct view_scene *scene, const struct event *e,
                const uint8_t hash[HASH_BYTES]);
void view_flow(aiki_writer *w, const struct flow *f, bool schemas);
void view_session(aiki_writer *w, const struct session *s, int64_t now_ms);
void view_plugin(aiki_writer *w, const struct plugin *plugin);
/* "serving", "kept", "draining" or "refused" */
const char *view_plugin_state(const struct plugin *plugin);
/* {"tasks": [...]}, and one of them with its schemas; view_task.c. AIKI_NOT_FOUND. */
void view_tasks(aiki_writer *w, const struct registry *r);
/* {"tasks": names of tasks that any connected build of that plugin has, kept ones too}: for replay gates. */
void view_plugin_tasks(aiki_writer *w, const struct registry *r, aiki_view plugin);
aiki_status view_task(aiki_writer *w, const struct registry *r, aiki_view name, aiki_error *err);

#endif
