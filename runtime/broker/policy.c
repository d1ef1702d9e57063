/* policy.c - settings about plugins that change while they are served.
 *
 *   builds_set_policy --> refused files are looked at again
 *                     +-> with keys: every build here is checked anew, on a thread
 *                           signed no more --> serving: drains, its file is refused
 *                                              kept: dropped, and remembered for what its runs are told
 *
 * Processes go on as they were started until they end; what is drained is not started again.
 */
#include "broker/builds_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "intake/keys.h"
#include "wire/error.h"

enum { REVOKED_MAX = 256 }; /* the first of them are forgotten: then a run is told the difference alone */

struct revoked {
    struct revoked *next;
    uint8_t hash[BUILD_BYTES];
    aiki_error err;
};

struct recheck {
    struct crew_job work;
    struct builds *owner;
    uint8_t hash[BUILD_BYTES];
    struct build_signature signature;
    char *copy, *keys_dir; /* owned */
    unsigned policy;
    aiki_status status;
    aiki_error err;
};

/* ---- what is remembered -------------------------------------------------------------------- */

static struct revoked *find(struct builds *bs, const uint8_t *hash)
{
    for (struct revoked *r = bs->revoked; r != NULL; r = r->next)
        if (memcmp(r->hash, hash, BUILD_BYTES) == 0)
            return r;
    return NULL;
}

bool builds_is_revoked(struct builds *bs, const uint8_t *hash, aiki_error *ret)
{
    const struct revoked *r = hash != NULL ? find(bs, hash) : bs->revoked;
    if (r != NULL && ret != NULL)
        *ret = r->err;
    return r != NULL;
}

static void drop_last(struct builds *bs)
{
    struct revoked **at = &bs->revoked;
    unsigned count = 0;
    for (; *at != NULL && (*at)->next != NULL; at = &(*at)->next)
        count++;
    if (count >= REVOKED_MAX) {
        free(*at);
        *at = NULL;
    }
}

void policy_revoke(struct builds *bs, const uint8_t *hash, const aiki_error *why)
{
    struct revoked *r = find(bs, hash);
    if (r == NULL && (r = calloc(1, sizeof(*r))) != NULL) {
        memcpy(r->hash, hash, BUILD_BYTES);
        r->next = bs->revoked;
        bs->revoked = r;
        drop_last(bs);
    }
    if (r != NULL)
        r->err = *why;
}

void policy_allow(struct builds *bs, const uint8_t *hash)
{
    for (struct revoked **at = &bs->revoked; *at != NULL; at = &(*at)->next) {
        struct revoked *r = *at;
        if (memcmp(r->hash, hash, BUILD_BYTES) == 0) {
            *at = r->next;
            free(r);
            return;
        }
    }
}

void policy_forget_all(struct builds *bs)
{
    while (bs->revoked != NULL) {
        struct revoked *r = bs->revoked;
        bs->revoked = r->next;
        free(r);
    }
}

/* ---- signed no more ------------------------------------------------------------------------ */

/* Like a file that is removed, but it is not kept. */
static void withdraw_serving(struct build *b, const aiki_error *why)
{
    struct builds *bs = b->owner;
    struct plugin_file *f = b->file;
    build_unregister(b);
    f->serving = NULL;
    b->file = NULL;
    file_refuse(bs, f, b->hash, why);
    watch_doubt(bs->watch, f->name); /* the key may come back */
    build_drain(b);
    builds_reconsider(bs);
}

/* False: nothing is left to be withdrawn. */
static bool withdraw_one(struct builds *bs, const uint8_t *hash, const aiki_error *why)
{
    for (struct build *b = bs->all; b != NULL; b = b->next) {
        if (memcmp(b->hash, hash, BUILD_BYTES) != 0)
            continue;
        if (b->state == KEPT)
            kept_drop(b);
        else if (b->file != NULL && b->file->serving == b)
            withdraw_serving(b, why);
        else if (b->file != NULL && b->file->candidate == b)
            build_refuse(b, why);
        else
            continue;
        return true;
    }
    return false;
}

static void withdraw(struct builds *bs, const uint8_t *hash, const aiki_error *why)
{
    char hex[BUILD_HEX_SIZE];
    build_hex(hash, hex);
    log_warn("intake", "build %.8s is not started any more: %s: %s", hex, why->code, why->message);
    policy_revoke(bs, hash, why);
    keep_remove(bs->keep, hash);
    while (withdraw_one(bs, hash, why))
        continue;
    solo_drain(bs, hash);
    bs->cb.on_routes(bs->arg);
    bs->cb.on_ready(NULL, bs->arg); /* who waits for it is told that there is none */
}

/* ---- checking anew ------------------------------------------------------------------------- */

static void check_on_thread(struct crew_job *work)
{
    struct recheck *r = container_of(work, struct recheck, work);
    r->status = keys_check_copy(r->keys_dir, r->copy, &r->signature, &r->err);
}

static void free_recheck(struct recheck *r)
{
    free(r->copy);
    free(r->keys_dir);
    free(r);
}

bool policy_has_no_keys(const aiki_error *err)
{
    return strcmp(err->code, "KEYS_UNUSABLE") == 0;
}

/* Neither the copy of a build that went meanwhile nor a mistake in the directory of keys is a reason. */
static void on_checked(struct crew_job *work)
{
    struct recheck *r = container_of(work, struct recheck, work);
    struct builds *bs = r->owner;
    bs->admitting--;
    bool counts = !bs->draining && r->policy == bs->policy && r->status == AIKI_DENIED;
    if (counts && policy_has_no_keys(&r->err))
        log_error("intake", "%s: %s; builds that are here already go on", r->err.code, r->err.message);
    else if (counts)
        withdraw(bs, r->hash, &r->err);
    free_recheck(r);
    builds_check_drained(bs);
    adopt_rest(bs);
    builds_settle(bs);
}

void policy_check_anew(const struct build *b)
{
    struct builds *bs = b->owner;
    const char *keys_dir = bs->options.admit.keys_dir;
    if (keys_dir == NULL || keys_dir[0] == '\0')
        return;
    struct recheck *r = calloc(1, sizeof(*r));
    if (r != NULL) {
        r->copy = strdup(b->copy);
        r->keys_dir = strdup(keys_dir);
    }
    if (r == NULL || r->copy == NULL || r->keys_dir == NULL) {
        log_error("intake", "plugin %s: no memory to check its signature", b->label);
        if (r != NULL)
            free_recheck(r);
        return;
    }
    r->owner = bs;
    r->err.struct_size = sizeof(r->err);
    r->signature = b->signature;
    r->policy = bs->policy;
    memcpy(r->hash, b->hash, BUILD_BYTES);
    bs->admitting++;
    crew_run(&bs->crew, &r->work, check_on_thread, on_checked);
}

void builds_set_policy(struct builds *bs, const char *gate, const struct admit_options *admit)
{
    if (bs->draining)
        return;
    bs->policy++;
    bs->options.gate = gate;
    bs->options.admit = *admit;
    for (struct plugin_file *f = bs->files; f != NULL; f = f->next)
        if (f->refused && !f->trouble)
            watch_again(bs->watch, f->name);
    for (const struct build *b = bs->all; b != NULL; b = b->next)
        if (b->state != DRAINING && b->state != SOLO)
            policy_check_anew(b);
}
