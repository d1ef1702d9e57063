/* test_child.c - a real child process, a plugin, and a broker played by the test.
 *
 * The played broker keeps each run's journal as the server would: it numbers and stamps new events,
 * acknowledges, and hands the journal back with the next ASSIGN.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "child/child.h"
#include "fiber/checkers.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { ANSWER_MS_MAX = 20000 };
static int64_t engine_base_ms = 1800000000000;

struct broker {
    int fd;
    pid_t pid;
    aiki_writer in;
    uint64_t consumed;
};

struct book { /* one run, as the server knows it */
    struct aiki_id id;
    const char *workflow;
    aiki_writer journal;
    uint64_t seq, epoch, signals;
    /* what the last append said */
    uint64_t next, number, seen, appends;
    int64_t wake_at_ms;
    uint64_t last_kind;
    uint8_t last_body[1024];
    aiki_view last;
};

/* ---- the played broker ------------------------------------------------------------------- */

static int64_t engine_ms(void)
{
    return engine_base_ms + clock_mono_ms();
}

static void broker_start(struct broker *b)
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

/* Returns the child's exit status after its socket was closed. */
static int broker_stop(struct broker *b)
{
    int status = 0;

    close(b->fd);
    assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
    buf_deinit(&b->in);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void send_all(struct broker *b, aiki_view bytes)
{
    uint64_t sent = 0;

    while (sent < bytes.size_bytes) {
        ssize_t n = write(b->fd, bytes.data + sent, bytes.size_bytes - sent);
        assert_true(n > 0);
        sent += (uint64_t)n;
    }
}

#define broker_send(b, NAME, ...)                                          \
    do {                                                                   \
        const struct msg_##NAME m_ = {__VA_ARGS__};                        \
        aiki_writer w_;                                                    \
        buf_init(&w_);                                                     \
        uint64_t at_ = frame_begin(&w_);                                   \
        msg_##NAME##_write(&w_, &m_);                                      \
        assert_int_equal(frame_end(&w_, at_, WIRE_##NAME, 0), AIKI_OK);    \
        send_all(b, aiki_writer_view(&w_));                                \
        buf_deinit(&w_);                                                   \
    } while (0)

/* The next frame, or false when none comes within the time (or the child is gone). */
static bool receive(struct broker *b, struct frame *ret, int timeout_ms)
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

static void load(struct broker *b, const char *name)
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

static void record_event(struct book *k, const struct event *e)
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

static void open_book(struct book *k, const char *workflow, aiki_view input)
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

static void open_book_number(struct book *k, const char *workflow, uint64_t n)
{
    uint8_t memory[16];
    aiki_writer w;

    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_uint(&w, n);
    open_book(k, workflow, aiki_writer_view(&w));
}

static void close_book(struct book *k)
{
    buf_deinit(&k->journal);
}

static void assign(struct broker *b, struct book *k)
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

/* Next append of this run; log lines on the way are counted. */
static unsigned log_lines;
static bool next_append(struct broker *b, struct book *k, int timeout_ms)
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
        take_append(k, &m);
        return true;
    }
    return false;
}

static void ack(struct broker *b, const struct book *k)
{
    broker_send(b, ACK, .run = k->id, .number = k->number, .now_ms = engine_ms());
}

/* The child says that it cannot execute the run, having executed and recorded nothing. */
static void expect_unfit(struct broker *b, const struct book *k, aiki_error *ret)
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

/* Acknowledge until the run leaves; returns how it left. */
static uint64_t serve(struct broker *b, struct book *k)
{
    do {
        assert_true(next_append(b, k, ANSWER_MS_MAX));
        ack(b, k);
    } while (k->next == NEXT_CONTINUE);
    return k->next;
}

static void output_view(const struct book *k, aiki_view *ret)
{
    aiki_reader r;

    assert_int_equal(k->last_kind, EVENT_COMPLETED);
    aiki_reader_init(&r, k->last);
    assert_int_equal(aiki_mp_read_array(&r), 1);
    *ret = aiki_mp_read_bin(&r);
}

static uint64_t output_number(const struct book *k)
{
    aiki_view v;
    aiki_reader r;

    output_view(k, &v);
    aiki_reader_init(&r, v);
    return aiki_mp_read_uint(&r);
}

/* Code and message of the error that ended or blocked the run. */
static void end_error(const struct book *k, uint64_t kind, aiki_error *ret)
{
    aiki_reader r;

    assert_int_equal(k->last_kind, kind);
    aiki_reader_init(&r, k->last);
    assert_int_equal(aiki_mp_read_array(&r), 1);
    assert_int_equal(error_read(aiki_mp_value(&r), ret, NULL, NULL), AIKI_OK);
}

static void signal_run(struct broker *b, struct book *k, const char *name, uint64_t payload)
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

static unsigned count_events(const struct book *k, uint64_t kind)
{
    aiki_reader r;
    struct event e;
    unsigned n = 0;

    aiki_reader_init(&r, aiki_writer_view(&k->journal));
    while (event_read_stored(&r, &e, NULL) == AIKI_OK)
        n += e.kind == kind;
    return n;
}

static int start_steps(void **state)
{
    static struct broker b;

    broker_start(&b);
    load(&b, "steps");
    log_lines = 0;
    *state = &b;
    return 0;
}

static int stop(void **state)
{
    return broker_stop(*state);
}

/* ---- cases ------------------------------------------------------------------------------- */

/* The example plugin, typed records and all. */
static void hello_runs(void **state)
{
    struct broker b;
    struct book k;
    uint8_t memory[64];
    aiki_writer w;
    aiki_view out;
    (void)state;

    broker_start(&b);
    load(&b, "hello");
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "name");
    aiki_mp_str(&w, "world");
    open_book(&k, "hello", aiki_writer_view(&w));
    assign(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    output_view(&k, &out);
    assert_non_null(memmem(out.data, out.size_bytes, "Hello, world!", 13));
    assert_int_equal(k.appends, 1); /* result and completion share one commit */
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* Input that does not fit fails the run and executes nothing. */
static void bad_input_fails_the_run(void **state)
{
    struct broker b;
    struct book k;
    aiki_error err;
    (void)state;

    broker_start(&b);
    load(&b, "hello");
    open_book_number(&k, "hello", 3);
    assign(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_int_equal(err.status, AIKI_SCHEMA);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 0);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

static void refusals_are_coded(void **state)
{
    static const struct {
        const char *path, *code;
    } cases[] = {{"/nonexistent/x.so", "DLOPEN_FAILED"},
                 {"/lib/x86_64-linux-gnu/libm.so.6", "ENTRY_MISSING"},
                 {"child_test_undefined.so", "UNDEFINED_SYMBOL"}};
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct broker b;
        struct frame f;
        struct msg_REFUSED m;
        aiki_error err;
        char path[4096];
        if (i == 1 && access(cases[i].path, R_OK) != 0)
            continue;
        bool ours = cases[i].path[0] != '/';
        (void)snprintf(path, sizeof(path), "%s%s%s", ours ? getenv("AIKI_TEST_PLUGINS") : "",
                       ours ? "/" : "", cases[i].path);
        broker_start(&b);
        broker_send(&b, LOAD, .path = view_of(path));
        assert_true(receive(&b, &f, ANSWER_MS_MAX));
        assert_int_equal(f.type, WIRE_REFUSED);
        assert_int_equal(msg_REFUSED_read(f.payload, &m, &err), AIKI_OK);
        assert_int_equal(error_read(m.error, &err, NULL, NULL), AIKI_OK);
        assert_string_equal(err.code, cases[i].code);
        assert_int_equal(broker_stop(&b), 0);
    }
}

/* n steps cost n appends, the last of which carries the completion; replay executes nothing. */
static void sequence_commits_each_step(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 14);
    assert_int_equal(k.appends, 3);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 0);
    close_book(&k);

    open_book_number(&k, "sequence-threads", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(k.appends, 3);
    close_book(&k);
}

/* Nothing new starts before the acknowledgement. */
static void side_effects_wait_for_the_commit(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 3);
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_false(next_append(*state, &k, 50));
    ack(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(k.number, 2);
    broker_send((struct broker *)*state, DROP, .run = k.id);
    close_book(&k);
}

/* Ownership lost in the middle: the next assignment goes on from the record. */
static void dropped_runs_are_replayed(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 5);
    for (int i = 0; i < 4; i++) {
        assign(*state, &k);
        assert_true(next_append(*state, &k, ANSWER_MS_MAX));
        broker_send((struct broker *)*state, DROP, .run = k.id);
    }
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 62);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    close_book(&k);
}

