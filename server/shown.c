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

/* Without what a schema marks, or, where none speaks of it, what has a name that one marks. */
static void hide_by(aiki_writer *w, const struct hiding *h, unsigned index, aiki_view payload)
{
    if (h->by[index] != NULL)
        schema_redact(w, h->by[index], index == 0, payload);
    else if (h->names[index] != NULL)
        redact_named(w, h->names[index], payload);
    else
        aiki_mp_raw(w, payload.data, payload.size_bytes);
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
    hide_by(&first, h, 0, payload);
    hide_by(&second, h, 1, aiki_writer_view(&first));
    if (first.status != AIKI_OK || second.status != AIKI_OK)
        w->status = AIKI_NOMEM;
    else
        shorten(w, how, aiki_writer_view(&second));
}

static bool has_marks(const struct hiding *h, unsigned index)
{
    return h->by[index] != NULL || (h->names[index] != NULL && h->names[index]->count > 0);
}

void shown_payload(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_view payload)
{
    struct hiding h = {.known = true};
    bool is_value = payload.size_bytes > 0 && aiki_mp_check(payload) == AIKI_OK;
    if (payload.size_bytes > 0 && how->schemas != NULL)
        schemas_find(how->schemas, of, &h);
    bool marked = has_marks(&h, 0) || has_marks(&h, 1);
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

/* ---- errors ---------------------------------------------------------------------------------- */

/* One of the maps that follow each other by "cause". */
static void copy_error(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_reader *r,
                       unsigned depth)
{
    uint64_t pairs = aiki_mp_read_map(r);
    aiki_mp_map(w, pairs);
    for (; pairs > 0 && r->status == AIKI_OK; pairs--) {
        aiki_mp_item item = {.type = AIKI_MP_END};
        aiki_view key = aiki_mp_read_str(r);
        aiki_mp_strn(w, key.data, key.size_bytes);
        (void)aiki_mp_peek(r, &item);
        if (view_is(key, "details")) {
            shown_payload(w, how, of, aiki_mp_value(r));
        } else if (view_is(key, "cause") && item.type == AIKI_MP_MAP && depth < AIKI_CAUSE_DEPTH_MAX) {
            copy_error(w, how, of, r, depth + 1);
        } else {
            aiki_view value = aiki_mp_value(r);
            aiki_mp_raw(w, value.data, value.size_bytes);
        }
    }
}

void shown_error(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_view error)
{
    AUTO(buf) aiki_writer copy;
    aiki_reader r;
    buf_init(&copy);
    if (error.size_bytes == 0) {
        aiki_mp_nil(w);
        return;
    }
    if (how->schemas == NULL) {
        aiki_mp_raw(w, error.data, error.size_bytes);
        return;
    }
    const struct value_of details = {.kind = VALUE_FREE, .home = of->home, .build = of->build};
    aiki_reader_init(&r, error);
    copy_error(&copy, how, &details, &r, 1);
    if (copy.status != AIKI_OK)
        w->status = copy.status;
    else if (r.status != AIKI_OK)
        aiki_mp_str(w, REDACTED_TEXT); /* no error map */
    else
        aiki_mp_raw(w, copy.data, copy.size_bytes);
}
