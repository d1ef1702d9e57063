/* solo.c - processes of a build that have one run in them.
 *
 *   claimed alone --> SOLO: a process starts --READY--> the run is executed --> it leaves: the process ends
 *                      | taken away before it came there: the process ends
 *                      | over child-alone of its file: it waits for one of them to end
 *                      v does not load, BUILD_LOAD_TRIES times: the run is handed back
 *
 * A process served one run and goes: what that left in it nobody else is to find. How many there are is limited for each
 * file, so that what hangs in one plugin keeps no other waiting; all together by the slots, as each has a run. When their build
 * serves no longer they drain as its own process does.
 */
#include "broker/builds_impl.h"

#include <string.h>

#include "base/log.h"

/* What its bytes can be had from. */
static struct build *find_bytes(struct builds *bs, const uint8_t *hash)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        if (!b->solo && memcmp(b->hash, hash, BUILD_BYTES) == 0)
            return b;
    return NULL;
}

/* A process that ends takes no part any more: the next one starts meanwhile, and as many may be ending as serve. */
static bool has_room(const struct builds *bs, const char *file_name)
{
    uint64_t most = alone_max(bs->options.alone, file_name), serving = 0, all = 0;
    for (const struct build *b = bs->all; b != NULL; b = b->next) {
        bool counts = b->solo && strcmp(b->file_name, file_name) == 0;
        serving += counts && b->state == SOLO;
        all += counts;
    }
    return most == 0 || (serving < most && all < 2 * most);
}

struct build *builds_find_alone(struct builds *bs, const uint8_t *hash, bool *ret_later)
{
    char copy[CACHE_PATH_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    struct build *of = find_bytes(bs, hash);
    *ret_later = of != NULL && !has_room(bs, of->file_name);
    if (of == NULL || *ret_later || bs->draining || builds_is_revoked(bs, hash, NULL))
        return NULL;
    build_mend_copy(of);
    if (cache_link(bs->cache, of->copy, of->hash, copy, &err) != AIKI_OK) {
        log_error("child", "no process for one run of %s: %s", of->label, err.message);
        return NULL;
    }
    struct build *b = build_create(bs, of->file_name, of->hash, copy, of->needs);
    if (b == NULL)
        return NULL;
    b->solo = true;
    b->state = SOLO;
    build_start_process(b);
    return b;
}

void builds_set_alone(struct builds *bs, const char *alone)
{
    bs->options.alone = alone;
    if (!bs->draining)
        bs->cb.on_solo_free(bs->arg);
}

void solo_drain(struct builds *bs, const uint8_t *hash)
{
    for (struct build *b = bs->all, *next; b != NULL; b = next) {
        next = b->next;
        if (b->state != SOLO || memcmp(b->hash, hash, BUILD_BYTES) != 0)
            continue;
        bs->cb.on_given_up(b, bs->arg); /* its run, if it has not come there yet */
        build_drain(b);
    }
}

bool build_left(struct build *b)
{
    bool alone = b->state == SOLO;
    b->demand.used_ms = uv_now(b->owner->loop);
    if (alone)
        build_drain(b);
    return alone;
}

void solo_ready(struct build *b)
{
    struct builds *bs = b->owner;
    bs->cb.on_ready(b, bs->arg);
    if (!bs->cb.is_used(b, bs->arg))
        build_drain(b); /* the run went elsewhere meanwhile */
}

void solo_gone(struct build *b, const struct proc_end *end, const char *text)
{
    struct builds *bs = b->owner;
    log_error("child", "%s, with one run in it, %s", b->label, text);
    if (!end->was_ready && ++b->load_tries < BUILD_LOAD_TRIES) {
        b->crashes = BUILD_CRASHES_FREE + b->load_tries; /* not at once */
        build_restart(b);
        return;
    }
    b->state = DRAINING; /* so that nobody finds it */
    bs->cb.on_dropped(b, bs->arg);
    build_bury(b);
}
