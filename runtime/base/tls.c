/* tls.c - see tls.h. */
#include "base/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "base/tls_impl.h"
#include "wire/error.h"

/* ---- files --------------------------------------------------------------------------------- */

/* Certificates are public; anybody may read them. */
static aiki_status read_public(const char *path, struct tls_text *ret, aiki_error *err)
{
    struct stat st;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_set(err, AIKI_INVALID, "%.150s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size > TLS_FILE_BYTES_MAX)
        return error_set(err, AIKI_INVALID,
                         "%.150s is no regular file, or over TLS_FILE_BYTES_MAX, %d bytes", path,
                         TLS_FILE_BYTES_MAX);
    char *bytes = calloc(1, (size_t)st.st_size + 1);
    if (bytes == NULL)
        return error_set(err, AIKI_NOMEM, "%.150s", path);
    ssize_t n = read(fd, bytes, (size_t)st.st_size);
    if (n != st.st_size) {
        free(bytes);
        return error_set(err, AIKI_INVALID, "%.150s: %s", path,
                         n < 0 ? strerror(errno) : "it changes while it is read");
    }
    *ret = (struct tls_text){bytes, (size_t)n};
    return AIKI_OK;
}

static aiki_status read_files(struct tls *t, const struct tls_files *f, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    bool has_cert = f->cert != NULL && f->cert[0] != '\0';
    bool has_key = f->key != NULL && f->key[0] != '\0';
    if (has_cert != has_key)
        return error_set(err, AIKI_INVALID, "tls-cert and tls-key come together; %s is missing",
                         has_cert ? "tls-key" : "tls-cert");
    if (has_cert)
        status = read_public(f->cert, &t->cert, err);
    if (status == AIKI_OK && has_key)
        status = secret_read(f->key, &t->key.bytes, &t->key.size, err);
    if (status == AIKI_OK && f->ca != NULL && f->ca[0] != '\0')
        status = read_public(f->ca, &t->ca, err);
    return status;
}

static gnutls_datum_t datum(const struct tls_text *text)
{
    return (gnutls_datum_t){(unsigned char *)text->bytes, (unsigned)text->size};
}

static aiki_status set_trust(struct tls *t, const struct tls_files *f, aiki_error *err)
{
    if (t->ca.bytes != NULL) {
        gnutls_datum_t ca = datum(&t->ca);
        int n = gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM);
        return n > 0 ? AIKI_OK
                     : error_set(err, AIKI_INVALID, "CA %.150s: %s", f->ca,
                                 n < 0 ? gnutls_strerror(n) : "there is no certificate in it");
    }
    if (t->is_server)
        return AIKI_OK;
    int n = gnutls_certificate_set_x509_system_trust(t->credentials);
    return n >= 0 ? AIKI_OK
                  : error_set(err, AIKI_INVALID,
                              "the system's trusted certificates cannot be read: %s; give tls-ca",
                              gnutls_strerror(n));
}

static aiki_status set_credentials(struct tls *t, const struct tls_files *f, aiki_error *err)
{
    int error = gnutls_certificate_allocate_credentials(&t->credentials);
    if (error == 0)
        error = gnutls_priority_init(&t->priority, TLS_PRIORITIES, NULL);
    if (error != 0)
        return error_set(err, AIKI_NOMEM, "TLS: %s", gnutls_strerror(error));
    if (t->cert.bytes != NULL) {
        gnutls_datum_t cert = datum(&t->cert), key = datum(&t->key);
        error = gnutls_certificate_set_x509_key_mem2(t->credentials, &cert, &key,
                                                     GNUTLS_X509_FMT_PEM, NULL, 0);
        if (error < 0)
            return error_set(err, AIKI_INVALID, "certificate %.90s with key %.90s: %s", f->cert,
                             f->key, gnutls_strerror(error));
    }
    return set_trust(t, f, err);
}

static aiki_status create(struct tls **ret, bool is_server, const struct tls_files *files,
                          aiki_error *err)
{
    struct tls *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return error_set(err, AIKI_NOMEM, "TLS");
    t->refs = 1;
    t->ops = &conn_tls_ops;
    t->is_server = is_server;
    aiki_status status = read_files(t, files, err);
    if (status == AIKI_OK)
        status = set_credentials(t, files, err);
    if (status == AIKI_OK)
        *ret = t;
    else
        tls_unref(t);
    return status;
}

aiki_status tls_server_create(struct tls **ret, const struct tls_files *files, aiki_error *err)
{
    if (files->cert == NULL || files->cert[0] == '\0')
        return error_set(err, AIKI_INVALID, "TLS of a server needs tls-cert and tls-key");
    return create(ret, true, files, err);
}

aiki_status tls_client_create(struct tls **ret, const struct tls_files *files, aiki_error *err)
{
    return create(ret, false, files, err);
}

struct tls *tls_ref(struct tls *t)
{
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void tls_unref(struct tls *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    if (t->credentials != NULL)
        gnutls_certificate_free_credentials(t->credentials);
    if (t->priority != NULL)
        gnutls_priority_deinit(t->priority);
    free(t->cert.bytes);
    free(t->ca.bytes);
    if (t->key.bytes != NULL)
        secret_free(t->key.bytes, t->key.size);
    free(t);
}

const char *tls_cert_text(const struct tls *t) { return t->cert.bytes; }
const char *tls_key_text(const struct tls *t) { return t->key.bytes; }
const char *tls_ca_text(const struct tls *t) { return t->ca.bytes; }

void tls_use(struct tls *t, struct gnutls_session_int *session)
{
    (void)gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials); /* in place of others */
}

