/* quarantine.c - what the server wants no process of a build to execute; kept for those that start
 * later. */
#include "broker/builds_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "wire/message.h"

static void tell(struct build *b, const struct quarantine *q, bool on)
{
    struct conn *c = b->proc != NULL && b->ready ? proc_conn(b->proc) : NULL;
    if (c != NULL && memcmp(b->hash, q->hash, BUILD_BYTES) == 0)
        conn_send(c, QUARANTINE, 0, .build = hash_view(b->hash), .name = view_of(q->name),
                  .workflow = q->workflow, .on = on);
}

static void tell_all(struct builds *bs, const struct quarantine *q, bool on)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        tell(b, q, on);
}

void quarantine_tell(struct build *b)
{
    for (const struct quarantine *q = b->owner->quarantines; q != NULL; q = q->next)
        tell(b, q, true);
}

void quarantine_forget_all(struct builds *bs)
{
    for (struct quarantine *q = bs->quarantines; q != NULL; q = bs->quarantines) {
        bs->quarantines = q->next;
        tell_all(bs, q, false);
        free(q);
    }
}

static struct quarantine **find(struct builds *bs, const struct msg_QUARANTINE *m)
{
    struct quarantine **at = &bs->quarantines;
    while (*at != NULL && (memcmp((*at)->hash, m->build.data, BUILD_BYTES) != 0 ||
                           (*at)->workflow != m->workflow || !view_is(m->name, (*at)->name)))
        at = &(*at)->next;
    return at;
}

static struct quarantine *create(const struct msg_QUARANTINE *m)
{
    struct quarantine *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    memcpy(q->hash, m->build.data, BUILD_BYTES);
    memcpy(q->name, m->name.data, (size_t)m->name.size_bytes);
    q->workflow = m->workflow;
    return q;
}

void builds_quarantine(struct builds *bs, const struct frame *f)
{
    struct msg_QUARANTINE m;
    if (msg_QUARANTINE_read(f->payload, &m, NULL) != AIKI_OK || m.build.size_bytes != BUILD_BYTES ||
        m.name.size_bytes == 0 || m.name.size_bytes > NAME_BYTES_MAX)
        return; /* of a later release, perhaps */
    struct quarantine **at = find(bs, &m), *q = *at;
    if (q == NULL && !m.on)
        return; /* of a build that is not here */
    log_warn("intake", "%s %.*s: the server %s", m.workflow ? "workflow" : "task",
             (int)m.name.size_bytes, (const char *)m.name.data,
             m.on ? "put it in quarantine" : "lifted its quarantine");
    if (q == NULL && m.on)
        q = *at = create(&m); /* the server's number of them is bounded */
    if (q == NULL)
        return;
    tell_all(bs, q, m.on);
    if (m.on)
        return;
    *at = q->next;
    free(q);
}
