/* adopt.c - builds that an earlier process of this runtime kept for their open runs.
 *
 *   first session --> what keep.h lists --> admit, on a pool thread --> KEPT, loads --> known
 *                                             +-- not the same bytes any more: removed
 *                                             +-- no room, no memory: not used now, the next process looks again
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
    char *keys_dir; /* owned: settings may change meanwhile */
    unsigned policy;
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
    /* It was probed when it came; the state directory is nobody else's since. */
    const struct admit_options options = {.any_owner = true};
    a->status = admit_copy(a->path, a->draft, &options, &a->result, &a->err);
    keep_read_signature(a->path, &a->result.signature);
    if (a->status == AIKI_OK && a->keys_dir[0] != '\0')
        a->status = keys_check_copy(a->keys_dir, a->result.copy, &a->result.signature, &a->err);
    if (a->status == AIKI_DENIED)
        (void)unlink(a->result.copy);
}

/* Otherwise what was in the way may be gone when the next process looks. */
static bool is_of_no_use(const struct adoption *a)
{
    return a->status == AIKI_INVALID || a->status == AIKI_CORRUPT ||
           (a->status == AIKI_DENIED && !policy_has_no_keys(&a->err));
}

static void adopt(struct builds *bs, struct adoption *a)
{
    if (a->status == AIKI_OK && memcmp(a->result.build, a->hash, BUILD_BYTES) != 0) {
        (void)unlink(a->result.copy);
        a->status = error_set(&a->err, AIKI_CORRUPT, "its bytes are not those it was kept for");
    }
    if (a->status != AIKI_OK) {
        log_warn("intake", "the kept build %s is not used: %s", a->path, a->err.message);
        if (a->status == AIKI_DENIED)
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
    kept_adopt(b, a->since_mono_ms);
    if (a->policy != bs->policy)
        policy_check_anew(b);
}

static void cleanup_adoption(struct adoption **a)
{
    admission_deinit(&(*a)->result);
    free((*a)->keys_dir);
    free(*a);
}

static void on_admitted(uv_work_t *work, int status)
{
    AUTO(adoption) struct adoption *a = container_of(work, struct adoption, work);
    struct builds *bs = a->owner;
    (void)status; /* never cancelled */
    bs->adopting--;
    if (bs->draining) {
        if (a->status == AIKI_OK)
            (void)unlink(a->result.copy);
        builds_check_drained(bs);
        return;
    }
    adopt(bs, a);
    bs->cb.on_ready(NULL, bs->arg);
}

static void consider(const uint8_t build[BUILD_BYTES], const char *file, const char *path,
                     int64_t age_ms, void *arg)
{
    struct builds *bs = arg;
    if (is_known(bs, build))
        return;
    const char *keys_dir = bs->options.admit.keys_dir;
    struct adoption *a = calloc(1, sizeof(*a));
    if (a == NULL || (a->keys_dir = strdup(keys_dir != NULL ? keys_dir : "")) == NULL) {
        free(a);
        return; /* it stays where it is */
    }
    a->policy = bs->policy;
    admission_init(&a->result);
    a->owner = bs;
    a->err.struct_size = sizeof(a->err);
    memcpy(a->hash, build, BUILD_BYTES);
    (void)snprintf(a->file, sizeof(a->file), "%s", file);
    (void)snprintf(a->path, sizeof(a->path), "%s", path);
    a->since_mono_ms = clock_mono_ms() - age_ms;
    cache_draft_path(bs->cache, a->draft);
    if (uv_queue_work(bs->loop, &a->work, admit_on_pool, on_admitted) == 0)
        bs->adopting++;
    else
        cleanup_adoption(&a);
}

void adopt_all(struct builds *bs)
{
    if (bs->adopted)
        return;
    bs->adopted = true;
    keep_each(bs->keep, consider, bs);
}
