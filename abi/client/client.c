/* client.c - the public calls: check arguments, encode the request, hand it to the session.
 *
 *   aiki_client_x_async --> request --> session --answer--> on_x adapter --> caller's callback
 *   aiki_client_x       --> the same, with a callback that fills a waiter and wakes the caller
 */
#include <aiki/client.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "session.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/keys.h"

#define STATE_CHECK(name, number, text, terminal)                                                  \
    static_assert((int)AIKI_RUN_##name == (int)RUN_##name, "client.h repeats wire/event.h");
RUN_STATE_MAP(STATE_CHECK)

enum {
    CONNECT_TIMEOUT_MS = 5000,
    WAIT_ROUND_MS_MAX = 60000, /* one WAIT request; longer waits are several */
    TEXT_BYTES_MAX = 1024      /* start key, reference, actor */
};

struct aiki_client {
    struct session *session;
};

/* A struct from a caller that may be older: its tail reads as zero. */
static void copy_in(void *to, size_t size, const void *from, uint32_t from_size)
{
    memset(to, 0, size);
    if (from != NULL)
        memcpy(to, from, from_size < size ? from_size : size);
}

const char *aiki_run_state_name(int32_t state)
{
    return state > 0 ? run_state_name((uint64_t)state) : "unknown";
}

bool aiki_run_state_is_final(int32_t state)
{
    return state > 0 && run_state_is_terminal((uint64_t)state);
}

void aiki_run_id_new(char ret_run_id[AIKI_RUN_ID_SIZE])
{
    struct aiki_id id = id_new();
    id_text(&id, ret_run_id);
}

void aiki_client_free(const void *memory)
{
    free((void *)(uintptr_t)memory);
}

/* ---- waiting for an answer ---------------------------------------------------------------- */

/* What a blocking form waits for. On the caller's stack; the session's thread fills it. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    bool done;
    aiki_status status;
    aiki_error error;
    aiki_outcome *outcome; /* owned once taken */
    struct aiki_id run;
    bool flag;         /* created, or new */
    uint8_t *document; /* owned */
    uint64_t document_bytes;
};

static void waiter_init(struct waiter *w)
{
    memset(w, 0, sizeof(*w));
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->filled, NULL);
}

static void waiter_deinit(struct waiter *w)
{
    pthread_cond_destroy(&w->filled);
    pthread_mutex_destroy(&w->lock);
}

static aiki_status take_document(struct waiter *w, aiki_view document)
{
    w->document = malloc(document.size_bytes + 1);
    if (w->document == NULL)
        return error_set(&w->error, AIKI_NOMEM, "no memory for a document of %llu bytes",
                         (unsigned long long)document.size_bytes);
    if (document.size_bytes > 0)
        memcpy(w->document, document.data, document.size_bytes);
    w->document_bytes = document.size_bytes;
    return AIKI_OK;
}

/* request_fn of every blocking form. */
static void fill_waiter(struct request *r, aiki_status st, struct answer *a, const aiki_error *err)
{
    struct waiter *w = r->arg;
    if (err != NULL)
        w->error = *err; /* details and causes live in the outcome, which moves along */
    if (a != NULL && a->type == WIRE_STARTED) {
        w->run = a->as.started.run;
        w->flag = a->as.started.created;
    } else if (a != NULL && a->type == WIRE_OK) {
        w->flag = a->as.ok.count > 0;
    } else if (a != NULL && a->type == WIRE_DOCUMENT) {
        st = take_document(w, a->as.document);
    } else if (a != NULL) {
        w->outcome = a->outcome;
        a->outcome = NULL;
    }
    pthread_mutex_lock(&w->lock);
    w->status = st;
    w->done = true;
    pthread_cond_signal(&w->filled);
    pthread_mutex_unlock(&w->lock);
}

