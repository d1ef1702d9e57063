/* children.c - steps that are runs of their own. */
#include "replay/live.h"

#include <string.h>

#include "wire/child.h"

/* Options and id belong to the step that is on record, whatever the code says by now. */
aiki_status children_call(struct replay *r, struct step *s, const struct child_options *asked)
{
    if (!s->on_record) {
        struct child_options o = *asked;
        aiki_writer w;
        uint8_t *memory = r->journal.memory.alloc(r->journal.memory.arg, CHILD_OPTIONS_BYTES_MAX);
        if (memory == NULL)
            return AIKI_NOMEM;
        aiki_writer_init_fixed(&w, memory, CHILD_OPTIONS_BYTES_MAX);
        o.pass = s->pass = r->journal.passes;
        s->detached = o.detached;
        child_options_write(&w, &o);
        if (w.status != AIKI_OK)
            return AIKI_LIMIT;
        s->options = aiki_writer_view(&w);
    }
    struct aiki_id id = child_id(&r->run, &s->address, s->nth, s->pass);
    s->child = journal_child(&r->journal, &id);
    return s->child != NULL ? AIKI_OK : AIKI_NOMEM;
}

/* What the id of a detached child looks like to the code: text. */
static aiki_view id_value(struct replay *r, const struct step *s)
{
    uint8_t *memory = r->journal.memory.alloc(r->journal.memory.arg, 1 + AIKI_ID_TEXT_SIZE);
    char text[AIKI_ID_TEXT_SIZE];
    aiki_writer w;

    if (memory == NULL) {
        r->status = AIKI_NOMEM;
        return (aiki_view){NULL, 0};
    }
    id_text(&s->child->id, text);
    aiki_writer_init_fixed(&w, memory, 1 + AIKI_ID_TEXT_SIZE);
    aiki_mp_str(&w, text);
    return aiki_writer_view(&w);
}

void children_name(const struct step *s, struct wait *wait)
{
    struct child_options o;

    /* Checked when the journal was read, or written here: they decode. */
    if (child_options_read(s->options, &o) == AIKI_OK && o.shared)
        wait->key = o.key;
    else
        wait->child = s->child->id;
}

bool children_is_over(struct replay *r, struct step *s)
{
    if (s->detached && s->on_record) {
        s->outcome = OUTCOME_OK;
        s->value = id_value(r, s);
        return true;
    }
    if (s->detached || !s->child->known)
        return false;
    /* A child that is cancelled with its parent may be the first to end. The code is to learn what was asked
     * of it, not what came of that elsewhere. */
    if (s->child->behind_cancel && cancel_is_due(r))
        return false;
    s->outcome = s->child->outcome;
    s->value = s->outcome == OUTCOME_OK ? s->child->output : (aiki_view){NULL, 0};
    s->error = s->outcome == OUTCOME_OK ? (aiki_view){NULL, 0} : s->child->error;
    return true;
}