/* Side by side: done in any order, announced when something else is recorded meanwhile. */
static void fan_out_completes(void **state)
{
    struct book k;

    open_book_number(&k, "fan", 40);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 40);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 40);
    close_book(&k);
}

/* The first of several is the first on every replay. */
static void race_is_on_record(void **state)
{
    struct book k;

    open_book_number(&k, "race", 0);
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 1);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    broker_send((struct broker *)*state, DROP, .run = k.id);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 1);
    close_book(&k);
}

static void sleep_parks_and_wakes(void **state)
{
    struct book k;

    open_book_number(&k, "rest", 3600000);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.appends, 1); /* result, begun and park share one commit */
    assert_true(k.wake_at_ms > engine_ms() && k.wake_at_ms <= engine_ms() + 3600000);
    engine_base_ms += k.wake_at_ms - engine_ms(); /* a time later, by the clock that counts */
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 7);
    close_book(&k);
}

/* What a child is asked for is checked before anything is recorded. */
static void options_of_children_are_checked(void **state)
{
    struct book k;

    open_book_number(&k, "bad-calls", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 0xfff);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 0);
    close_book(&k);
    open_book_number(&k, "short-options", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 1);
    close_book(&k);
}

/* A signal while parked, one that was early, and none at all. */
static void signals_are_consumed(void **state)
{
    struct book k;

    open_book_number(&k, "listen", 60000);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 0);
    signal_run(NULL, &k, "other", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 1);
    signal_run(NULL, &k, "go", 42);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 42);
    close_book(&k);

    open_book_number(&k, "listen", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 404);
    close_book(&k);
}

