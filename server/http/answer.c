/* answer.c - see answer.h. */
#include "http/answer.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "wire/error.h"

void answer_init(struct answer *a)
{
    memset(a, 0, sizeof(*a));
    buf_init(&a->body);
}

void answer_deinit(struct answer *a)
{
    buf_deinit(&a->body);
}

unsigned http_status_of(aiki_status status)
{
    switch (status) {
    case AIKI_INVALID:
    case AIKI_UNSUPPORTED: return 400;
    case AIKI_DENIED: return 403;
    case AIKI_NOT_FOUND: return 404;
    case AIKI_CONFLICT:
    case AIKI_STALE:
    case AIKI_FENCED:
    case AIKI_DIVERGED:
    case AIKI_CANCELLED:
    case AIKI_PENDING: return 409;
    case AIKI_LIMIT: return 413;
    case AIKI_SCHEMA: return 422;
    case AIKI_UNAVAILABLE:
    case AIKI_NOMEM: return 503;
    case AIKI_TIMEDOUT: return 504;
    default: return 500;
    }
}

/* What is left to say when there is no memory to say it with. */
static void answer_nothing(struct answer *a)
{
    buf_deinit(&a->body);
    a->status = 503;
    a->close = true;
}

static void answer_map(struct answer *a, unsigned status, aiki_view value)
{
    buf_clear(&a->body, 0);
    a->body.status = AIKI_OK;
    a->status = status;
    a->type = NULL;
    if (msgpack_to_json(value, 0, &a->body, NULL) != AIKI_OK)
        answer_nothing(a);
    else
        aiki_mp_raw(&a->body, "\n", 1);
    if (a->body.status != AIKI_OK)
        answer_nothing(a);
}

static void begin_error(aiki_writer *w)
{
    buf_init(w);
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "error");
}

void answer_error(struct answer *a, unsigned status, const aiki_error *err)
{
    AUTO(buf) aiki_writer w;
    begin_error(&w);
    error_write(&w, err);
    answer_map(a, status, aiki_writer_view(&w));
}

void answer_fault(struct answer *a, aiki_status status, aiki_view error_map)
{
    AUTO(buf) aiki_writer w = {.data = NULL};
    aiki_error err = AIKI_ERROR_INIT;
    unsigned http_status = http_status_of(status);
    if (error_map.size_bytes == 0) {
        (void)error_set(&err, status, "%s", aiki_status_text(status));
        answer_error(a, http_status, &err);
        return;
    }
    begin_error(&w);
    aiki_mp_raw(&w, error_map.data, error_map.size_bytes);
    answer_map(a, http_status, aiki_writer_view(&w));
}

void answer_value(struct answer *a, unsigned status, aiki_view value)
{
    aiki_error err = AIKI_ERROR_INIT;
    a->status = status;
    aiki_status st = msgpack_to_json(value, 0, &a->body, &err);
    if (st != AIKI_OK) {
        answer_error(a, http_status_of(st == AIKI_LIMIT ? AIKI_INTERNAL : st), &err);
        return;
    }
    aiki_mp_raw(&a->body, "\n", 1);
    if (a->body.status != AIKI_OK)
        answer_nothing(a);
}
