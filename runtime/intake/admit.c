/* admit.c - from a file that anybody may still be writing to a copy that nobody else can touch. */
#include "intake/admit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sandbox.h"
#include "intake/elf.h"
#include "intake/keys.h"
#include "intake/lines.h"
#include "intake/lint.h"
#include "intake/names.h"
#include "intake/trust.h"
#include "wire/error.h"
#include "wire/hash.h"
#include "wire/keys.h"

/* ---- warnings ------------------------------------------------------------------------------ */

void admission_init(struct admission *a)
{
    memset(a, 0, sizeof(*a));
    probe_answer_init(&a->answer);
    buf_init(&a->warnings);
}

void admission_deinit(struct admission *a)
{
    probe_answer_deinit(&a->answer);
    buf_deinit(&a->warnings);
}

void admission_write_warnings(const struct admission *a, aiki_writer *w)
{
    if (a->warning_count == 0)
        return;
    aiki_mp_array(w, a->warning_count);
    aiki_mp_raw(w, a->warnings.data, a->warnings.size_bytes);
}

static void warn(struct admission *a, const aiki_error *err)
{
    if (a->warning_count == WARNINGS_MAX)
        return;
    error_write(&a->warnings, err);
    a->warning_count++;
}

/* A finding refuses the file, or is a warning where that was asked for. */
static aiki_status refuse_or_warn(struct admission *a, bool only_warn, const aiki_error *found,
                                  aiki_error *err)
{
    if (only_warn) {
        warn(a, found);
        return AIKI_OK;
    }
    return error_code(err, found->status, found->code, "%s", found->message);
}

/* ---- copying ------------------------------------------------------------------------------- */

static bool same_content(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

aiki_status admit_unstable(aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "UNSTABLE",
                      "it changed each of %d times it was read; write it aside, then rename it into place",
                      ADMIT_TRIES_MAX);
}

static aiki_status cache_failed(const char *path, aiki_error *err)
{
    return error_code(err, AIKI_UNAVAILABLE, "CACHE_WRITE",
                      "cannot write the copy %.110s: %s; make room there, let uid %u write there, or choose another "
                      "--state",
                      path, strerror(errno), (unsigned)geteuid());
}

static aiki_status copy_bytes(int from, int to, const char *to_path, const struct stat *before,
                              aiki_error *err)
{
    uint8_t chunk[64 * 1024];
    uint64_t total = 0;
    (void)posix_fadvise(from, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint; no harm if refused */
    for (;;) {
        ssize_t n = read(from, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return trust_unreadable(err);
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > (uint64_t)before->st_size)
            return error_set(err, AIKI_STALE, "grew while it was read");
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, chunk + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return cache_failed(to_path, err);
            done += w > 0 ? w : 0;
        }
    }
    struct stat after;
    if (fstat(from, &after) != 0 || !same_content(before, &after) ||
        total != (uint64_t)before->st_size)
        return error_set(err, AIKI_STALE, "changed while it was read");
    return AIKI_OK;
}

static aiki_status map_copy(int fd, uint64_t size, aiki_view *ret, aiki_error *err)
{
    void *map = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (map == MAP_FAILED)
        return error_set(err, AIKI_NOMEM, "cannot map %llu bytes", (unsigned long long)size);
    *ret = (aiki_view){map, size};
    return AIKI_OK;
}

static void unmap_copy(aiki_view bytes)
{
    if (bytes.data != NULL)
        munmap((void *)(uintptr_t)bytes.data, bytes.size_bytes);
}