/* ---- sessions ------------------------------------------------------------------------------ */

/* Numbers are no names: they are not sent ahead, only compared with the certificate. */
static int name_peer(gnutls_session_t session, const char *host)
{
    uint8_t number[sizeof(struct in6_addr)];
    bool is_number = inet_pton(AF_INET, host, number) == 1 || inet_pton(AF_INET6, host, number) == 1;
    return is_number ? 0 : gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
}

aiki_status tls_session(struct tls *t, const char *host, gnutls_session_t *ret, aiki_error *err)
{
    gnutls_session_t session = NULL;
    unsigned flags = (t->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK;
    int error = gnutls_init(&session, flags);
    if (error == 0)
        error = gnutls_priority_set(session, t->priority);
    if (error == 0)
        error = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
    if (error == 0 && host != NULL)
        error = name_peer(session, host);
    if (error != 0) {
        if (session != NULL)
            gnutls_deinit(session);
        return error_set(err, AIKI_NOMEM, "TLS: %s", gnutls_strerror(error));
    }
    if (t->is_server && t->ca.bytes != NULL)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    if (!t->is_server || t->ca.bytes != NULL)
        gnutls_session_set_verify_cert(session, host, 0);
    *ret = session;
    return AIKI_OK;
}

/* ---- what went wrong ----------------------------------------------------------------------- */

static aiki_status explain_verification(gnutls_session_t session, aiki_error *err)
{
    static const struct {
        unsigned bit;
        const char *code, *text;
    } reasons[] = {
        {GNUTLS_CERT_EXPIRED, "TLS_EXPIRED", "has expired; renew it"},
        {GNUTLS_CERT_NOT_ACTIVATED, "TLS_UNTRUSTED", "is not valid yet; check both clocks"},
        {GNUTLS_CERT_INSECURE_ALGORITHM, "TLS_UNTRUSTED", "is signed in a way that is not safe"},
        {GNUTLS_CERT_SIGNER_NOT_FOUND, "TLS_UNKNOWN_CA",
         "is from a CA that is not trusted here; give that CA's certificate with tls-ca"},
        {GNUTLS_CERT_UNEXPECTED_OWNER, "TLS_WRONG_NAME",
         "is for another name; connect by a name that is in it"},
        {~0u, "TLS_UNTRUSTED", "is not trusted"},
    };
    unsigned bits = gnutls_session_get_verify_cert_status(session);
    size_t i = 0;
    while ((bits & reasons[i].bit) == 0 && i + 1 < ARRAY_COUNT(reasons))
        i++;
    return error_code(err, AIKI_DENIED, reasons[i].code, "the peer's certificate %s",
                      reasons[i].text);
}

static aiki_status explain_alert(gnutls_session_t session, aiki_error *err)
{
    gnutls_alert_description_t alert = gnutls_alert_get(session);
    const char *name = gnutls_alert_get_name(alert);
    switch ((int)alert) {
    case GNUTLS_A_CERTIFICATE_REQUIRED:
    case GNUTLS_A_BAD_CERTIFICATE:
    case GNUTLS_A_UNKNOWN_CA:
    case GNUTLS_A_CERTIFICATE_EXPIRED:
    case GNUTLS_A_CERTIFICATE_REVOKED:
    case GNUTLS_A_CERTIFICATE_UNKNOWN:
        return error_code(err, AIKI_DENIED, "TLS_CERTIFICATE_REFUSED",
                          "the peer does not take this side's certificate, or asks for one "
                          "(tls-cert, tls-key): %s",
                          name != NULL ? name : "no reason given");
    default:
        return error_code(err, AIKI_DENIED, "TLS_REFUSED", "the peer refuses the TLS connection: %s",
                          name != NULL ? name : "no reason given");
    }
}

aiki_status tls_explain(gnutls_session_t session, int error, const char *during, aiki_error *err)
{
    switch (error) {
    case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR: return explain_verification(session, err);
    case GNUTLS_E_FATAL_ALERT_RECEIVED: return explain_alert(session, err);
    case GNUTLS_E_NO_CERTIFICATE_FOUND:
    case GNUTLS_E_CERTIFICATE_REQUIRED:
        return error_code(err, AIKI_DENIED, "TLS_NO_CERTIFICATE",
                          "the peer presents no certificate, and one is asked for");
    case GNUTLS_E_UNEXPECTED_PACKET:
    case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
    case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
    case GNUTLS_E_RECORD_OVERFLOW:
        return error_code(err, AIKI_UNSUPPORTED, "TLS_NOT_SPOKEN",
                          "what the peer sends is no TLS; connect without tls:");
    case GNUTLS_E_MEMORY_ERROR: return error_set(err, AIKI_NOMEM, "no memory for TLS");
    default:
        return error_code(err, AIKI_UNAVAILABLE, "TLS_FAILED", "%s: %s", during,
                          gnutls_strerror(error));
    }
}
