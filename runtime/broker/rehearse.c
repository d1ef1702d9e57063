/* rehearse.c - one file through intake and the replay gate, and what came of it on stdout.
 *
 *   admit --> session with the server --> gate --> report --> exit code
 *     +--refused       +-- not within REHEARSE_CONNECT_MS; misset: its address or certificate is none
 */
#include "broker/rehearse.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/endpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "broker/gate_report.h"
#include "intake/admit.h"
#include "wire/descriptor.h"
#include "wire/error.h"

enum {
    EXIT_MOVES = 0,
    EXIT_REFUSED = 1,
    EXIT_MISSET = 2,
    EXIT_NO_SERVER = 3,
    EXIT_NO_FILE = 4,
    EXIT_STAYS = 5
};

struct rehearsal {
    uv_loop_t loop;
    struct conn_loop *conns;
    const char *path;
    const struct rehearse_options *options;
    struct admission admission;
    struct gate_route *routes; /* owned; texts borrowed from the admission */
    size_t route_count;
    struct session *session;
    struct gate *gate;
    uv_timer_t limit;
    struct gate_result result;
    aiki_writer report;
    bool done;
    bool misset; /* the status is about how to reach the server, not about the file */
    aiki_status status;
    aiki_error err;
};

/* ---- output -------------------------------------------------------------------------------- */

static void print_json(aiki_view map)
{
    AUTO(buf) aiki_writer text;
    aiki_error err = AIKI_ERROR_INIT;
    buf_init(&text);
    if (msgpack_to_json(map, 2, &text, &err) == AIKI_OK)
        printf("%.*s\n", (int)text.size_bytes, (const char *)text.data);
    else
        log_error("gate", "cannot show the result: %s", err.message);
}

static void print_error_json(const aiki_error *err)
{
    AUTO(buf) aiki_writer map;
    buf_init(&map);
    aiki_mp_map(&map, 1);
    aiki_mp_str(&map, "error");
    error_write(&map, err);
    print_json(aiki_writer_view(&map));
}

static int show(struct rehearsal *r)
{
    const struct gate_result *g = &r->result;
    if (r->status != AIKI_OK) {
        if (r->options->json)
            print_error_json(&r->err);
        else
            printf("%s: %s: %s\n",
                   r->misset || r->status == AIKI_UNAVAILABLE ? "not known" : "refused", r->err.code,
                   r->err.message);
        return r->misset                       ? EXIT_MISSET
               : r->status == AIKI_NOT_FOUND   ? EXIT_NO_FILE
               : r->status == AIKI_UNAVAILABLE ? EXIT_NO_SERVER
                                               : EXIT_REFUSED;
    }
    if (r->options->json)
        print_json(aiki_writer_view(&r->report));
    else
        gate_report_print(aiki_writer_view(&r->report));
    return g->crashed > 0 ? EXIT_REFUSED : g->stay > 0 ? EXIT_STAYS : EXIT_MOVES;
}

/* ---- the gate ------------------------------------------------------------------------------ */

static void end(struct rehearsal *r)
{
    if (r->done)
        return;
    r->done = true;
    gate_stop(r->gate);
    r->gate = NULL;
    uv_close((uv_handle_t *)&r->limit, NULL);
    session_close(r->session); /* on_session_closed lets the loop end */
}

static void on_gate_done(const struct gate_result *result, void *arg)
{
    struct rehearsal *r = arg;
    r->gate = NULL;
    if (result->lost)
        return; /* on_up starts another one */
    r->result = *result;
    r->status = AIKI_OK;
    aiki_mp_raw(&r->report, result->report.data, result->report.size_bytes);
    end(r);
}

static void on_up(void *arg)
{
    struct rehearsal *r = arg;
    AUTO(buf) aiki_writer sandbox;
    buf_init(&sandbox);
    sandbox_write(&sandbox, sandbox_of(r->options->sandbox, r->path), view_of(r->admission.needs));
    struct gate_options options = {.executable = r->options->executable,
                                   .label = "gate",
                                   .path = r->admission.copy,
                                   .file = r->path,
                                   .sandbox = aiki_writer_view(&sandbox),
                                   .policy = GATE_SAFE,
                                   .descriptor = r->admission.answer.descriptor,
                                   .routes = r->routes,
                                   .route_count = r->route_count,
                                   .ms_max = REHEARSE_MS_MAX,
                                   .limits = r->options->limits};
    memcpy(options.build, r->admission.build, BUILD_BYTES);
    uv_timer_stop(&r->limit);
    if (gate_start(&r->gate, &r->loop, r->conns, r->session, &options, on_gate_done, r, &r->err) !=
        AIKI_OK)
        end(r);
}

static void on_push(const struct frame *f, void *arg)
{
    (void)f; /* nothing is held here */
    (void)arg;
}

static void on_ending(void *arg)
{
    (void)arg; /* the gate is told by its requests */
}