/* Takes r. The session ends every request, so this returns. */
static aiki_status submit_and_wait(aiki_client *client, struct request *r, struct waiter *w,
                                   aiki_error *err)
{
    aiki_status st;
    if (session_is_own_thread(client->session))
        st = error_set(err, AIKI_INVALID, "a blocking call from a callback would never end");
    else
        st = session_submit(client->session, r, err);
    if (st != AIKI_OK) {
        request_destroy(r);
        return st;
    }
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->filled, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (err != NULL && w->status != AIKI_OK)
        *err = w->error;
    return w->status;
}

/* ---- building requests -------------------------------------------------------------------- */

static aiki_status no_memory(aiki_error *err)
{
    return error_set(err, AIKI_NOMEM, "no memory for a request");
}

/* One msgpack value of a size the server takes; empty becomes nil. */
static aiki_status check_payload(aiki_view *payload, const char *what, aiki_error *err)
{
    static const uint8_t nil = 0xc0;
    if (payload->size_bytes == 0) {
        *payload = (aiki_view){&nil, 1};
        return AIKI_OK;
    }
    if (payload->size_bytes > PAYLOAD_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "over PAYLOAD_BYTES_MAX: %s of %llu bytes, limit %d",
                         what, (unsigned long long)payload->size_bytes, PAYLOAD_BYTES_MAX);
    aiki_status st = aiki_mp_check(*payload);
    if (st != AIKI_OK)
        return error_set(err, st == AIKI_LIMIT ? AIKI_LIMIT : AIKI_INVALID, "%s %s", what,
                         st == AIKI_LIMIT ? "is nested too deeply" : "is not one msgpack value");
    return AIKI_OK;
}

static aiki_status check_text(const char *text, const char *what, aiki_error *err)
{
    if (text != NULL && strlen(text) > TEXT_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "%s is longer than %d bytes", what, TEXT_BYTES_MAX);
    return AIKI_OK;
}

static aiki_status check_name(const char *name, const char *what, aiki_error *err)
{
    if (name == NULL || !name_is_valid(view_of(name)))
        return error_set(err, AIKI_INVALID,
                         "%s '%.100s' is not 1 to %d characters of [a-zA-Z0-9._-]", what,
                         name != NULL ? name : "", NAME_BYTES_MAX);
    return AIKI_OK;
}

static aiki_view text_view(const char *text)
{
    return view_of(text != NULL ? text : "");
}

static aiki_status parse_run(const char *run_id, struct aiki_id *ret, aiki_error *err)
{
    if (run_id == NULL)
        return error_set(err, AIKI_INVALID, "no run id");
    return id_parse(run_id, strlen(run_id), ret, err);
}

static void set_deadline(aiki_client *client, struct request *r)
{
    r->deadline_mono_ms = r->submitted_mono_ms + session_request_timeout_ms(client->session);
}

static aiki_status build_start(aiki_client *client, const aiki_start *given, bool want_result,
                               request_fn fn, void *arg, struct request **ret, aiki_error *err)
{
    aiki_start s;
    struct aiki_id run = {{0}};
    copy_in(&s, sizeof(s), given, given != NULL ? given->struct_size : 0);
    aiki_status st = check_name(s.workflow, "workflow", err);
    if (st == AIKI_OK && s.version != NULL && s.version[0] != '\0')
        st = check_name(s.version, "version", err);
    if (st == AIKI_OK)
        st = check_text(s.key, "key", err);
    if (st == AIKI_OK)
        st = check_text(s.actor, "actor", err);
    if (st == AIKI_OK)
        st = check_payload(&s.input, "input", err);
    if (st == AIKI_OK && s.run_id != NULL)
        st = parse_run(s.run_id, &run, err);
    if (st != AIKI_OK)
        return st;

    struct request *r = request_create(WIRE_START, fn, arg);
    if (r == NULL)
        return no_memory(err);
    r->run = s.run_id != NULL ? run : id_new();
    r->want_result = want_result;
    set_deadline(client, r);
    msg_START_write(
        &r->payload,
        &(struct msg_START){
            .workflow = view_of(s.workflow),
            .version = text_view(s.version),
            .input = s.input,
            .key = text_view(s.key),
            .want_result = want_result,
            .run = r->run,
            .actor = text_view(s.actor != NULL ? s.actor : session_name(client->session))});
    *ret = r;
    return AIKI_OK;
}

