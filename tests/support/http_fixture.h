/* http_fixture.h - the HTTP listener with a core that a test plays, and clients on real sockets. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <uv.h>

#include "core.h"
#include "http/http.h"
#include "tokens.h"
#include "wire/message.h"

enum { ASKED_MAX = 2048 };

/* One core_request. */
struct asked {
    uint64_t token;
    uint32_t type;
    uint8_t *payload;
    uint64_t size_bytes;
    core_reply_fn fn;
    void *arg;
    bool open; /* neither answered nor forgotten */
};

struct core {
    struct asked asked[ASKED_MAX];
    unsigned count, forgotten;
    const char *not_ready; /* NULL: ready */
};

struct fixture {
    uv_loop_t loop;
    struct http *http;
    struct tokens *tokens; /* owned; NULL: none is asked for */
    struct core core;
    bool stopped;
    int descriptors; /* open before all began */
};

int fixture_setup(void **state);
/* With a listener that asks for tokens; the fixture closes them. */
int fixture_setup_tokens(void **state, struct tokens *tokens);
/* Checks that no descriptor and no handle is left. */
int fixture_teardown(void **state);
void fixture_stop(struct fixture *f);
/* Move the monotonic clock that the loop sees. */
void clock_shift(int64_t ms);

/* Turn the loop once, waiting for it or the client. fd: -1 = none. */
void turn(struct fixture *f, int fd);
#define turn_until(f, fd, condition)                                                               \
    do {                                                                                           \
        while (!(condition))                                                                       \
            turn((f), (fd));                                                                       \
    } while (0)

/* The newest request the core was asked; waits until there are `count`. */
struct asked *await_asked(struct fixture *f, unsigned count);
struct asked *last_asked(struct fixture *f);
#define reply(f, a, NAME, ...)                                                                     \
    do {                                                                                           \
        const struct msg_##NAME m_ = {__VA_ARGS__};                                                \
        aiki_writer w_;                                                                            \
        buf_init(&w_);                                                                             \
        msg_##NAME##_write(&w_, &m_);                                                              \
        reply_bytes((f), (a), WIRE_##NAME, aiki_writer_view(&w_));                                 \
        buf_deinit(&w_);                                                                           \
    } while (0)
void reply_bytes(struct fixture *f, struct asked *a, uint32_t type, aiki_view payload);

struct response {
    unsigned status;
    char *head; /* owned, as below */
    char *body;
    bool closed; /* the connection ended after it */
};
int client_open(struct fixture *f);
void client_send(struct fixture *f, int fd, const char *bytes, size_t size);
void client_text(struct fixture *f, int fd, const char *text);
/* One answer, by its Content-Length or until the end of the connection. status 0: it ended without
 * one. */
struct response client_read(struct fixture *f, int fd);
/* The same for an answer to HEAD. */
struct response client_read_head(struct fixture *f, int fd);
void response_deinit(struct response *r);
/* "GET path" or "POST path" with a body, with the usual headers, on a connection of its own. */
struct response ask(struct fixture *f, const char *method, const char *path, const char *body);
/* A whole request as text, with its answer on a connection of its own. */
struct response ask_raw(struct fixture *f, const char *text);
/* After one turn of the loop. What there was to read is gone. */
bool peer_closed(struct fixture *f, int fd);
/* The value of a line of /metrics. */
uint64_t gauge(struct fixture *f, const char *name);
/* Whether the answer is that status with {"error": {"code": code ...}}. */
void assert_error(const struct response *r, unsigned status, const char *code);

#endif