/* Attempts are on record, the idempotency key stays the same, the outcome is that of the last. */
static void attempts_are_retried(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "retried", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 3);
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 2);
    close_book(&k);

    open_book_number(&k, "retried", 9);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_string_equal(err.code, "FLAKY");
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 2);
    close_book(&k);
}

/* One key a call: the same at each attempt, also in another process; another call has another. */
static void keys_name_the_call(void **state)
{
    enum { KEY_CHARS = 32 };
    struct broker other;
    struct book k;
    aiki_view first, again;
    char key[KEY_CHARS];

    open_book_number(&k, "keys", 2);
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX)); /* the first attempt told its key and failed */
    aiki_view body = k.last;
    assert_int_equal(k.last_kind, EVENT_ATTEMPT_FAILED);
    const uint8_t *at = memmem(body.data, body.size_bytes, "key ", 4);
    assert_non_null(at);
    memcpy(key, at + 4, KEY_CHARS);
    broker_start(&other);
    load(&other, "steps");
    assign(&other, &k);
    assert_int_equal(serve(&other, &k), NEXT_FINISH);
    output_view(&k, &first);
    assert_non_null(memmem(first.data, first.size_bytes, key, KEY_CHARS));
    again = first;
    again.data += 1 + KEY_CHARS;
    again.size_bytes -= 1 + KEY_CHARS;
    assert_null(memmem(again.data, again.size_bytes, key, KEY_CHARS));
    close_book(&k);
    assert_int_equal(broker_stop(&other), 0);
}

/* A far retry parks; the next process goes on with the next attempt number. */
static void far_retries_park(void **state)
{
    struct book k;

    open_book_number(&k, "patient", 2);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_true(k.wake_at_ms > engine_ms() + 50000);
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK); /* not due yet: nothing is recorded */
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 1);
    close_book(&k);
}