static aiki_status build_wait(aiki_client *client, const char *run_id, int64_t timeout_ms,
                              request_fn fn, void *arg, struct request **ret, aiki_error *err)
{
    struct aiki_id run;
    aiki_status st = parse_run(run_id, &run, err);
    if (st != AIKI_OK)
        return st;
    struct request *r = request_create(WIRE_WAIT, fn, arg);
    if (r == NULL)
        return no_memory(err);
    uint64_t round_ms = WAIT_ROUND_MS_MAX;
    if (timeout_ms >= 0 && timeout_ms < WAIT_ROUND_MS_MAX)
        round_ms = (uint64_t)timeout_ms;
    r->run = run;
    r->look = timeout_ms == 0;
    if (r->look)
        set_deadline(client, r);
    else if (timeout_ms > 0 && timeout_ms < INT64_MAX - r->submitted_mono_ms)
        r->deadline_mono_ms = r->submitted_mono_ms + timeout_ms;
    msg_WAIT_write(&r->payload, &(struct msg_WAIT){.run = run, .timeout_ms = round_ms});
    *ret = r;
    return AIKI_OK;
}

static aiki_status build_signal(aiki_client *client, const char *run_id, const char *name,
                                aiki_view payload, const char *ref, request_fn fn, void *arg,
                                struct request **ret, aiki_error *err)
{
    struct aiki_id run;
    char own_ref[AIKI_RUN_ID_SIZE];
    aiki_status st = parse_run(run_id, &run, err);
    if (st == AIKI_OK)
        st = check_name(name, "signal", err);
    if (st == AIKI_OK)
        st = check_text(ref, "reference", err);
    if (st == AIKI_OK)
        st = check_payload(&payload, "payload", err);
    if (st != AIKI_OK)
        return st;
    if (ref == NULL || ref[0] == '\0') { /* so that a repeat after a lost answer counts once */
        aiki_run_id_new(own_ref);
        ref = own_ref;
    }
    struct request *r = request_create(WIRE_SIGNAL, fn, arg);
    if (r == NULL)
        return no_memory(err);
    set_deadline(client, r);
    msg_SIGNAL_write(&r->payload, &(struct msg_SIGNAL){.run = run,
                                                       .name = view_of(name),
                                                       .payload = payload,
                                                       .ref = view_of(ref)});
    *ret = r;
    return AIKI_OK;
}

static aiki_status build_query(aiki_client *client, const char *what, aiki_view args, request_fn fn,
                               void *arg, struct request **ret, aiki_error *err)
{
    aiki_status st = check_name(what, "query", err);
    if (st == AIKI_OK)
        st = check_payload(&args, "arguments", err);
    if (st != AIKI_OK)
        return st;
    struct request *r = request_create(WIRE_QUERY, fn, arg);
    if (r == NULL)
        return no_memory(err);
    set_deadline(client, r);
    msg_QUERY_write(&r->payload, &(struct msg_QUERY){.what = view_of(what), .args = args});
    *ret = r;
    return AIKI_OK;
}

/* ---- the client --------------------------------------------------------------------------- */

