/* played_broker.h - the broker and the server of a child process, for unit tests of the child.
 *
 * A real child process is at the other end of a socket. The played server keeps each run's journal:
 * it numbers and stamps new events, acknowledges, and hands the journal back with the next ASSIGN.
 * Every function fails the test when the child does something else.
 */
#ifndef SUPPORT_PLAYED_BROKER_H
#define SUPPORT_PLAYED_BROKER_H

#include <sys/types.h>

#include "base/buf.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { ANSWER_MS_MAX = 20000 };

extern int64_t engine_base_ms; /* what the server's clock says when this host's says 0 */
extern unsigned log_lines;     /* that the child has written since start_steps() */

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

int64_t engine_ms(void);

/* ---- the broker ---- */

void broker_start(struct broker *b);
/* Returns the child's exit status, or minus the signal, after its socket was closed. */
int broker_stop(struct broker *b);
void send_all(struct broker *b, aiki_view bytes);
/* The next frame, or false when none comes within the time (or the child is gone). */
bool receive(struct broker *b, struct frame *ret, int timeout_ms);
/* Has the child load a plugin of this test and waits until it is ready. */
void load(struct broker *b, const char *name);
/* Set-up and tear-down of a case that wants a child with the plugin "steps". */
int start_steps(void **state);
int stop_steps(void **state);

#define broker_send(b, NAME, ...)                                                                  \
    do {                                                                                           \
        const struct msg_##NAME m_ = {__VA_ARGS__};                                                \
        aiki_writer w_;                                                                            \
        buf_init(&w_);                                                                             \
        uint64_t at_ = frame_begin(&w_);                                                           \
        msg_##NAME##_write(&w_, &m_);                                                              \
        assert_int_equal(frame_end(&w_, at_, WIRE_##NAME, 0), AIKI_OK);                            \
        send_all(b, aiki_writer_view(&w_));                                                        \
        buf_deinit(&w_);                                                                           \
    } while (0)

/* ---- the server ---- */

void open_book(struct book *k, const char *workflow, aiki_view input);
void open_book_number(struct book *k, const char *workflow, uint64_t n);
void close_book(struct book *k);
void record_event(struct book *k, const struct event *e);
void assign(struct broker *b, struct book *k);
/* Next append of this run; log lines on the way are counted. */
bool next_append(struct broker *b, struct book *k, int timeout_ms);
void ack(struct broker *b, const struct book *k);
/* The child says that it cannot execute the run, having executed and recorded nothing. */
void expect_unfit(struct broker *b, const struct book *k, aiki_error *ret);
/* Acknowledge until the run leaves; returns how it left. */
uint64_t serve(struct broker *b, struct book *k);
/* A signal on record; with a broker, its child is told. */
void signal_run(struct broker *b, struct book *k, const char *name, uint64_t payload);

/* ---- what came of it ---- */

void output_view(const struct book *k, aiki_view *ret);
uint64_t output_number(const struct book *k);
/* Code and message of the error that ended or blocked the run. */
void end_error(const struct book *k, uint64_t kind, aiki_error *ret);
unsigned count_events(const struct book *k, uint64_t kind);

#endif
