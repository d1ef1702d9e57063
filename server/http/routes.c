/* routes.c - see routes.h. */
#include "http/routes_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "http/http.h"
#include "wire/error.h"
#include "wire/message.h"

static aiki_status prepare_nothing(struct call *c, aiki_error *err);
static aiki_status prepare_query(struct call *c, aiki_error *err);
static aiki_status prepare_result(struct call *c, aiki_error *err);

/* clang-format off */
static const struct route routes[] = {
    {"GET", "/", NULL, prepare_nothing, {{0}}, false, LOCAL_PAGE, 0},
    {"GET", "/dashboard.js", NULL, prepare_nothing, {{0}}, false, LOCAL_PAGE, 0},
    {"GET", "/dashboard.css", NULL, prepare_nothing, {{0}}, false, LOCAL_PAGE, 0},
    {"GET", "/healthz", NULL, prepare_nothing, {{0}}, false, LOCAL_HEALTH, 0},
    {"GET", "/readyz", NULL, prepare_nothing, {{0}}, false, LOCAL_READY, 0},
    {"GET", "/metrics", NULL, prepare_nothing, {{0}}, false, LOCAL_METRICS, 0},
    {"GET", "/v1/runs", "runs.list", prepare_query,
     {{"workflow", PARAM_TEXT, 0}, {"version", PARAM_TEXT, 0}, {"state", PARAM_TEXT, 0},
      {"key", PARAM_TEXT, 0}, {"build", PARAM_TEXT, 0}, {"since", PARAM_NUMBER, 0},
      {"until", PARAM_NUMBER, 0}, {"limit", PARAM_NUMBER, 1}, {"before", PARAM_NUMBER, 0}},
     false, LOCAL_NONE, 0},
    {"GET", "/v1/runs/{id}", "runs.get", prepare_query,
     {{"reveal", PARAM_FLAG, 0}, {"full", PARAM_FLAG, 0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/runs/{id}/history", "runs.history", prepare_query,
     {{"after", PARAM_NUMBER, 0}, {"limit", PARAM_NUMBER, 1}, {"wait", PARAM_WAIT, 0},
      {"reveal", PARAM_FLAG, 0}, {"full", PARAM_FLAG, 0}},
     false, LOCAL_NONE, 0},
    {"GET", "/v1/runs/{id}/events", NULL, prepare_events,
     {{"after", PARAM_NUMBER, 0}, {"reveal", PARAM_FLAG, 0}, {"full", PARAM_FLAG, 0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/runs/{id}/result", NULL, prepare_result,
     {{"wait", PARAM_WAIT, 0}, {"reveal", PARAM_FLAG, 0}}, false, LOCAL_NONE, 0},
    {"POST", "/v1/runs/{id}/signals/{name}", NULL, prepare_signal, {{"ref", PARAM_TEXT, 0}}, true,
     LOCAL_NONE, 0},
    {"GET", "/v1/runs/{id}/tree", "runs.tree", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"POST", "/v1/runs/{id}/cancel", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE,
     CONTROL_CANCEL},
    {"POST", "/v1/runs/{id}/terminate", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE,
     CONTROL_TERMINATE},
    {"POST", "/v1/runs/{id}/pause", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE, CONTROL_PAUSE},
    {"POST", "/v1/runs/{id}/resume", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE,
     CONTROL_RESUME},
    {"POST", "/v1/runs/{id}/wake", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE, CONTROL_WAKE},
    {"POST", "/v1/runs/{id}/retry", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE, CONTROL_RETRY},
    {"GET", "/v1/dead-letters", "letters.list", prepare_query,
     {{"workflow", PARAM_TEXT, 0}, {"task", PARAM_TEXT, 0}, {"limit", PARAM_NUMBER, 1},
      {"before", PARAM_NUMBER, 0}, {"reveal", PARAM_FLAG, 0}, {"full", PARAM_FLAG, 0}},
     false, LOCAL_NONE, 0},
    {"GET", "/v1/dead-letters/{id}", "letters.get", prepare_query,
     {{"reveal", PARAM_FLAG, 0}, {"full", PARAM_FLAG, 0}}, false, LOCAL_NONE, 0},
    {"POST", "/v1/dead-letters/{id}/redrive", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE,
     CONTROL_RETRY},
    {"POST", "/v1/dead-letters/{id}/drop", NULL, prepare_control, {{"ref", PARAM_TEXT, 0}}, true, LOCAL_NONE,
     CONTROL_DROP},
    {"GET", "/v1/workflows", "workflows.list", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/workflows/{name}", "workflows.get", prepare_query, {{"version", PARAM_TEXT, 0}},
     false, LOCAL_NONE, 0},
    {"GET", "/v1/tasks", "tasks.list", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/tasks/{name}", "tasks.get", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"POST", "/v1/workflows/{name}/runs", NULL, prepare_start, {{0}}, true, LOCAL_NONE, 0},
    {"GET", "/v1/builds/{build}", "builds.get", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/workers", "workers.list", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/plugins", "plugins.list", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/plugins/{name}", "plugins.get", prepare_query, {{0}}, false, LOCAL_NONE, 0},
    {"POST", "/v1/plugins/{build}/unquarantine", "plugins.unquarantine", prepare_query,
     {{"name", PARAM_TEXT, 0}}, false, LOCAL_NONE, 0},
    {"GET", "/v1/server", "server.stats", prepare_query, {{0}}, false, LOCAL_NONE, 0},
};
/* clang-format on */

void call_init(struct call *c)
{
    memset(c, 0, sizeof(*c));
    buf_init(&c->body);
    buf_init(&c->message);
}

void call_deinit(struct call *c)
{
    target_deinit(&c->target);
    buf_deinit(&c->body);
    buf_deinit(&c->message);
}

enum local call_local(const struct call *c)
{
    return c->route->local;
}

const char *call_method(const struct call *c)
{
    return c->route != NULL ? c->route->method : "?";
}

const char *call_path(const struct call *c)
{
    return c->route != NULL ? c->route->path : "?";
}

/* ---- finding the route --------------------------------------------------------------------- */

/* Segment by segment; "{...}" takes any one segment that is not empty. */
static bool path_matches(const char *path, const struct target *t,
                         const char *ret_variables[ROUTE_VARIABLES_MAX])
{
    size_t index = 0, variables = 0;
    while (*path == '/' && path[1] != '\0') {
        size_t length = strcspn(++path, "/");
        if (index == t->segment_count)
            return false;
        const char *segment = t->segments[index++];
        if (*path == '{' && segment[0] != '\0')
            ret_variables[variables++] = segment;
        else if (strlen(segment) != length || memcmp(segment, path, length) != 0)
            return false;
        path += length;
    }
    return index == t->segment_count;
}

/* HEAD is a GET whose body MHD leaves out. */
static bool method_matches(const struct route *r, const char *method)
{
    return strcmp(r->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

aiki_status call_route(struct call *c, const char *method, char ret_allow[ANSWER_ALLOW_SIZE],
                       aiki_error *err)
{
    const char *allow = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        const char *variables[ROUTE_VARIABLES_MAX] = {NULL};
        if (!path_matches(routes[i].path, &c->target, variables))
            continue;
        if (method_matches(&routes[i], method)) {
            c->route = &routes[i];
            memcpy(c->variables, variables, sizeof(variables));
            return AIKI_OK;
        }
        allow = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method;
    }
    if (allow == NULL)
        return error_code(err, AIKI_NOT_FOUND, "NO_SUCH_PATH",
                          "there is no such path; there are / /v1/runs /v1/dead-letters /v1/workflows /v1/tasks /v1/builds "
                          "/v1/workers /v1/plugins /v1/server /healthz /readyz /metrics");
    (void)snprintf(ret_allow, ANSWER_ALLOW_SIZE, "%s", allow);
    return error_code(err, AIKI_UNSUPPORTED, "METHOD_NOT_ALLOWED",
                      "%.20s is not for this path; %s is", method, allow);
}

/* ---- parameters ---------------------------------------------------------------------------- */

aiki_status read_number(const char *name, const char *text, uint64_t min, uint64_t *ret,
                        aiki_error *err)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t value = digits < 20 ? strtoull(text, NULL, 10) : 0;
    if (digits == 0 || digits > 19 || text[digits] != '\0' || value < min)
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "%s: expected a number from %llu on, found \"%.40s\"", name,
                          (unsigned long long)min, text);
    *ret = value;
    return AIKI_OK;
}

/* "5s", "500ms", "2m"; without a unit seconds. */
static aiki_status read_wait(const char *text, uint64_t *ret_ms, aiki_error *err)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t number = digits < 10 ? strtoull(text, NULL, 10) : UINT32_MAX;
    uint64_t unit_ms = 0;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++)
        if (strcmp(text + digits, units[i].unit) == 0)
            unit_ms = units[i].ms;
    if (digits == 0 || unit_ms == 0)
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "wait: expected a duration such as 500ms, 5s or 2m, found \"%.40s\"",
                          text);
    if (number * unit_ms > HTTP_WAIT_MS_MAX)
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "wait: %.40s is longer than HTTP_WAIT_MS_MAX, %d ms; ask again instead",
                          text, HTTP_WAIT_MS_MAX);
    *ret_ms = number * unit_ms;
    return AIKI_OK;
}

aiki_status read_flag(const char *name, const char *text, bool *ret, aiki_error *err)
{
    *ret = text != NULL && (text[0] == '\0' || strcmp(text, "true") == 0);
    if (text == NULL || *ret || strcmp(text, "false") == 0)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                      "%s: expected true or false, found \"%.40s\"", name, text);
}

