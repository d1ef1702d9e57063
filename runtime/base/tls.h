/* base/tls.h - certificates and keys for connections, read once: another context has what the files hold
 * later. [any]
 *
 * A context is what a listener or all connections to servers share; connections take references.
 * TLS 1.3 and 1.2. Peers are verified against a CA and, by clients, by their name; there is no way
 * to switch that off. Limit: TLS_FILE_BYTES_MAX.
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <aiki/status.h>

enum { TLS_FILE_BYTES_MAX = 1024 * 1024 };

/* In GnuTLS's words: 128 bits at least, TLS 1.3 and 1.2. */
#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

struct tls;
/* Paths of PEM files; NULL or "" = none. */
struct tls_files {
    const char *cert; /* chain, the own certificate first */
    const char *key;  /* nobody but owner and group may be able to read it */
    const char *ca;   /* whose certificates are taken. Servers: none = clients need no certificate.
                       * Clients: none = what the system trusts. */
};

/* *ret has one reference. AIKI_INVALID names the setting's file and what is wrong with it. */
aiki_status tls_server_create(struct tls **ret, const struct tls_files *files, aiki_error *err);
aiki_status tls_client_create(struct tls **ret, const struct tls_files *files, aiki_error *err);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t); /* NULL is a no-op */

/* The PEM texts as read, for libmicrohttpd; NULL when there is none. Borrowed. */
const char *tls_cert_text(const struct tls *t);
const char *tls_key_text(const struct tls *t);
const char *tls_ca_text(const struct tls *t);
/* A session that somebody else made, before its handshake: it presents and trusts what t does, and needs
 * t as long as it lives. */
struct gnutls_session_int;
void tls_use(struct tls *t, struct gnutls_session_int *session);

#endif