/* The bytes of the copy, mapped, and their hash. */
static aiki_status copy_aside(int from, const struct stat *before, const char *draft_path, struct admission *a,
                              aiki_view *ret_bytes, aiki_error *err)
{
    AUTO(close_fd) int to = open(draft_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return cache_failed(draft_path, err);
    aiki_status st = copy_bytes(from, to, draft_path, before, err);
    if (st == AIKI_OK)
        st = map_copy(to, (uint64_t)before->st_size, ret_bytes, err);
    if (st == AIKI_OK)
        hash_parts(a->build, ret_bytes, 1);
    return st;
}

/* ---- what is there already ----------------------------------------------------------------- */

/* False: it does not read. What it said is checked against other bytes, so it may even change meanwhile. */
static bool hash_source(int from, uint8_t ret[BUILD_BYTES])
{
    uint8_t chunk[64 * 1024];
    struct hash_state state;
    ssize_t n;
    off_t at = 0;
    hash_begin(&state);
    while ((n = pread(from, chunk, sizeof(chunk), at)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (at += n) > PLUGIN_BYTES_MAX)
            return false;
        hash_more(&state, (aiki_view){chunk, (uint64_t)n});
    }
    hash_end(&state, ret);
    return true;
}

/* Nobody but us could have written it since it was hashed, as with a copy. */
static bool map_own(const char *path, aiki_view *ret)
{
    struct stat s;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == geteuid() &&
           (s.st_mode & (S_IWGRP | S_IWOTH)) == 0 && map_copy(fd, (uint64_t)s.st_size, ret, NULL) == AIKI_OK;
}

/* The same bytes were kept: they get the draft's name, and are what is looked at. False: a copy has to be made. */
static bool take_kept(int from, const char *draft_path, const struct admit_options *o, struct admission *a,
                      aiki_view *ret_bytes)
{
    uint8_t build[BUILD_BYTES];
    if (!o->kept_first || o->keep == NULL || !hash_source(from, build) ||
        !keep_lend_copy(o->keep, build, draft_path))
        return false;
    if (map_own(draft_path, ret_bytes)) {
        hash_parts(a->build, ret_bytes, 1);
        if (memcmp(a->build, build, BUILD_BYTES) == 0)
            return true;
        unmap_copy(*ret_bytes);
        *ret_bytes = (aiki_view){NULL, 0};
    }
    (void)unlink(draft_path);
    keep_forget_copy(o->keep, build); /* damaged */
    return false;
}

/* Hashed here, so that nothing counts that was said of it elsewhere. False: a copy has to be made. */
static bool take_own(const char *path, const char *draft_path, const struct admit_options *o, struct admission *a,
                     aiki_view *ret_bytes)
{
    if (!o->own || link(path, draft_path) != 0)
        return false;
    if (map_own(draft_path, ret_bytes)) {
        hash_parts(a->build, ret_bytes, 1);
        return true;
    }
    (void)unlink(draft_path);
    return false;
}

/* ---- checking ------------------------------------------------------------------------------ */

/* Absolute ones: elf_check has refused all others. */
static aiki_status check_run_path(aiki_view run_path, const struct admit_options *o,
                                  struct admission *a, aiki_error *err)
{
    const char *text = (const char *)run_path.data;
    aiki_status st = AIKI_OK;
    for (uint64_t at = 0; at < run_path.size_bytes && st == AIKI_OK;) {
        char entry[CACHE_PATH_SIZE];
        size_t size = strcspn(text + at, ":");
        aiki_error found = AIKI_ERROR_INIT, why = AIKI_ERROR_INIT;
        (void)snprintf(entry, sizeof(entry), "%.*s", (int)size, text + at);
        at += size + 1;
        if (size >= sizeof(entry) || trust_directory(entry, &why) == AIKI_OK)
            continue; /* longer than any path there is: nobody can make it */
        (void)error_code(&found, AIKI_INVALID, "FOREIGN_RPATH", "it looks for libraries where %s",
                         why.message);
        st = refuse_or_warn(a, o->any_owner, &found, err);
    }
    return st;
}

static bool is_known(const struct admit_options *o, const uint8_t build[BUILD_BYTES])
{
    for (unsigned i = 0; i < KNOWN_BUILDS_MAX; i++)
        if (o->known[i] != NULL && memcmp(o->known[i], build, BUILD_BYTES) == 0)
            return true;
    return false;
}

/* It is read in any case: keys may be asked for later. */
static aiki_status check_signature(aiki_view bytes, const char *path, const struct admit_options *o,
                                   struct admission *a, aiki_error *err)
{
    bool asked = o->keys_dir != NULL && o->keys_dir[0] != '\0';
    aiki_status st = keys_read_signature(path, &a->signature, asked ? err : NULL);
    if (!asked)
        return AIKI_OK;
    return st == AIKI_OK ? keys_check(o->keys_dir, &a->signature, bytes, err) : st;
}

static aiki_view entry_for(const struct admit_options *o, const char *path)
{
    return o->name != NULL ? sandbox_of_plugin(o->sandbox, o->name) : sandbox_of(o->sandbox, path);
}

/* The operator's word about what it declares. */
static aiki_status check_needs(aiki_view bytes, const char *path, const struct admit_options *o,
                               struct admission *a, aiki_error *err)
{
    aiki_error found = AIKI_ERROR_INIT;
    aiki_view need = {NULL, 0};
    aiki_status st = needs_read(bytes, a->needs, err);
    if (st != AIKI_OK)
        return st;
    switch (sandbox_judge(entry_for(o, path), view_of(a->needs), &need)) {
    case SANDBOX_GIVES: return AIKI_OK;
    case SANDBOX_FORBIDS:
        return error_code(err, AIKI_DENIED, "NEEDS_REFUSED",
                          "it declares that it needs %.*s, which the setting sandbox does not allow; add that to "
                          "what is said of this file there, or ship a build that does without",
                          (int)need.size_bytes, (const char *)need.data);
    case SANDBOX_LACKS:
        (void)error_code(&found, AIKI_INVALID, "NEEDS_LACKING",
                         "it declares that it needs %.*s, which its sandbox does not give; add that to "
                         "what the setting sandbox says of this file, or say declared there",
                         (int)need.size_bytes, (const char *)need.data);
        break;
    case SANDBOX_UNDECLARED:
        (void)error_code(&found, AIKI_INVALID, "NEEDS_UNDECLARED",
                         "it does not declare what it needs, so sandbox = declared does not confine it; build "
                         "it with AIKI_NEEDS, or say there what it may do at most");
        break;
    }
    warn(a, &found);
    return AIKI_OK;
}

static aiki_status check_bytes(aiki_view bytes, const char *path, const struct admit_options *o,
                               struct admission *a, aiki_error *err)
{
    a->known = is_known(o, a->build);
    if (a->known)
        return AIKI_OK;
    aiki_status st = elf_check(bytes, err);
    if (st == AIKI_OK)
        st = check_run_path(elf_run_path(bytes), o, a, err);
    if (st == AIKI_OK)
        st = check_signature(bytes, path, o, a, err);
    return st == AIKI_OK ? check_needs(bytes, path, o, a, err) : st;
}

/* DIR/7.draft becomes DIR/BUILD.7.so. */
static aiki_status give_final_name(const char *draft, struct admission *a, aiki_error *err)
{
    char hex[BUILD_HEX_SIZE];
    const char *name = strrchr(draft, '/') + 1;
    build_hex(a->build, hex);
    int n = snprintf(a->copy, sizeof(a->copy), "%.*s%s.%.*s.so", (int)(name - draft), draft, hex,
                     (int)strcspn(name, "."), name);
    if (n >= (int)sizeof(a->copy) || rename(draft, a->copy) != 0)
        return cache_failed(draft, err);
    return AIKI_OK;
}

static aiki_status open_source(const char *path, const struct admit_options *o, int *ret_fd,
                               struct stat *ret_stat, struct admission *a, aiki_error *err)
{
    aiki_error doubt;
    aiki_status st = trust_open(path, ret_fd, ret_stat, &doubt, err);
    if (st == AIKI_OK && doubt.status != AIKI_OK)
        st = refuse_or_warn(a, o->any_owner, &doubt, err);
    if (st == AIKI_OK && ret_stat->st_size > PLUGIN_BYTES_MAX)
        st = error_code(err, AIKI_LIMIT, "TOO_LARGE",
                        "%lld bytes are over PLUGIN_BYTES_MAX (%d); strip it with strip -g",
                        (long long)ret_stat->st_size, PLUGIN_BYTES_MAX);
    return st;
}

aiki_status admit_copy(const char *path, const char *draft_path, const struct admit_options *o,
                       struct admission *ret, aiki_error *err)
{
    struct stat before;
    AUTO(close_fd) int from = -1;
    aiki_view bytes = {NULL, 0};
    memset(ret->build, 0, sizeof(ret->build));
    aiki_status st = open_source(path, o, &from, &before, ret, err);
    if (st != AIKI_OK)
        return st;
    if (!take_kept(from, draft_path, o, ret, &bytes) && !take_own(path, draft_path, o, ret, &bytes))
        st = copy_aside(from, &before, draft_path, ret, &bytes, err);
    if (st == AIKI_OK)
        st = check_bytes(bytes, path, o, ret, err);
    unmap_copy(bytes);
    if (st == AIKI_OK && !ret->known)
        st = give_final_name(draft_path, ret, err);
    if (st != AIKI_OK || ret->known)
        (void)unlink(draft_path);
    return st;
}

/* ---- what workflow code calls -------------------------------------------------------------- */

struct findings {
    struct admission *admission;
    bool strict;
    char workflow[2 * NAME_BYTES_MAX + 2];
    aiki_error last; /* status AIKI_OK: nothing was found yet */
};

/* It may be called, or not: never more than a warning. */
static void on_maybe(struct findings *f, const char *symbol, const char *what, uint64_t table,
                     uint64_t function)
{
    aiki_error found = AIKI_ERROR_INIT;
    char by[48] = "with";
    if (function != 0)
        (void)snprintf(by, sizeof(by), "whose function at 0x%llx calls", (unsigned long long)function);
    (void)error_code(&found, AIKI_INVALID, "NOT_DETERMINISTIC",
                     "%s refers to a table at 0x%llx %s %.60s: %s, if it is called", f->workflow,
                     (unsigned long long)table, by, symbol, what);
    warn(f->admission, &found);
}

static void on_found(const char *symbol, const char *what, uint64_t table, uint64_t function, void *arg)
{
    struct findings *f = arg;
    if (table != 0) {
        on_maybe(f, symbol, what, table, function);
        return;
    }
    if (f->strict && f->last.status != AIKI_OK)
        return; /* the first one refuses it */
    (void)error_code(&f->last, AIKI_INVALID, "NOT_DETERMINISTIC", "%s calls %.60s: %s", f->workflow,
                     symbol, what);
    if (!f->strict)
        warn(f->admission, &f->last);
}

/* One kind of the probe's entries: a workflow has a name, a task has none. */
static void look_into_entries(struct findings *f, struct lint *l, bool tasks)
{
    aiki_reader r;
    aiki_reader_init(&r, f->admission->answer.entries);
    for (uint64_t left = aiki_mp_read_array(&r); left > 0 && r.status == AIKI_OK; left--) {
        (void)aiki_mp_read_array(&r);
        aiki_view name = aiki_mp_read_str(&r);
        uint64_t entry = aiki_mp_read_uint(&r);
        if (r.status != AIKI_OK || entry == 0 || (name.size_bytes == 0) != tasks)
            continue;
        (void)snprintf(f->workflow, sizeof(f->workflow), "%.*s", (int)name.size_bytes,
                       (const char *)name.data);
        if (tasks)
            lint_task(l, entry);
        else
            lint_entry(l, entry, on_found, f);
    }
}

static bool has_tasks(aiki_view descriptor)
{
    struct descriptor d;
    return descriptor_read(descriptor, &d, NULL) == AIKI_OK && d.task_count > 0;
}

static aiki_status look_into(aiki_view bytes, bool strict, struct admission *a, aiki_error *err)
{
    struct findings f = {.admission = a, .strict = strict, .last = AIKI_ERROR_INIT};
    struct lint *l = lint_create(bytes);
    if (l != NULL) {
        look_into_entries(&f, l, true);
        look_into_entries(&f, l, false);
    } else if (!has_tasks(a->answer.descriptor)) {
        (void)snprintf(f.workflow, sizeof(f.workflow), "it has workflows only and");
        lint_imports(bytes, on_found, &f);
    }
    lint_destroy(l);
    if (strict && f.last.status != AIKI_OK)
        return error_code(err, f.last.status, f.last.code, "%s", f.last.message);
    return AIKI_OK;
}

static aiki_status look_into_copy(bool strict, struct admission *a, aiki_error *err)
{
    struct stat s;
    aiki_view bytes = {NULL, 0};
    AUTO(close_fd) int fd = open(a->copy, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s) != 0)
        return cache_failed(a->copy, err);
    aiki_status st = map_copy(fd, (uint64_t)s.st_size, &bytes, err);
    if (st == AIKI_OK)
        st = look_into(bytes, strict, a, err);
    unmap_copy(bytes);
    return st;
}