/* One that is no flag fails when the request is prepared. */
bool call_reveals(const struct call *c)
{
    bool reveal = false;
    return read_flag("reveal", target_param(&c->target, "reveal"), &reveal, NULL) == AIKI_OK && reveal;
}

static const struct param *find_param(const struct route *r, const char *name)
{
    for (const struct param *p = r->params; p->name != NULL; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

static aiki_status refuse_param(const struct call *c, const char *name, aiki_error *err)
{
    char known[120] = "";
    for (const struct param *p = c->route->params; p->name != NULL; p++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof(known) - used, " %s", p->name);
    }
    return error_code(err, AIKI_INVALID, "UNKNOWN_PARAMETER",
                      "%s %s knows no query parameter %.60s; it takes%s", c->route->method,
                      c->route->path, name, known[0] != '\0' ? known : " none");
}

/* All of them as a map, for the core; what is of the wrong type is found here. */
static aiki_status write_params(struct call *c, aiki_writer *w, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    for (size_t i = 0; i < c->target.param_count && status == AIKI_OK; i++) {
        const char *name = c->target.params[i].name, *value = c->target.params[i].value;
        const struct param *p = find_param(c->route, name);
        uint64_t number = 0;
        bool flag = false;
        if (p == NULL)
            return refuse_param(c, name, err);
        if (p->type == PARAM_NUMBER)
            status = read_number(name, value, p->min, &number, err);
        else if (p->type == PARAM_WAIT)
            status = read_wait(value, &number, err);
        else if (p->type == PARAM_FLAG)
            status = read_flag(name, value, &flag, err);
        if (p->type == PARAM_WAIT)
            c->wait_ms = number;
        aiki_mp_str(w, p->type == PARAM_WAIT ? "wait_ms" : name);
        if (p->type == PARAM_TEXT)
            aiki_mp_str(w, value);
        else if (p->type == PARAM_FLAG)
            aiki_mp_bool(w, flag);
        else
            aiki_mp_uint(w, number);
    }
    return status;
}

/* ---- what the core is asked ---------------------------------------------------------------- */

/* Parameters of routes that ask no query are checked by name alone. */
aiki_status call_check_params(const struct call *c, aiki_error *err)
{
    for (size_t i = 0; i < c->target.param_count; i++)
        if (find_param(c->route, c->target.params[i].name) == NULL)
            return refuse_param(c, c->target.params[i].name, err);
    return AIKI_OK;
}

static aiki_status prepare_nothing(struct call *c, aiki_error *err)
{
    return call_check_params(c, err);
}

aiki_status call_read_id(const struct call *c, struct aiki_id *ret, aiki_error *err)
{
    return id_parse(c->variables[0], strlen(c->variables[0]), ret, err);
}

static aiki_status prepare_query(struct call *c, aiki_error *err)
{
    AUTO(buf) aiki_writer args;
    struct aiki_id id;
    const char *variable = c->variables[0];
    bool by_id = variable != NULL && strstr(c->route->path, "/{id}") != NULL;
    bool by_build = variable != NULL && strstr(c->route->path, "/{build}") != NULL;
    buf_init(&args);
    aiki_status status = by_id ? call_read_id(c, &id, err) : AIKI_OK;
    if (status != AIKI_OK)
        return status;
    aiki_mp_map(&args, c->target.param_count + (variable != NULL));
    if (variable != NULL) {
        aiki_mp_str(&args, by_id ? "id" : by_build ? "build" : "name");
        aiki_mp_str(&args, variable);
    }
    status = write_params(c, &args, err);
    if (status != AIKI_OK)
        return status;
    const struct msg_QUERY m = {.what = view_of(c->route->query), .args = aiki_writer_view(&args)};
    c->type = WIRE_QUERY;
    msg_QUERY_write(&c->message, &m);
    return args.status;
}

static aiki_status prepare_result(struct call *c, aiki_error *err)
{
    bool reveal = false;
    struct msg_WAIT m = {.timeout_ms = 0};
    const char *wait = target_param(&c->target, "wait");
    aiki_status status = call_check_params(c, err);
    if (status == AIKI_OK)
        status = call_read_id(c, &m.run, err);
    if (status == AIKI_OK && wait != NULL)
        status = read_wait(wait, &m.timeout_ms, err);
    if (status == AIKI_OK)
        status = read_flag("reveal", target_param(&c->target, "reveal"), &reveal, err);
    if (status != AIKI_OK)
        return status;
    m.shown = !reveal;
    c->type = WIRE_WAIT;
    c->wait_ms = m.timeout_ms;
    msg_WAIT_write(&c->message, &m);
    return AIKI_OK;
}

static aiki_status check_body(const struct call *c, aiki_error *err)
{
    if (c->body.size_bytes > 0 && !c->route->takes_body)
        return error_code(err, AIKI_INVALID, "UNEXPECTED_BODY",
                          "%s %s takes no body; what it is to do goes into the query string",
                          c->route->method, c->route->path);
    return AIKI_OK;
}

aiki_status call_prepare(struct call *c, aiki_error *err)
{
    aiki_status status = check_body(c, err);
    if (status == AIKI_OK)
        status = c->route->prepare(c, err);
    if (status == AIKI_OK && c->message.status != AIKI_OK)
        status = error_set(err, c->message.status, "no memory for a request of %llu bytes",
                           (unsigned long long)c->body.size_bytes);
    return status;
}
