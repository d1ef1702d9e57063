/* base/tls_impl.h - what tls.c and conn_tls.c share. Private.
 *
 * Connections reach both through `ops` of what they were given, by no name: a program that speaks no TLS
 * (aiki-child) is linked without GnuTLS, whose ten libraries are most of what a process costs at its start.
 */
#ifndef BASE_TLS_IMPL_H
#define BASE_TLS_IMPL_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>

#include "base/conn_impl.h"
#include "base/tls.h"

struct tls_text {
    char *bytes; /* ends with NUL; NULL = none */
    size_t size;
};

struct tls {
    const struct conn_tls_ops *ops;
    atomic_uint refs;
    bool is_server;
    struct tls_text cert, key, ca;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
};

extern const struct conn_tls_ops conn_tls_ops; /* conn_tls.c */

/* One session with the settings of t; its peer is `host`, which outlives it (clients; servers: NULL). */
aiki_status tls_session(struct tls *t, const char *host, gnutls_session_t *ret, aiki_error *err);
/* What went wrong with a session, for people: a status, a code and a message. during: "TLS
 * handshake" or "TLS connection". */
aiki_status tls_explain(gnutls_session_t session, int error, const char *during, aiki_error *err);

#endif
