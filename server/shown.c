/* shown.c - see shown.h. */
#include "shown.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "wire/redact.h"

static void shorten(aiki_writer *w, const struct shown *how, aiki_view value)
{
    redact_shorten(w, how->full ? UINT64_MAX : SHOWN_BYTES_MAX, value);
}

static void show_bytes(aiki_writer *w, const struct shown *how, aiki_view payload)
{
    if (!how->full && payload.size_bytes > SHOWN_BYTES_MAX)
        redact_write_more(w, payload.size_bytes);
    else
        aiki_mp_bin(w, payload.data, payload.size_bytes);
}

/* By the schema nearest to it, and then by the newest: a mark that was forgotten at first counts for
 * what is on record, too. */
static void hide_and_show(aiki_writer *w, const struct shown *how, const struct hiding *h,
                          aiki_view payload)
{
    AUTO(buf) aiki_writer first;
    AUTO(buf) aiki_writer second;
    buf_init(&first);
    buf_init(&second);
    if (h->by[0] != NULL) {
        schema_redact(&first, h->by[0], true, payload);
        payload = aiki_writer_view(&first);
    }
    if (h->by[1] != NULL && first.status == AIKI_OK) {
        schema_redact(&second, h->by[1], false, payload);
        payload = aiki_writer_view(&second);
    }
    if (first.status != AIKI_OK || second.status != AIKI_OK)
        w->status = AIKI_NOMEM;
    else
        shorten(w, how, payload);
}

void shown_payload(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_view payload)
{
    struct hiding h = {.known = true};
    bool is_value = payload.size_bytes > 0 && aiki_mp_check(payload) == AIKI_OK;
    if (payload.size_bytes > 0 && how->schemas != NULL && of != NULL)
        schemas_find(how->schemas, of, &h);
    bool marked = h.by[0] != NULL || h.by[1] != NULL;
    if (payload.size_bytes == 0)
        aiki_mp_nil(w);
    else if (!h.known || (marked && !is_value))
        aiki_mp_str(w, REDACTED_TEXT);
    else if (marked)
        hide_and_show(w, how, &h, payload);
    else if (is_value)
        shorten(w, how, payload);
    else
        show_bytes(w, how, payload);
    schemas_release(&h);
}
