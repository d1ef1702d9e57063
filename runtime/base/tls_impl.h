/* base/tls_impl.h - what tls.c and conn_tls.c share. Private. */
#ifndef BASE_TLS_IMPL_H
#define BASE_TLS_IMPL_H

#include <gnutls/gnutls.h>

#include "base/tls.h"

/* One session with the settings of t; its peer is `host`, which outlives it (clients; servers: NULL). */
aiki_status tls_session(struct tls *t, const char *host, gnutls_session_t *ret, aiki_error *err);
/* What went wrong with a session, for people: a status, a code and a message. during: "TLS
 * handshake" or "TLS connection". */
aiki_status tls_explain(gnutls_session_t session, int error, const char *during, aiki_error *err);

#endif
