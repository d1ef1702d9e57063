/* views.h - what runs, events, workflows and workers look like to people: the one place for the
 * field names of the CLI and the HTTP API. [any] Writes msgpack maps.
 */
#ifndef SERVER_VIEWS_H
#define SERVER_VIEWS_H

#include "registry.h"
#include "store/store.h"

/* The arguments a query may bring; numbers may come as text. Unknown names are skipped. */
struct query_args {
    aiki_view id, workflow, version, state, key;
    uint64_t limit, before, after;
};
aiki_status query_args_read(aiki_view map, struct query_args *ret, aiki_error *err);

/* "2026-11-21T07:31:02.114Z"; 0 is nil. */
void view_time(aiki_writer *w, int64_t at_ms);
/* One payload as the value it is; bytes that are no msgpack stay bytes; empty is nil. */
void view_payload(aiki_writer *w, aiki_view payload);
void view_hex(aiki_writer *w, const uint8_t *bytes, size_t size_bytes);
void view_id(aiki_writer *w, const struct aiki_id *id);

enum { VIEW_RUN_FIELDS = 13 };
/* VIEW_RUN_FIELDS pairs of a map that the caller opened. state: as people are to see it. */
void view_run_fields(aiki_writer *w, const struct run_row *row, uint32_t state);
/* One map. hash: chain value up to this event. */
void view_event(aiki_writer *w, const struct event *e, const uint8_t hash[HASH_BYTES]);
void view_flow(aiki_writer *w, const struct flow *f, bool schemas);
void view_session(aiki_writer *w, const struct session *s, int64_t now_ms);
void view_plugin(aiki_writer *w, const struct plugin *plugin);

#endif