static void final_and_unknown_fail_at_once(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "refused", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_string_equal(err.code, "REFUSED");
    close_book(&k);

    open_book_number(&k, "missing", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_string_equal(err.code, "TASK_UNKNOWN");
    assert_non_null(strstr(err.message, "steps"));
    close_book(&k);

    open_book_number(&k, "no-such-workflow", 1);
    assign(*state, &k);
    expect_unfit(*state, &k, &err);
    assert_string_equal(err.code, "WORKFLOW_UNKNOWN");
    close_book(&k);
}

static void side_values_are_recorded(void **state)
{
    struct book k;

    open_book_number(&k, "sides", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 41);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    assert_true(log_lines >= 2);
    close_book(&k);
}

/* A changed input gives the run back and shows both steps; the process serves on. */
static void divergence_gives_back(void **state)
{
    struct broker other;
    struct book k;
    aiki_error err;

    open_book_number(&k, "moody", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    broker_start(&other);
    load(&other, "steps");
    assign(&other, &k);
    expect_unfit(&other, &k, &err);
    assert_string_equal(err.code, "NONDETERMINISM");
    assert_non_null(strstr(err.message, "recorded: task twice"));
    assert_non_null(strstr(err.message, "asks for: task twice"));
    assert_non_null(strstr(err.message, "the input changed"));
    assert_int_equal(broker_stop(&other), 0);
    /* Back to the build that fits. */
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    close_book(&k);
}

/* A long journal comes in pages; a signal may come between them. */
static void journals_come_in_pages(void **state)
{
    struct book k;
    struct broker *b = *state;
    uint64_t first;

    open_book_number(&k, "listen", 60000);
    first = k.journal.size_bytes;
    signal_run(NULL, &k, "other", 1);
    k.epoch++;
    broker_send(b, ASSIGN, .run = k.id, .workflow = view_of("listen"), .version = view_of("1.0.0"),
                .now_ms = engine_ms(), .journal = {k.journal.data, first}, .seq = k.seq,
                .epoch = k.epoch);
    uint64_t second = k.journal.size_bytes;
    signal_run(b, &k, "go", 5);
    broker_send(b, CLAIMED, .run = k.id, .epoch = k.epoch, .seq = 2,
                .journal = {k.journal.data + first, second - first});
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 5);
    close_book(&k);
}

/* Bytes that are no journal block the run and hurt nobody else. */
static void corrupt_journals_block(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "sequence", 1);
    k.journal.data[0] = 0xc1;
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(k.next, NEXT_BLOCK);
    ack(*state, &k);
    end_error(&k, EVENT_BLOCKED, &err);
    assert_int_equal(err.status, AIKI_CORRUPT);
    close_book(&k);
    sequence_commits_each_step(state);
}

/* Draining: what is resident finishes, what comes is handed back, then the process ends. */
static void drain_ends_the_process(void **state)
{
    struct broker b;
    struct book k, late;
    struct frame f;
    int status;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "sequence", 2);
    assign(&b, &k);
    assert_true(next_append(&b, &k, ANSWER_MS_MAX));
    broker_send(&b, DRAIN, .grace_ms = 10000);
    open_book_number(&late, "sequence", 2);
    assign(&b, &late);
    assert_true(next_append(&b, &late, ANSWER_MS_MAX));
    assert_int_equal(late.next, NEXT_RELEASE);
    ack(&b, &late);
    ack(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    assert_int_equal(waitpid(b.pid, &status, 0), b.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(b.fd);
    buf_deinit(&b.in);
    close_book(&k);
    close_book(&late);
}

static void grace_hands_runs_back(void **state)
{
    struct broker b;
    struct book k;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "race", 0); /* its slow task takes 150 ms */
    assign(&b, &k);
    broker_send(&b, DRAIN, .grace_ms = 1);
    assert_int_equal(serve(&b, &k), NEXT_RELEASE);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* A run that is handed back takes along what was done and not yet sent: it is not done again. */
static void grace_keeps_results(void **state)
{
    struct broker b;
    struct book k;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "held-up", 0);
    assign(&b, &k);
    /* Not acknowledged, so that what is done after it waits in the child. */
    assert_true(next_append(&b, &k, ANSWER_MS_MAX));
    assert_int_equal(k.next, NEXT_CONTINUE);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    signal_run(&b, &k, "go", 1);
    broker_send(&b, DRAIN, .grace_ms = 1);
    assert_int_equal(serve(&b, &k), NEXT_RELEASE);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 2);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* A plugin that returns nothing, nonsense, or too much gets an answer and hurts nobody. */
