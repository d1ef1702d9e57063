/* played_broker.c - see played_broker.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "child/child.h"
#include "support/played_broker.h"

int64_t engine_base_ms = 1800000000000;
unsigned log_lines;

/* ---- the played broker ------------------------------------------------------------------- */

int64_t engine_ms(void)
{
    return engine_base_ms + clock_mono_ms();
}

void broker_start(struct broker *b)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fflush(NULL);
    b->pid = fork();
    assert_true(b->pid >= 0);
    if (b->pid == 0) {
        close(ends[0]);
        _exit(child_main(ends[1]));
    }
    close(ends[1]);
    b->fd = ends[0];
    buf_init(&b->in);
    b->consumed = 0;
}

int broker_stop(struct broker *b)
{
    int status = 0;

    close(b->fd);
    assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
    buf_deinit(&b->in);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void send_all(struct broker *b, aiki_view bytes)
{
    uint64_t sent = 0;

    while (sent < bytes.size_bytes) {
        ssize_t n = write(b->fd, bytes.data + sent, bytes.size_bytes - sent);
        assert_true(n > 0);
        sent += (uint64_t)n;
    }
}

bool receive(struct broker *b, struct frame *ret, int timeout_ms)
{
    buf_consume(&b->in, b->consumed);
    b->consumed = 0;
    for (;;) {
        aiki_error err;
        uint64_t size;
        aiki_status st = frame_read(aiki_writer_view(&b->in), ret, &size, &err);
        if (st == AIKI_OK) {
            b->consumed = size;
            return true;
        }
        assert_int_equal(st, AIKI_PENDING);
        struct pollfd p = {b->fd, POLLIN, 0};
        if (poll(&p, 1, timeout_ms) <= 0)
            return false;
        uint8_t bytes[65536];
        ssize_t n = read(b->fd, bytes, sizeof(bytes));
        if (n <= 0)
            return false;
        aiki_mp_raw(&b->in, bytes, (uint64_t)n);
    }
}

void load(struct broker *b, const char *name)
{
    char path[4096];
    struct frame f;

    (void)snprintf(path, sizeof(path), "%s/child_test_%s.so", getenv("AIKI_TEST_PLUGINS"), name);
    broker_send(b, LOAD, .path = view_of(path), .task_threads_max = 16);
    assert_true(receive(b, &f, ANSWER_MS_MAX));
    if (f.type == WIRE_REFUSED) {
        struct msg_REFUSED m;
        aiki_error err;
        assert_int_equal(msg_REFUSED_read(f.payload, &m, &err), AIKI_OK);
        (void)error_read(m.error, &err, NULL, NULL);
        fail_msg("refused: %s %s", err.code, err.message);
    }
    assert_int_equal(f.type, WIRE_READY);
}

/* ---- the played server ------------------------------------------------------------------- */

static void record(struct book *k, uint64_t kind, aiki_view body)
{
    event_write_stored(&k->journal, ++k->seq, engine_ms(), k->epoch, kind, body);
}

void record_event(struct book *k, const struct event *e)
{
    aiki_writer w;
    struct event read;
    aiki_view body;
    aiki_reader r;

    buf_init(&w);
    event_write_new(&w, e);
    aiki_reader_init(&r, aiki_writer_view(&w));
    assert_int_equal(event_read_new(&r, &read, &body, NULL), AIKI_OK);
    record(k, e->kind, body);
    buf_deinit(&w);
}

void open_book(struct book *k, const char *workflow, aiki_view input)
{
    struct event e = {.kind = EVENT_STARTED};

    memset(k, 0, sizeof(*k));
    buf_init(&k->journal);
    k->id = id_new();
    k->workflow = workflow;
    e.as.started.workflow = view_of(workflow);
    e.as.started.version = view_of("1.0.0");
    e.as.started.input = input;
    record_event(k, &e);
}

void open_book_number(struct book *k, const char *workflow, uint64_t n)
{
    uint8_t memory[16];
    aiki_writer w;

    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_uint(&w, n);
    open_book(k, workflow, aiki_writer_view(&w));
}

void close_book(struct book *k)
{
    buf_deinit(&k->journal);
}

void assign(struct broker *b, struct book *k)
{
    k->epoch++;
    k->number = 0;
    broker_send(b, ASSIGN, .run = k->id, .workflow = view_of(k->workflow),
                .version = view_of("1.0.0"), .now_ms = engine_ms(),
                .journal = aiki_writer_view(&k->journal), .seq = k->seq, .epoch = k->epoch);
}

static void take_append(struct book *k, const struct msg_APPEND *m)
{
    aiki_reader r;
    struct event e;
    aiki_view body;

    assert_int_equal(m->number, k->number + 1);
    assert_int_equal(m->epoch, k->epoch);
    k->number = m->number;
    k->next = m->next;
    k->seen = m->seen;
    k->wake_at_ms = m->wake_at_ms;
    k->appends++;
    aiki_reader_init(&r, m->events);
    while (event_read_new(&r, &e, &body, NULL) == AIKI_OK) {
        record(k, e.kind, body);
        k->last_kind = e.kind;
        if (body.size_bytes <= sizeof(k->last_body)) {
            memcpy(k->last_body, body.data, body.size_bytes);
            k->last = (aiki_view){k->last_body, body.size_bytes};
        }
    }
    assert_int_equal(r.at == r.end, 1);
}

bool next_append(struct broker *b, struct book *k, int timeout_ms)
{
    struct frame f;
    aiki_error err;

    while (receive(b, &f, timeout_ms)) {
        struct msg_APPEND m;
        if (f.type == WIRE_LOG) {
            log_lines++;
            continue;
        }
        assert_int_equal(f.type, WIRE_APPEND);
        assert_int_equal(msg_APPEND_read(f.payload, &m, &err), AIKI_OK);
        assert_true(id_equal(&m.run, &k->id));
        if (m.epoch < k->epoch)
            continue; /* sent before the child read that this stay is dropped; no broker passes it on */
        take_append(k, &m);
        return true;
    }
    return false;
}

void ack(struct broker *b, const struct book *k)
{
    broker_send(b, ACK, .run = k->id, .number = k->number, .now_ms = engine_ms());
}

void expect_unfit(struct broker *b, const struct book *k, aiki_error *ret)
{
    struct frame f;
    struct msg_UNFIT m;

    do
        assert_true(receive(b, &f, ANSWER_MS_MAX));
    while (f.type == WIRE_LOG);
    assert_int_equal(f.type, WIRE_UNFIT);
    assert_int_equal(msg_UNFIT_read(f.payload, &m, ret), AIKI_OK);
    assert_true(id_equal(&m.run, &k->id));
    assert_int_equal(m.epoch, k->epoch);
    assert_int_equal(error_read(m.error, ret, NULL, NULL), AIKI_OK);
}

uint64_t serve(struct broker *b, struct book *k)
{
    do {
        assert_true(next_append(b, k, ANSWER_MS_MAX));
        ack(b, k);
    } while (k->next == NEXT_CONTINUE);
    return k->next;
}

void output_view(const struct book *k, aiki_view *ret)
{
    aiki_reader r;

    assert_int_equal(k->last_kind, EVENT_COMPLETED);
    aiki_reader_init(&r, k->last);
    assert_int_equal(aiki_mp_read_array(&r), 1);
    *ret = aiki_mp_read_bin(&r);
}

uint64_t output_number(const struct book *k)
{
    aiki_view v;
    aiki_reader r;

    output_view(k, &v);
    aiki_reader_init(&r, v);
    return aiki_mp_read_uint(&r);
}

void end_error(const struct book *k, uint64_t kind, aiki_error *ret)
{
    aiki_reader r;

    assert_int_equal(k->last_kind, kind);
    aiki_reader_init(&r, k->last);
    assert_int_equal(aiki_mp_read_array(&r), 1);
    assert_int_equal(error_read(aiki_mp_value(&r), ret, NULL, NULL), AIKI_OK);
}

void signal_run(struct broker *b, struct book *k, const char *name, uint64_t payload)
{
    uint8_t memory[16];
    aiki_writer w;
    struct event e = {.kind = EVENT_SIGNAL};
    uint64_t from = k->journal.size_bytes;

    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_uint(&w, payload);
    e.as.signal.name = view_of(name);
    e.as.signal.payload = aiki_writer_view(&w);
    record_event(k, &e);
    k->signals++;
    if (b != NULL)
        broker_send(b, NOTIFY, .run = k->id, .epoch = k->epoch, .kind = NOTIFY_EVENT,
                    .event = {k->journal.data + from, k->journal.size_bytes - from});
}

unsigned count_events(const struct book *k, uint64_t kind)
{
    aiki_reader r;
    struct event e;
    unsigned n = 0;

    aiki_reader_init(&r, aiki_writer_view(&k->journal));
    while (event_read_stored(&r, &e, NULL) == AIKI_OK)
        n += e.kind == kind;
    return n;
}

int start_steps(void **state)
{
    static struct broker b;

    broker_start(&b);
    load(&b, "steps");
    log_lines = 0;
    *state = &b;
    return 0;
}

int stop_steps(void **state)
{
    return broker_stop(*state);
}