/* The same bytes were probed before, or are now. */
aiki_status admit_probe(const char *path, const struct admit_options *o, struct admission *a,
                        aiki_error *err)
{
    AUTO(buf) aiki_writer sandbox;
    buf_init(&sandbox);
    sandbox_write(&sandbox, entry_for(o, path), view_of(a->needs));
    if (sandbox.status != AIKI_OK)
        return error_set(err, sandbox.status, "no memory for a sandbox");
    a->noted = o->keep != NULL && keep_read_note(o->keep, o->executable, a->build,
                                                 aiki_writer_view(&sandbox), &a->answer);
    a->probed = !a->noted;
    if (a->noted)
        return AIKI_OK;
    const struct probe_options options = {.executable = o->executable,
                                          .path = a->copy,
                                          .sandbox = aiki_writer_view(&sandbox),
                                          .limits = o->limits};
    return probe_run(&options, &a->answer, err);
}

void admit_lines(const struct admit_options *o, const struct admission *a)
{
    if (a->noted)
        keep_lend_lines(o->keep, a->build, a->copy);
    lines_make(a->copy); /* nothing to do when they are there */
}

aiki_status admit_file(const char *path, const char *draft_path,
                       const struct admit_options *options, struct admission *ret, aiki_error *err)
{
    aiki_status st = name_check(options->name != NULL ? options->name : name_last_part(path), err);
    if (st == AIKI_OK)
        st = admit_copy(path, draft_path, options, ret, err);
    if (st != AIKI_OK || ret->known)
        return st;
    st = admit_probe(path, options, ret, err);
    if (st == AIKI_OK)
        st = look_into_copy(options->strict, ret, err);
    if (st != AIKI_OK)
        (void)unlink(ret->copy);
    return st;
}