static void odd_results_are_answered(void **state)
{
    static const struct {
        const char *workflow;
        uint64_t input;
        uint64_t kind;
        const char *code;
    } cases[] = {
        {"silent", 0, EVENT_COMPLETED, NULL},
        {"strange", 0, EVENT_FAILED, "UNKNOWN"},
        {"oversize", 0, EVENT_COMPLETED, NULL},
        {"oversize", 1, EVENT_FAILED, "PAYLOAD_TOO_LARGE"},
        {"betrayed", 0, EVENT_FAILED, "NOT_IN_WORKFLOW"},
        {"nested", 0, EVENT_FAILED, "INVALID"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct book k;
        aiki_error err;
        open_book_number(&k, cases[i].workflow, cases[i].input);
        assign(*state, &k);
        assert_int_equal(serve(*state, &k), NEXT_FINISH);
        assert_int_equal(k.last_kind, cases[i].kind);
        if (cases[i].code != NULL) {
            end_error(&k, cases[i].kind, &err);
            assert_string_equal(err.code, cases[i].code);
            assert_int_not_equal(err.message[0], '\0');
        }
        close_book(&k);
    }
    sequence_commits_each_step(state);
}

/* The largest payload there may be travels both ways. */
static void large_payloads_fit(void **state)
{
    struct book k;
    struct broker *b = *state;

    open_book_number(&k, "oversize", PAYLOAD_BYTES_MAX);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(k.last_kind, EVENT_COMPLETED);
    assert_true(k.journal.size_bytes > PAYLOAD_BYTES_MAX);
    close_book(&k);

    aiki_writer w;
    buf_init(&w);
    uint8_t *text = calloc(1, PAYLOAD_BYTES_MAX - 5);
    assert_non_null(text);
    aiki_mp_strn(&w, text, PAYLOAD_BYTES_MAX - 5);
    open_book(&k, "silent", aiki_writer_view(&w));
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(k.last_kind, EVENT_COMPLETED);
    assert_true(k.journal.size_bytes > 2 * (uint64_t)PAYLOAD_BYTES_MAX); /* input, twice */
    free(text);
    buf_deinit(&w);
    close_book(&k);
}

/* Thousands of waits park in one append and come back from the record. */
static void crowds_park(void **state)
{
    enum { WAITS = 3000 };
    struct book k;

    open_book_number(&k, "crowd", WAITS);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 2 * WAITS);
    assert_true(k.wake_at_ms > engine_ms());
    signal_run(NULL, &k, "wait-7", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 1);
    close_book(&k);
}

/* Ownership ends while tasks are under way: their results are nobody's, also when the same run
 * comes back before they have ended. */
static void late_results_are_dropped(void **state)
{
    struct book k;
    struct broker *b = *state;

    open_book_number(&k, "fan", 5);
    assign(b, &k);
    broker_send(b, NOTIFY, .run = k.id, .epoch = k.epoch + 1, .kind = NOTIFY_DROP); /* not this stay */
    broker_send(b, NOTIFY, .run = k.id, .epoch = k.epoch, .kind = NOTIFY_DROP);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    close_book(&k);

    /* A task left behind does not hold the completion up, and not the process either. */
    open_book_number(&k, "careless", 0);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 5);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    close_book(&k);
    open_book_number(&k, "patience", 0);
    assign(b, &k);
    sequence_commits_each_step(state);
    close_book(&k);
}

