/* http/routes_impl.h - a path and what it takes, for routes.c and body.c alone. [any] */
#ifndef SERVER_HTTP_ROUTES_IMPL_H
#define SERVER_HTTP_ROUTES_IMPL_H

#include "http/routes.h"
#include "wire/id.h"

enum { ROUTE_PARAMS_MAX = 10 };

struct param {
    const char *name;
    enum { PARAM_TEXT, PARAM_NUMBER, PARAM_WAIT, PARAM_FLAG } type;
    uint64_t min; /* of numbers */
};

struct route {
    const char *method, *path;
    const char *query; /* prepare_query: what the document is called */
    aiki_status (*prepare)(struct call *c, aiki_error *err);
    struct param params[ROUTE_PARAMS_MAX + 1];
    bool takes_body;
    enum local local;
    uint64_t action; /* prepare_control: CONTROL_* */
};

/* Whether the route knows every parameter by name. */
aiki_status call_check_params(const struct call *c, aiki_error *err);
/* The run in the path. */
aiki_status call_read_id(const struct call *c, struct aiki_id *ret, aiki_error *err);

/* A decimal number from min on. AIKI_INVALID (BAD_PARAMETER). */
aiki_status read_number(const char *name, const char *text, uint64_t min, uint64_t *ret,
                        aiki_error *err);

/* "true", or "" as of ?reveal; "false". AIKI_INVALID (BAD_PARAMETER). NULL: false. */
aiki_status read_flag(const char *name, const char *text, bool *ret, aiki_error *err);

/* events.c: what happens to a run, as it happens. */
aiki_status prepare_events(struct call *c, aiki_error *err);
aiki_status show_events(struct call *c, aiki_view document, struct answer *ret, aiki_error *err);

/* body.c: what comes as JSON. */
aiki_status prepare_start(struct call *c, aiki_error *err);
aiki_status prepare_signal(struct call *c, aiki_error *err);
aiki_status prepare_control(struct call *c, aiki_error *err);

#endif
