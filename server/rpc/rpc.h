/* rpc/rpc.h - connections of clients and runtimes: greeting, sessions and their leases. [loop]
 *
 *   socket --frame--> role and limits checked --gather_add--> store thread
 *      ^------------- rpc_deliver <--parcel-------------------/
 *
 * HELLO and HEARTBEAT are answered here, so that a slow disk ends no lease. A session begins with
 * the HELLO of a runtime and ends with its connection or its lease, whichever comes first; after
 * the lease the connection stays and everything on it is answered FENCED.
 *
 * Limits: CONNECTIONS_MAX, CONNECTION_REQUESTS_MAX, COMMAND_BYTES_WAITING_MAX (batch.h);
 * RPC_HELLO_BYTES_MAX and RPC_HELLO_MS_MAX for the greeting.
 */
#ifndef SERVER_RPC_RPC_H
#define SERVER_RPC_RPC_H

#include "base/clock.h"
#include "base/conn.h"
#include "gather.h"
#include "tokens.h"

enum { RPC_HELLO_BYTES_MAX = 4096, RPC_HELLO_MS_MAX = 10 * 1000 };

struct rpc;
struct rpc_options {
    const char *listen;   /* HOST:PORT, [V6]:PORT or unix:PATH */
    const char *space;    /* the namespace served here; borrowed */
    struct tokens *tokens; /* borrowed; NULL: all are let in */
    struct tls *tls;       /* borrowed, see rpc_set_tls; NULL: TCP connections without TLS */
    uint64_t lease_ms;
    uint64_t incarnation;
    struct engine_clock clock;
};

aiki_status rpc_start(struct rpc **ret, uv_loop_t *loop, struct conn_loop *conns,
                      struct gather *gather, const struct rpc_options *options, aiki_error *err);
/* "127.0.0.1:41873"; borrowed until rpc_close. */
const char *rpc_address(const struct rpc *r);
/* Frames from the store thread for a connection that may be gone by now. */
void rpc_deliver(struct rpc *r, const struct parcel *parcel);
/* Ids of the sessions that have a lease, sorted: a malloc'ed array, NULL when there is none. */
struct aiki_id *rpc_sessions(const struct rpc *r, size_t *ret_count);
/* For connections from now on, in place of the other; borrowed. */
void rpc_set_tls(struct rpc *r, struct tls *tls);
/* Cuts the connections whose token is not accepted any more. */
void rpc_check_tokens(struct rpc *r);
size_t rpc_connection_count(const struct rpc *r);
size_t rpc_session_count(const struct rpc *r);
/* Cuts all connections. r is gone when on_closed is called. */
void rpc_close(struct rpc *r, void (*on_closed)(void *arg), void *arg);

#endif
