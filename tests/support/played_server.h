/* played_server.h - a server that is played from a script by a thread of the test, for tests of the client
 * library: accept, read one frame, answer, hang up. On a unix socket in a private directory. Include it behind
 * cmocka.h.
 */
#ifndef SUPPORT_PLAYED_SERVER_H
#define SUPPORT_PLAYED_SERVER_H

#include <aiki/client_record.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/message.h"

struct fixture {
    char directory[64];
    char url[128];
    int listener;
    int fd; /* the open connection, -1 = none */
    aiki_writer in;
    uint64_t in_used; /* bytes of `in` that the last frame took */
    pthread_t thread;
    void (*script)(struct fixture *f);
    struct aiki_id runs[8]; /* what the server was asked about */
    unsigned run_count;
    aiki_client *client;
    aiki_error err;
};

/* ---- the server's side -------------------------------------------------------------------- */

static inline void accept_one(struct fixture *f)
{
    if (f->fd >= 0)
        close(f->fd);
    buf_clear(&f->in, 0);
    f->in_used = 0;
    f->fd = accept(f->listener, NULL, NULL);
}

/* The next frame; type 0 when the client hung up. */
static inline struct frame read_frame(struct fixture *f)
{
    struct frame frame = {0};
    buf_consume(&f->in, f->in_used);
    f->in_used = 0;
    for (;;) {
        uint64_t size = 0;
        aiki_view have = aiki_writer_view(&f->in);
        aiki_status st = frame_read(have, &frame, &size, NULL);
        if (st == AIKI_OK) {
            f->in_used = size;
            return frame;
        }
        uint8_t chunk[4096];
        ssize_t n = read(f->fd, chunk, sizeof(chunk));
        if (n <= 0 || st != AIKI_PENDING)
            return (struct frame){0};
        aiki_mp_raw(&f->in, chunk, (uint64_t)n);
    }
}

static inline void send_out(struct fixture *f, aiki_writer *w)
{
    (void)send(f->fd, w->data, w->size_bytes, MSG_NOSIGNAL); /* the reader tells */
    buf_deinit(w);
}

#define SEND(f, NAME, correlation, ...)                                                            \
    do {                                                                                           \
        aiki_writer w_;                                                                            \
        buf_init(&w_);                                                                             \
        uint64_t at_ = frame_begin(&w_);                                                           \
        msg_##NAME##_write(&w_, &(struct msg_##NAME){__VA_ARGS__});                                \
        (void)frame_end(&w_, at_, WIRE_##NAME, correlation);                                       \
        send_out(f, &w_);                                                                          \
    } while (0)

static inline void welcome(struct fixture *f)
{
    struct frame hello = read_frame(f);
    SEND(f, WELCOME, hello.correlation, .major = WIRE_MAJOR, .lease_ms = 5000);
}

static inline struct aiki_id remember_start(struct fixture *f, const struct frame *frame)
{
    struct msg_START m = {0};
    (void)msg_START_read(frame->payload, &m, NULL);
    f->runs[f->run_count++] = m.run;
    return m.run;
}

static inline void send_fault(struct fixture *f, uint32_t correlation, aiki_status st, const char *message)
{
    aiki_error e = {.struct_size = sizeof(e)};
    aiki_writer w;
    (void)error_set(&e, st, "%s", message);
    buf_init(&w);
    error_write(&w, &e);
    SEND(f, FAULT, correlation, .status = st, .error = aiki_writer_view(&w));
    buf_deinit(&w);
}

static inline void *server_main(void *arg)
{
    struct fixture *f = arg;
    f->script(f);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return NULL;
}

/* ---- fixture ------------------------------------------------------------------------------ */

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fd = -1;
    f->err.struct_size = sizeof(f->err);
    buf_init(&f->in);
    strcpy(f->directory, "/tmp/aiki-test-client-XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        return -1;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", f->directory);
    snprintf(f->url, sizeof(f->url), "unix:%s/s", f->directory);
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(f->listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(f->listener, 8) != 0)
        return -1;
    *state = f;
    return 0;
}

static inline void play(struct fixture *f, void (*script)(struct fixture *f))
{
    f->script = script;
    assert_int_equal(pthread_create(&f->thread, NULL, server_main, f), 0);
}

static inline void open_client(struct fixture *f)
{
    assert_int_equal(aiki_client_open(f->url, NULL, &f->client, &f->err), AIKI_OK);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    aiki_client_close(f->client);
    shutdown(f->listener, SHUT_RDWR);
    close(f->listener);
    if (f->script != NULL)
        pthread_join(f->thread, NULL);
    buf_deinit(&f->in);
    char path[128];
    snprintf(path, sizeof(path), "%s/s", f->directory);
    unlink(path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static inline aiki_start hello_start(void)
{
    return (aiki_start){.struct_size = sizeof(aiki_start), .workflow = "hello"};
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