aiki_status aiki_client_open(const char *url, const aiki_client_options *options,
                             aiki_client **ret_client, aiki_error *err)
{
    aiki_client_options o;
    copy_in(&o, sizeof(o), options, options != NULL ? options->struct_size : 0);
    if (url == NULL)
        return error_set(err, AIKI_INVALID, "no url; expected aiki://HOST:PORT or unix:PATH");
    aiki_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    aiki_status st = session_create(&client->session, url, &o, err);
    if (st != AIKI_OK) {
        free(client);
        return st;
    }

    struct waiter w;
    waiter_init(&w);
    struct request *r = request_create(0, fill_waiter, &w);
    if (r == NULL) {
        st = no_memory(err);
    } else {
        r->deadline_mono_ms =
            r->submitted_mono_ms +
            (o.connect_timeout_ms > 0 ? o.connect_timeout_ms : CONNECT_TIMEOUT_MS);
        st = submit_and_wait(client, r, &w, err);
    }
    waiter_deinit(&w);
    if (st != AIKI_OK) {
        aiki_client_close(client);
        return st;
    }
    *ret_client = client;
    return AIKI_OK;
}

void aiki_client_close(aiki_client *client)
{
    if (client == NULL)
        return;
    assert(!session_is_own_thread(client->session));
    session_destroy(client->session);
    free(client);
}

/* ---- blocking forms ----------------------------------------------------------------------- */

aiki_status aiki_client_start(aiki_client *client, const aiki_start *start,
                              char ret_run_id[AIKI_RUN_ID_SIZE], bool *ret_created, aiki_error *err)
{
    struct waiter w;
    struct request *r = NULL;
    waiter_init(&w);
    aiki_status st = build_start(client, start, false, fill_waiter, &w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, &w, err);
    waiter_deinit(&w);
    if (st != AIKI_OK)
        return st;
    if (ret_run_id != NULL)
        id_text(&w.run, ret_run_id);
    if (ret_created != NULL)
        *ret_created = w.flag;
    return AIKI_OK;
}

/* Whatever outcome the server knows, final or not; w->outcome is the caller's. */
static aiki_status wait_outcome(aiki_client *client, const char *run_id, int64_t timeout_ms,
                                struct waiter *w, aiki_error *err)
{
    struct request *r = NULL;
    waiter_init(w);
    aiki_status st = build_wait(client, run_id, timeout_ms, fill_waiter, w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, w, err);
    waiter_deinit(w);
    return st;
}

aiki_status aiki_client_status(aiki_client *client, const char *run_id, int32_t *ret_state,
                               aiki_error *err)
{
    struct waiter w;
    aiki_error failure = {.struct_size = sizeof(failure)};
    aiki_status st = wait_outcome(client, run_id, 0, &w, &failure);
    if (w.outcome == NULL) {
        if (err != NULL)
            *err = failure;
        return st;
    }
    *ret_state = w.outcome->state;
    free(w.outcome);
    return AIKI_OK;
}

aiki_status aiki_client_wait(aiki_client *client, const char *run_id, int64_t timeout_ms,
                             const aiki_outcome **ret_outcome, aiki_error *err)
{
    struct waiter w;
    aiki_status st = wait_outcome(client, run_id, timeout_ms, &w, err);
    if (ret_outcome != NULL && (st == AIKI_OK || st == AIKI_FAILED) && w.outcome != NULL) {
        *ret_outcome = w.outcome;
        return st;
    }
    if (err != NULL && w.outcome != NULL) { /* nobody keeps what these point into */
        err->details = (aiki_view){NULL, 0};
        err->cause = NULL;
    }
    free(w.outcome);
    return st;
}

aiki_status aiki_client_signal(aiki_client *client, const char *run_id, const char *name,
                               aiki_view payload, const char *ref, bool *ret_new, aiki_error *err)
{
    struct waiter w;
    struct request *r = NULL;
    waiter_init(&w);
    aiki_status st = build_signal(client, run_id, name, payload, ref, fill_waiter, &w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, &w, err);
    waiter_deinit(&w);
    if (st == AIKI_OK && ret_new != NULL)
        *ret_new = w.flag;
    return st;
}

aiki_status aiki_client_query(aiki_client *client, const char *what, aiki_view args,
                              aiki_view *ret_document, aiki_error *err)
{
    struct waiter w;
    struct request *r = NULL;
    waiter_init(&w);
    aiki_status st = build_query(client, what, args, fill_waiter, &w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, &w, err);
    waiter_deinit(&w);
    if (st == AIKI_OK)
        *ret_document = (aiki_view){w.document, w.document_bytes};
    return st;
}

