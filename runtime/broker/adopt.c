/* adopt.c - builds that an earlier process of this runtime kept for their open runs.
 *
 *   first session, files read --> what keep.h lists --> admit, on a pool thread --> KEPT, known
 *                                                         |                          ^ READY
 *                                                         +-- neither a note nor an answer of its probe: KEPT, loads
 *                                                         +-- not the same bytes any more: removed
 *                                                         +-- no room, no memory: not used now, the next process looks again
 *
 * Until all of them are known, a run that the newest build does not fit waits.
 */
#include "broker/builds_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/error.h"

struct adoption {
    uv_work_t work;
    struct builds *owner;
    uint8_t hash[BUILD_BYTES];
    char file[WATCH_NAME_SIZE];
    char path[CACHE_PATH_SIZE], draft[CACHE_PATH_SIZE];
    char *keys_dir, *sandbox; /* owned: settings may change meanwhile */
    const char *executable;
    struct limits limits;
    unsigned policy;
    bool revoked; /* it is signed no more */
    int64_t since_mono_ms;
    struct admission result;
    aiki_status status;
    aiki_error err;
};

static bool is_known(const struct builds *bs, const uint8_t *hash)
{
    for (const struct build *b = bs->all; b != NULL; b = b->next)
        if (memcmp(b->hash, hash, BUILD_BYTES) == 0)
            return true;
    return false;
}

static void admit_on_pool(uv_work_t *work)
{
    struct adoption *a = container_of(work, struct adoption, work);
    /* The state directory has been nobody else's since it came, and what it needs was allowed then. */
    const struct admit_options copying = {.any_owner = true, .own = true};
    const struct admit_options probing = {.executable = a->executable,
                                          .sandbox = a->sandbox,
                                          .name = a->file,
                                          .limits = a->limits,
                                          .keep = a->owner->keep};
    aiki_error unprobed = AIKI_ERROR_INIT;
    a->status = admit_copy(a->path, a->draft, &copying, &a->result, &a->err);
    keep_read_signature(a->path, &a->result.signature);
    if (a->status == AIKI_OK && a->keys_dir[0] != '\0') {
        a->status = keys_check_copy(a->keys_dir, a->result.copy, &a->result.signature, &a->err);
        a->revoked = a->status == AIKI_DENIED;
        if (a->status != AIKI_OK)
            (void)unlink(a->result.copy);
    }
    if (a->status == AIKI_OK && admit_probe(a->file, &probing, &a->result, &unprobed) != AIKI_OK)
        log_info("intake", "the kept build %s has to be loaded to know it: %s", a->path, unprobed.message);
    if (a->status == AIKI_OK)
        admit_lines(&probing, &a->result);
}

/* Otherwise what was in the way may be gone when the next process looks. */
static bool is_of_no_use(const struct adoption *a)
{
    return a->status == AIKI_INVALID || a->status == AIKI_CORRUPT ||
           (a->revoked && !policy_has_no_keys(&a->err));
}

static void adopt(struct builds *bs, struct adoption *a)
{
    if (a->status == AIKI_OK && memcmp(a->result.build, a->hash, BUILD_BYTES) != 0) {
        (void)unlink(a->result.copy);
        a->status = error_set(&a->err, AIKI_CORRUPT, "its bytes are not those it was kept for");
    }
    if (a->status != AIKI_OK) {
        log_warn("intake", "the kept build %s is not used: %s", a->path, a->err.message);
        if (a->revoked)
            policy_revoke(bs, a->hash, &a->err);
        if (is_of_no_use(a))
            keep_remove(bs->keep, a->hash);
        return;
    }
    if (is_known(bs, a->hash)) {
        (void)unlink(a->result.copy);
        return;
    }
    struct build *b = build_create(bs, a->file, a->hash, a->result.copy, a->result.needs);
    if (b == NULL)
        return;
    b->signature = a->result.signature;
    build_take_answer(b, &a->result);
    if (a->policy != bs->policy)
        policy_check_anew(b);
    kept_adopt(b, a->since_mono_ms);
}

static void cleanup_adoption(struct adoption **a)
{
    admission_deinit(&(*a)->result);
    free((*a)->keys_dir);
    free((*a)->sandbox);
    free(*a);
}

static void on_admitted(uv_work_t *work, int status)
{
    AUTO(adoption) struct adoption *a = container_of(work, struct adoption, work);
    struct builds *bs = a->owner;
    (void)status; /* never cancelled */
    bs->adopting--;
    bs->stats.probes += a->result.probed;
    if (bs->draining) {
        if (a->status == AIKI_OK)
            (void)unlink(a->result.copy);
        builds_check_drained(bs);
        return;
    }
    adopt(bs, a);
    bs->cb.on_ready(NULL, bs->arg);
}

/* NULL: out of memory. */
static struct adoption *adoption_create(struct builds *bs)
{
    const struct admit_options *o = &bs->options.admit;
    struct adoption *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    admission_init(&a->result);
    a->owner = bs;
    a->executable = o->executable;
    a->policy = bs->policy;
    a->keys_dir = strdup(o->keys_dir != NULL ? o->keys_dir : "");
    a->sandbox = strdup(o->sandbox != NULL ? o->sandbox : "");
    if (a->keys_dir != NULL && a->sandbox != NULL)
        return a;
    cleanup_adoption(&a);
    return NULL;
}

static void consider(const uint8_t build[BUILD_BYTES], const char *file, const char *path,
                     int64_t age_ms, void *arg)
{
    struct builds *bs = arg;
    if (is_known(bs, build))
        return;
    struct adoption *a = adoption_create(bs);
    if (a == NULL)
        return; /* it stays where it is */
    a->err.struct_size = sizeof(a->err);
    memcpy(a->hash, build, BUILD_BYTES);
    (void)snprintf(a->file, sizeof(a->file), "%s", file);
    a->limits = limits_for(&bs->options.child_limits, file);
    (void)snprintf(a->path, sizeof(a->path), "%s", path);
    a->since_mono_ms = clock_mono_ms() - age_ms;
    cache_draft_path(bs->cache, a->draft);
    if (uv_queue_work(bs->loop, &a->work, admit_on_pool, on_admitted) == 0)
        bs->adopting++;
    else
        cleanup_adoption(&a);
}

void adopt_rest(struct builds *bs)
{
    if (bs->adopted || bs->draining || bs->admitting > 0 || session_conn(bs->session) == NULL)
        return;
    bs->adopted = true;
    keep_each(bs->keep, consider, bs);
    if (bs->adopting == 0)
        bs->cb.on_ready(NULL, bs->arg); /* none is to come: who waits for one is told */
}
