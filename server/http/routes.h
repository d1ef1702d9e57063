/* http/routes.h - the table of paths, what each asks the core, and how its answer is shown. [any]
 *
 * A call is plain data: no socket, no loop. So a large one is prepared and shown on a thread of
 * the pool, and tests need neither.
 */
#ifndef SERVER_HTTP_ROUTES_H
#define SERVER_HTTP_ROUTES_H

#include <aiki/msgpack.h>

#include "http/answer.h"
#include "http/target.h"

enum { ROUTE_VARIABLES_MAX = 2 };

/* Answered without the core. */
enum local { LOCAL_NONE, LOCAL_HEALTH, LOCAL_READY, LOCAL_METRICS, LOCAL_PAGE };

struct route;
struct call {
    const struct route *route;
    struct target target;
    const char *variables[ROUTE_VARIABLES_MAX]; /* of the path, in order; in target */
    aiki_writer body;                           /* as received */
    uint32_t type;                              /* WIRE_* and its payload, for the core */
    aiki_writer message;
    uint64_t wait_ms; /* the answer may take so long */
    const char *last_event_id; /* header; borrowed; NULL when absent */
    bool reveal, full; /* of a stream: as its parameters say */
    bool streams;     /* the answer goes on: events.c */
    bool ended;       /* and this was the end of it */
    uint64_t after;   /* the last event it told */
};

void call_init(struct call *c);
void call_deinit(struct call *c);
/* Find the route of c->target. AIKI_NOT_FOUND (NO_SUCH_PATH); AIKI_UNSUPPORTED
 * (METHOD_NOT_ALLOWED), with the methods there are in ret_allow. */
aiki_status call_route(struct call *c, const char *method, char ret_allow[ANSWER_ALLOW_SIZE],
                       aiki_error *err);
enum local call_local(const struct call *c);
/* It asks for personal data, which not everybody may see. */
bool call_reveals(const struct call *c);
/* "GET /v1/runs/{id}" in two parts, for the log. */
const char *call_method(const struct call *c);
const char *call_path(const struct call *c);
/* Check parameters and body, fill type and message. */
aiki_status call_prepare(struct call *c, aiki_error *err);
/* What a stream asks next. */
void call_ask_events(struct call *c, uint64_t wait_ms);
/* The core's answer as JSON; of a stream, as events. */
void call_show(struct call *c, uint32_t type, aiki_view payload, struct answer *ret);

#endif