/* What the child wrote to stderr before it died of the signal. */
static int die_of(const char *workflow, uint64_t input, char *ret_text, size_t size)
{
    struct broker b;
    struct book k;
    struct frame f;
    int ends[2], status = 0, saved = dup(STDERR_FILENO);

    assert_int_equal(pipe(ends), 0);
    assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    broker_start(&b);
    (void)dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    load(&b, "steps");
    open_book_number(&k, workflow, input);
    assign(&b, &k);
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    status = broker_stop(&b);
    ssize_t n = read(ends[0], ret_text, size - 1);
    ret_text[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    assert_non_null(strstr(ret_text, "in run "));
    id_text(&k.id, ret_text + size - AIKI_ID_TEXT_SIZE);
    assert_non_null(strstr(ret_text, ret_text + size - AIKI_ID_TEXT_SIZE));
    close_book(&k);
    return status;
}

/* Endless recursion and abort() kill this process only, which says who it was. */
static void deaths_name_the_run(void **state)
{
    char text[4096];
    (void)state;

    if (FIBER_ASAN)
        skip(); /* the sanitizer's own report comes instead */
    assert_int_equal(die_of("bottomless", 1 << 20, text, sizeof(text)), -SIGSEGV);
    assert_non_null(strstr(text, "STACK OVERFLOW in run "));
    assert_non_null(strstr(text, "(workflow bottomless)"));
    assert_int_equal(die_of("aborts", 0, text, sizeof(text)), -SIGABRT);
    assert_non_null(strstr(text, "(task aborting)"));
}

/* When the broker is killed, a child that never looks at its socket dies as well. */
static void orphans_die(void **state)
{
    int status = 0, ready[2];
    char byte;
    (void)state;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct broker b;
        struct book k;
        broker_start(&b);
        load(&b, "steps");
        open_book_number(&k, "spins", 0);
        assign(&b, &k);
        (void)!write(ready[1], &b.pid, sizeof(b.pid));
        for (;;)
            (void)pause();
    }
    close(ready[1]);
    pid_t child = 0;
    assert_int_equal(read(ready[0], &child, sizeof(child)), sizeof(child));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* Garbage on the socket ends the process with a status that says so. */
static void bad_frames_end_the_process(void **state)
{
    struct broker b;
    (void)state;

    broker_start(&b);
    broker_send(&b, FAULT, .status = 3);
    struct frame f;
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    assert_int_equal(broker_stop(&b), 70);
}

#define STEPS_CASE(name) cmocka_unit_test_setup_teardown(name, start_steps, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_runs),
        cmocka_unit_test(bad_input_fails_the_run),
        cmocka_unit_test(refusals_are_coded),
        STEPS_CASE(sequence_commits_each_step),
        STEPS_CASE(side_effects_wait_for_the_commit),
        STEPS_CASE(dropped_runs_are_replayed),
        STEPS_CASE(fan_out_completes),
        STEPS_CASE(race_is_on_record),
        STEPS_CASE(sleep_parks_and_wakes),
        STEPS_CASE(options_of_children_are_checked),
        STEPS_CASE(signals_are_consumed),
        STEPS_CASE(attempts_are_retried),
        STEPS_CASE(keys_name_the_call),
        STEPS_CASE(far_retries_park),
        STEPS_CASE(final_and_unknown_fail_at_once),
        STEPS_CASE(side_values_are_recorded),
        STEPS_CASE(divergence_gives_back),
        STEPS_CASE(journals_come_in_pages),
        STEPS_CASE(corrupt_journals_block),
        cmocka_unit_test(drain_ends_the_process),
        cmocka_unit_test(grace_hands_runs_back),
        cmocka_unit_test(grace_keeps_results),
        STEPS_CASE(odd_results_are_answered),
        STEPS_CASE(large_payloads_fit),
        STEPS_CASE(crowds_park),
        STEPS_CASE(late_results_are_dropped),
        cmocka_unit_test(deaths_name_the_run),
        cmocka_unit_test(orphans_die),
        cmocka_unit_test(bad_frames_end_the_process),
    };
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