/* ---- callback forms ----------------------------------------------------------------------- */

/* Function pointers keep their identity through a cast to another function type and back. */
#define CALLBACK(type, f) ((type)(f))

static void tell_started(struct request *r, aiki_status st, struct answer *a, const aiki_error *err)
{
    aiki_on_started on_started = CALLBACK(aiki_on_started, r->callback);
    aiki_on_outcome on_outcome = CALLBACK(aiki_on_outcome, r->callback_2);
    if (a != NULL && a->type == WIRE_STARTED) {
        char run_id[AIKI_RUN_ID_SIZE];
        id_text(&a->as.started.run, run_id);
        aiki_started started = {.struct_size = sizeof(started),
                                .state = (int32_t)a->as.started.state,
                                .run_id = run_id,
                                .version = a->as.started.version,
                                .created = a->as.started.created};
        if (on_started != NULL)
            on_started(r->arg, st, &started, err);
    } else if (r->started || (on_started == NULL && on_outcome != NULL)) {
        on_outcome(r->arg, st, a != NULL && st != AIKI_TIMEDOUT ? a->outcome : NULL, err);
    } else if (on_started != NULL) {
        on_started(r->arg, st, NULL, err);
    }
}

static void tell_outcome(struct request *r, aiki_status st, struct answer *a, const aiki_error *err)
{
    aiki_on_outcome on_outcome = CALLBACK(aiki_on_outcome, r->callback);
    if (on_outcome != NULL)
        on_outcome(r->arg, st, a != NULL && st != AIKI_TIMEDOUT ? a->outcome : NULL, err);
}

static void tell_signalled(struct request *r, aiki_status st, struct answer *a,
                           const aiki_error *err)
{
    aiki_on_signalled on_signalled = CALLBACK(aiki_on_signalled, r->callback);
    if (on_signalled != NULL)
        on_signalled(r->arg, st, a != NULL && a->as.ok.count > 0, err);
}

static void tell_document(struct request *r, aiki_status st, struct answer *a,
                          const aiki_error *err)
{
    aiki_on_document on_document = CALLBACK(aiki_on_document, r->callback);
    aiki_view none = {NULL, 0};
    if (on_document != NULL)
        on_document(r->arg, st, a != NULL ? a->as.document : none, err);
}

static aiki_status submit(aiki_client *client, struct request *r, void (*callback)(void),
                          void (*callback_2)(void), aiki_error *err)
{
    r->callback = callback;
    r->callback_2 = callback_2;
    aiki_status st = session_submit(client->session, r, err);
    if (st != AIKI_OK)
        request_destroy(r);
    return st;
}

aiki_status aiki_client_start_async(aiki_client *client, const aiki_start *start,
                                    aiki_on_started on_started, aiki_on_outcome on_outcome,
                                    void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = build_start(client, start, on_outcome != NULL, tell_started, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_started),
                  CALLBACK(void (*)(void), on_outcome), err);
}

aiki_status aiki_client_wait_async(aiki_client *client, const char *run_id, int64_t timeout_ms,
                                   aiki_on_outcome on_outcome, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = build_wait(client, run_id, timeout_ms, tell_outcome, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_outcome), NULL, err);
}

aiki_status aiki_client_signal_async(aiki_client *client, const char *run_id, const char *name,
                                     aiki_view payload, const char *ref,
                                     aiki_on_signalled on_signalled, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = build_signal(client, run_id, name, payload, ref, tell_signalled, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_signalled), NULL, err);
}

aiki_status aiki_client_query_async(aiki_client *client, const char *what, aiki_view args,
                                    aiki_on_document on_document, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = build_query(client, what, args, tell_document, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_document), NULL, err);
}
