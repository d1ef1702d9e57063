/* gate_lacks.c - see gate_lacks.h. */
#include "broker/gate_lacks.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

/* The names of the new build, sorted. */
struct table {
    aiki_view *names; /* owned; they borrow from the descriptor */
    size_t count;
};

static int compare(const void *a, const void *b)
{
    const aiki_view *x = a, *y = b;
    uint64_t size = x->size_bytes < y->size_bytes ? x->size_bytes : y->size_bytes;
    int order = memcmp(x->data, y->data, (size_t)size);
    return order != 0 ? order : (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

static bool read_table(struct table *t, aiki_view descriptor)
{
    struct descriptor d;
    struct descriptor_task task;
    aiki_reader r;
    if (descriptor_read(descriptor, &d, NULL) != AIKI_OK)
        return false;
    t->names = calloc((size_t)d.task_count + 1, sizeof(*t->names));
    if (t->names == NULL)
        return false;
    for (descriptor_tasks(&d, &r); t->count < d.task_count && descriptor_next_task(&r, &task);)
        t->names[t->count++] = task.name;
    qsort(t->names, t->count, sizeof(*t->names), compare);
    return true;
}

static uint64_t write_names(aiki_writer *w, const struct table *t, aiki_reader *names)
{
    uint64_t count = 0;
    for (uint64_t left = aiki_mp_read_array(names); left > 0 && names->status == AIKI_OK; left--) {
        aiki_view name = aiki_mp_read_str(names);
        if (names->status != AIKI_OK || name.size_bytes == 0 || count == GATE_LACKS_MAX ||
            bsearch(&name, t->names, t->count, sizeof(name), compare) != NULL)
            continue;
        aiki_mp_strn(w, (const char *)name.data, (size_t)name.size_bytes);
        count++;
    }
    return count;
}

void gate_lacks_write(aiki_writer *w, aiki_view descriptor, aiki_view document)
{
    AUTO(buf) aiki_writer names;
    struct table own = {.count = 0};
    aiki_reader r;
    uint64_t count = 0;
    buf_init(&names);
    if (!read_table(&own, descriptor))
        return;
    aiki_reader_init(&r, document);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        if (view_is(aiki_mp_read_str(&r), "tasks"))
            count = write_names(&names, &own, &r);
        else
            (void)aiki_mp_skip(&r); /* its failure ends the loop */
    }
    free(own.names);
    if (count == 0 || r.status != AIKI_OK || names.status != AIKI_OK)
        return;
    aiki_mp_array(w, count);
    aiki_mp_raw(w, names.data, names.size_bytes);
}