/* No runtime, which waits until somebody mends the server's list: a pipeline is told at once. */
static void on_denied(const aiki_error *err, void *arg)
{
    struct rehearsal *r = arg;
    if (r->done)
        return;
    r->status = error_code(&r->err, AIKI_UNAVAILABLE, err->code, "%.180s; it takes a token for runtimes", err->message);
    end(r);
}

static uint64_t on_busy(void *arg)
{
    (void)arg;
    return 0;
}

static void on_session_closed(void *arg)
{
    struct rehearsal *r = arg;
    conn_loop_destroy(r->conns, NULL, NULL);
}

static void on_limit(uv_timer_t *t)
{
    struct rehearsal *r = container_of(t, struct rehearsal, limit);
    r->status = error_set(&r->err, AIKI_UNAVAILABLE,
                          "no session with %s within REHEARSE_CONNECT_MS (%d ms); the log above says "
                          "why",
                          r->options->server, REHEARSE_CONNECT_MS);
    end(r);
}

static aiki_status set_up_tls(struct rehearsal *r)
{
    struct endpoint server;
    struct tls *tls = NULL;
    aiki_status st = endpoint_parse(r->options->server, &server, &r->err);
    if (st != AIKI_OK || !server.is_tls)
        return st;
    st = tls_client_create(&tls, &r->options->tls, &r->err);
    if (st == AIKI_OK)
        conn_loop_set_tls(r->conns, tls);
    tls_unref(tls);
    return st;
}

static aiki_status ask_server(struct rehearsal *r)
{
    static const struct session_callbacks callbacks = {.on_up = on_up,
                                                       .on_push = on_push,
                                                       .on_ending = on_ending,
                                                       .busy = on_busy,
                                                       .on_denied = on_denied,
                                                       .on_closed = on_session_closed};
    const struct session_options options = {.server = r->options->server,
                                            .name = "aiki-plugins-gate",
                                            .token = r->options->token,
                                            .token_file = r->options->token_file,
                                            .space = r->options->space};
    if (uv_loop_init(&r->loop) != 0 || (r->conns = conn_loop_create(&r->loop)) == NULL)
        abort(); /* start-up, out of memory */
    aiki_status st = set_up_tls(r);
    if (st == AIKI_OK)
        st = session_create(&r->session, &r->loop, r->conns, &options, &callbacks, r, &r->err);
    if (st == AIKI_OK) {
        st = AIKI_UNAVAILABLE;
        uv_timer_init(&r->loop, &r->limit);
        uv_timer_start(&r->limit, on_limit, REHEARSE_CONNECT_MS, 0);
        session_start(r->session);
    } else {
        r->misset = true;
        conn_loop_destroy(r->conns, NULL, NULL);
    }
    r->status = st; /* until end() */
    uv_run(&r->loop, UV_RUN_DEFAULT);
    int left = uv_loop_close(&r->loop);
    assert(left == 0);
    (void)left;
    return r->status;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static aiki_status read_routes(struct rehearsal *r)
{
    struct descriptor d;
    struct descriptor_workflow w;
    aiki_reader reader;
    aiki_status st = descriptor_read(r->admission.answer.descriptor, &d, &r->err);
    if (st != AIKI_OK)
        return st;
    r->routes = calloc(d.workflow_count + 1, sizeof(*r->routes));
    if (r->routes == NULL)
        return error_set(&r->err, AIKI_NOMEM, "descriptor");
    for (descriptor_workflows(&d, &reader);
         r->route_count < d.workflow_count && descriptor_next_workflow(&reader, &w);)
        r->routes[r->route_count++] = (struct gate_route){w.name, w.version};
    return AIKI_OK;
}

static aiki_status admit(struct rehearsal *r, struct cache *cache)
{
    char draft[CACHE_PATH_SIZE];
    const struct admit_options options = {.executable = r->options->executable,
                                          .sandbox = r->options->sandbox,
                                          .limits = r->options->limits};
    cache_draft_path(cache, draft);
    aiki_status st = admit_file(r->path, draft, &options, &r->admission, &r->err);
    if (st == AIKI_STALE && access(r->path, F_OK) != 0)
        st = error_code(&r->err, AIKI_NOT_FOUND, "NOT_FOUND", "there is no file %s", r->path);
    return st == AIKI_OK ? read_routes(r) : st;
}

int rehearse_plugin(const char *path, const struct rehearse_options *options)
{
    struct cache *cache = NULL;
    struct rehearsal r = {.path = path, .options = options, .err = AIKI_ERROR_INIT};
    admission_init(&r.admission);
    buf_init(&r.report);
    r.status = cache_create(&cache, options->state_dir, &r.err);
    if (r.status == AIKI_OK)
        r.status = admit(&r, cache);
    if (r.status == AIKI_OK)
        r.status = ask_server(&r);
    int code = show(&r);
    free(r.routes);
    buf_deinit(&r.report);
    admission_deinit(&r.admission);
    cache_destroy(cache);
    return code;
}
