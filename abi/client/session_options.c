/* session_options.c - what a session goes by: address, credentials, limits. */
#include "session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "wire/error.h"

enum { REQUEST_TIMEOUT_MS = 30000 };

/* "aiki://HOST:PORT/" and "HOST" become "HOST:PORT". NULL when out of memory. */
static char *address_of(const char *url)
{
    static const char scheme[] = "aiki://", tls[] = "tls:";
    char *address = NULL;
    bool is_tls = strncmp(url, tls, sizeof(tls) - 1) == 0;
    if (is_tls)
        url += sizeof(tls) - 1;
    if (strncmp(url, "unix:", 5) == 0)
        return strdup(url);
    if (strncmp(url, scheme, sizeof(scheme) - 1) == 0)
        url += sizeof(scheme) - 1;
    size_t size = strcspn(url, "/");
    const char *after_v6 = memchr(url, ']', size);
    const char *host_end = after_v6 != NULL ? after_v6 : url;
    bool has_port = memchr(host_end, ':', size - (size_t)(host_end - url)) != NULL;
    if (asprintf(&address, "%s%.*s%s", is_tls ? tls : "", (int)size, url,
                 has_port ? "" : ":9090") < 0)
        return NULL;
    return address;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static aiki_status copy_token(struct session *s, const aiki_client_options *o, aiki_error *err)
{
    char token[TOKEN_SIZE];
    const char *value = o->token, *file = o->token_file;
    if (value == NULL && file == NULL) {
        value = secure_getenv("AIKI_TOKEN");
        file = secure_getenv("AIKI_TOKEN_FILE");
    }
    s->token = strdup(or_empty(value));
    s->token_file = strdup(o->token == NULL ? or_empty(file) : "");
    if (s->token == NULL || s->token_file == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    aiki_status status = token_find(s->token, s->token_file, token, err);
    explicit_bzero(token, sizeof(token));
    return status;
}

static const char *or_variable(const char *text, const char *name)
{
    return text != NULL ? text : secure_getenv(name);
}

static aiki_status open_tls(struct session *s, const aiki_client_options *o, aiki_error *err)
{
    bool has_own = o->tls_cert != NULL || o->tls_key != NULL;
    const struct tls_files files = {
        .cert = has_own ? o->tls_cert : secure_getenv("AIKI_TLS_CERT"),
        .key = has_own ? o->tls_key : secure_getenv("AIKI_TLS_KEY"),
        .ca = or_variable(o->tls_ca, "AIKI_TLS_CA"),
    };
    return strncmp(s->address, "tls:", 4) == 0 ? tls_client_create(&s->tls, &files, err) : AIKI_OK;
}

aiki_status session_copy_options(struct session *s, const char *url, const aiki_client_options *o,
                                aiki_error *err)
{
    s->request_timeout_ms = o->request_timeout_ms > 0 ? o->request_timeout_ms : REQUEST_TIMEOUT_MS;
    s->address = address_of(url);
    s->name = strdup(o->name != NULL ? o->name : "c-client");
    s->space = strdup(o->space != NULL ? o->space : "default");
    if (s->address == NULL || s->name == NULL || s->space == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    if (s->address[0] == ':' || s->address[0] == '\0')
        return error_set(err, AIKI_INVALID,
                         "url '%s' names no host; expected aiki://HOST:PORT, tls:HOST:PORT or "
                         "unix:PATH",
                         url);
    aiki_status status = copy_token(s, o, err);
    return status == AIKI_OK ? open_tls(s, o, err) : status;
}
