/* batch.h - what the loop, the store thread and the reader thread hand each other.
 *
 *   loop --batch: commands--> store thread --outcome: frames, offers--> loop
 *                                  \--batch--> reader thread --outcome--/
 *
 * A batch is all that arrived during one turn of the loop; an outcome all that one unit of work
 * made true. Both move: after posting, the sender's pointer is gone.
 */
#ifndef SERVER_BATCH_H
#define SERVER_BATCH_H

#include <aiki/msgpack.h>

#include "base/mailbox.h"
#include "wire/frame.h"
#include "wire/keys.h"
#include "wire/message.h"

/* Connections at once; requests a connection may have open; bytes of commands waiting for the
 * store thread before starts and signals are refused. */
enum {
    CONNECTIONS_MAX = 10000,
    PEER_SLOTS = CONNECTIONS_MAX + 1, /* the last one is core's own, for what is no connection */
    CONNECTION_REQUESTS_MAX = 65536,
    COMMAND_BYTES_WAITING_MAX = 256 * 1024 * 1024
};

/* A connection: slot (0 .. PEER_SLOTS) in the low 16 bits, a serial number above, so that
 * nothing meant for a former user of the slot reaches the next one. 0 is nobody. */
typedef uint64_t peer_id;
static inline uint32_t peer_slot(peer_id peer) { return (uint32_t)(peer & 0xffff); }
static inline peer_id peer_make(uint64_t serial, uint32_t slot) { return serial << 16 | slot; }

/* Commands that do not come from a message carry these numbers instead of a WIRE_ type. */
enum {
    COMMAND_OPEN = 1000, /* struct session_open: a runtime said HELLO */
    COMMAND_EXPIRE,      /* its lease ended; the connection stays */
    COMMAND_CLOSE,       /* the connection is gone */
    COMMAND_FORGET,      /* nobody waits for this correlation any more */
    COMMAND_BEAT,        /* struct session_beat */
    COMMAND_OFFER,       /* struct offer_scan: offer what is runnable */
    COMMAND_TICKETS,     /* struct ticket each: offer those still waiting in that epoch */
    COMMAND_STOP
};

struct session_open {
    struct aiki_id id;
    char name[NAME_BYTES_MAX + 1];
    uint64_t pid, slots;
};
struct session_beat {
    uint64_t busy, slots;
};

/* Name of a Redis stream; made once by the store thread, never changed or freed while the
 * server runs, so it may be shared. */
struct stream {
    uint32_t index; /* dense, from 0 */
    uint32_t key_size_bytes;
    char key[STREAM_KEY_SIZE];
};

/* Which runnable runs to offer: all, or those of one stream; from run number after_no on. */
struct offer_scan {
    const struct stream *stream; /* NULL = all */
    uint64_t after_no;
    int64_t min_age_ms;          /* only runs that have been waiting this long */
};

struct command {
    uint32_t type; /* WIRE_* or COMMAND_* */
    uint32_t correlation;
    peer_id peer;
    uint64_t offset, size_bytes; /* of the payload in bytes */
};

struct batch {
    struct mail mail;
    struct command *commands;
    size_t count, capacity;
    aiki_writer bytes;
};
struct batch *batch_create(void);
void batch_destroy(struct batch *b);
/* Empty again; memory over a limit is given back. */
void batch_clear(struct batch *b);
/* payload is copied. Exits the process when out of memory. */
void batch_add(struct batch *b, peer_id peer, uint32_t type, uint32_t correlation,
               aiki_view payload);
static inline aiki_view batch_payload(const struct batch *b, const struct command *c)
{
    return (aiki_view){b->bytes.data + c->offset, c->size_bytes};
}

/* Frames for one connection, in order. */
struct parcel {
    peer_id peer;
    uint32_t answered; /* requests answered by these frames */
    aiki_writer frames;
};
struct offer {
    const struct stream *stream;
    struct ticket ticket;
};
/* A stream with this many runs queued, and some for AUDIT_AGE_MS: does it hold their tickets? */
enum { AUDIT_AGE_MS = 1000 };
struct audit {
    const struct stream *stream;
    uint64_t queued;
};
/* Consumer of an ended session whose unclaimed tickets are to be offered again. */
struct orphan {
    const struct stream *stream;
    struct aiki_id session;
};

struct outcome {
    struct mail mail;
    struct parcel *parcels;
    size_t parcel_count, parcel_capacity;
    struct offer *offers;
    size_t offer_count, offer_capacity;
    struct audit *audits;
    size_t audit_count, audit_capacity;
    struct orphan *orphans;
    size_t orphan_count, orphan_capacity;
    bool scanned;           /* an offer scan reached `scan`; after_no 0 = it is complete */
    struct offer_scan scan;
    struct mail *used;      /* owned batches that are decided and recorded: for reuse */
};
struct outcome *outcome_create(void);
void outcome_destroy(struct outcome *o);
bool outcome_is_empty(const struct outcome *o);
/* Add a zeroed element. Exit the process when out of memory. */
struct parcel *outcome_add_parcel(struct outcome *o, peer_id peer);
struct offer *outcome_add_offer(struct outcome *o);
struct audit *outcome_add_audit(struct outcome *o);
struct orphan *outcome_add_orphan(struct outcome *o);

/* A frame at the end of w answering `correlation`. */
#define frame_add(w, NAME, correlation, ...)                                    \
    do {                                                                        \
        const struct msg_##NAME m_ = {__VA_ARGS__};                             \
        aiki_writer *w_ = (w);                                                  \
        uint64_t at_ = frame_begin(w_);                                         \
        msg_##NAME##_write(w_, &m_);                                            \
        frame_seal(w_, at_, WIRE_##NAME, correlation);                          \
    } while (0)
/* frame_end, with FAULT LIMIT in place of an answer that does not fit a frame. */
void frame_seal(aiki_writer *w, uint64_t at, uint32_t type, uint32_t correlation);
/* FAULT with this error. */
void frame_fault(aiki_writer *w, uint32_t correlation, const aiki_error *error);

/* Room for one more element of an array that doubles; exits when out of memory. */
void *array_grow(void *items, size_t *capacity, size_t count, size_t item_bytes);
/* malloc that exits: for what the server cannot go on without. */
void *memory_need(size_t size_bytes);

#endif
