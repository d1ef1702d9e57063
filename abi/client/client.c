/* client.c - the public calls: have the request made, hand it to the session, tell the answer.
 *
 *   aiki_client_x_async --> request --> session --answer--> on_x adapter --> caller's callback
 *   aiki_client_x       --> the same, with a callback that fills a waiter and wakes the caller
 */
#include <aiki/client.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "requests.h"
#include "wire/error.h"
#include "wire/event.h"

#define STATE_CHECK(name, number, text, terminal)                                                  \
    static_assert((int)AIKI_RUN_##name == (int)RUN_##name, "client.h repeats wire/event.h");
RUN_STATE_MAP(STATE_CHECK)

enum { CONNECT_TIMEOUT_MS = 5000 };

struct aiki_client {
    struct session *session;
};

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
        st = error_set(err, AIKI_NOMEM, "no memory for a request");
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
    aiki_status st = request_start(client->session, start, false, fill_waiter, &w, &r, err);
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
    aiki_status st = request_wait(client->session, run_id, timeout_ms, fill_waiter, w, &r, err);
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
    aiki_status st =
        request_signal(client->session, run_id, name, payload, ref, fill_waiter, &w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, &w, err);
    waiter_deinit(&w);
    if (st == AIKI_OK && ret_new != NULL)
        *ret_new = w.flag;
    return st;
}

aiki_status aiki_client_control(aiki_client *client, const char *run_id,
                                const aiki_control *control, bool *ret_changed, aiki_error *err)
{
    struct waiter w;
    struct request *r = NULL;
    waiter_init(&w);
    aiki_status st = request_control(client->session, run_id, control, fill_waiter, &w, &r, err);
    if (st == AIKI_OK)
        st = submit_and_wait(client, r, &w, err);
    waiter_deinit(&w);
    if (st == AIKI_OK && ret_changed != NULL)
        *ret_changed = w.flag;
    return st;
}

aiki_status aiki_client_query(aiki_client *client, const char *what, aiki_view args,
                              aiki_view *ret_document, aiki_error *err)
{
    struct waiter w;
    struct request *r = NULL;
    waiter_init(&w);
    aiki_status st = request_query(client->session, what, args, fill_waiter, &w, &r, err);
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

static void tell_controlled(struct request *r, aiki_status st, struct answer *a,
                            const aiki_error *err)
{
    aiki_on_controlled on_controlled = CALLBACK(aiki_on_controlled, r->callback);
    if (on_controlled != NULL)
        on_controlled(r->arg, st, a != NULL && a->as.ok.count > 0, err);
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
    aiki_status st =
        request_start(client->session, start, on_outcome != NULL, tell_started, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_started),
                  CALLBACK(void (*)(void), on_outcome), err);
}

aiki_status aiki_client_wait_async(aiki_client *client, const char *run_id, int64_t timeout_ms,
                                   aiki_on_outcome on_outcome, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = request_wait(client->session, run_id, timeout_ms, tell_outcome, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_outcome), NULL, err);
}

aiki_status aiki_client_signal_async(aiki_client *client, const char *run_id, const char *name,
                                     aiki_view payload, const char *ref,
                                     aiki_on_signalled on_signalled, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st =
        request_signal(client->session, run_id, name, payload, ref, tell_signalled, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_signalled), NULL, err);
}

aiki_status aiki_client_control_async(aiki_client *client, const char *run_id,
                                      const aiki_control *control, aiki_on_controlled on_controlled,
                                      void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st =
        request_control(client->session, run_id, control, tell_controlled, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_controlled), NULL, err);
}

aiki_status aiki_client_query_async(aiki_client *client, const char *what, aiki_view args,
                                    aiki_on_document on_document, void *arg, aiki_error *err)
{
    struct request *r = NULL;
    aiki_status st = request_query(client->session, what, args, tell_document, arg, &r, err);
    if (st != AIKI_OK)
        return st;
    return submit(client, r, CALLBACK(void (*)(void), on_document), NULL, err);
}
