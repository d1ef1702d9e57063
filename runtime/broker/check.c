/* check.c - one file through intake and a child, and what came of it on stdout.
 *
 *   admit --> spawn --READY--> print the descriptor, end the child --+--> gone --> exit code
 *     |         +------REFUSED, death--> print the error ------------+
 *     +--refused--> print the error
 */
#include "broker/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "broker/proc.h"
#include "intake/admit.h"
#include "wire/descriptor.h"
#include "wire/error.h"

enum {
    EXIT_SERVED = 0,
    EXIT_REFUSED = 1,
    EXIT_NO_FILE = 4,
    CHECK_TASK_THREADS = 1,
    TEXT_SIZE = 160
};

struct check {
    uv_loop_t loop;
    struct conn_loop *conns;
    const char *file;
    struct admission admission;
    aiki_writer descriptor; /* empty until READY */
    aiki_error err;         /* when it is refused */
    aiki_status status;
};

/* ---- output -------------------------------------------------------------------------------- */

static void put_text(aiki_writer *w, const char *key, aiki_view value)
{
    aiki_mp_str(w, key);
    aiki_mp_strn(w, value.data, value.size_bytes);
}

static void put_raw(aiki_writer *w, const char *key, aiki_view value)
{
    aiki_mp_str(w, key);
    aiki_mp_raw(w, value.data, value.size_bytes);
}

static void print_json(const struct check *c, const struct descriptor *d)
{
    AUTO(buf) aiki_writer map;
    AUTO(buf) aiki_writer text;
    char hex[BUILD_HEX_SIZE] = "";
    static const uint8_t unread[BUILD_BYTES];
    aiki_error err = AIKI_ERROR_INIT;
    buf_init(&map);
    buf_init(&text);
    if (memcmp(c->admission.build, unread, BUILD_BYTES) != 0)
        build_hex(c->admission.build, hex);
    aiki_mp_map(&map, d != NULL ? 8 : 3);
    put_text(&map, "file", view_of(c->file));
    put_text(&map, "build", view_of(hex));
    if (d == NULL) {
        aiki_mp_str(&map, "error");
        error_write(&map, &c->err);
    } else {
        put_text(&map, "name", d->name);
        put_text(&map, "version", d->version);
        put_text(&map, "language", d->language);
        put_text(&map, "toolchain", d->toolchain);
        put_raw(&map, "workflows", d->workflows);
        put_raw(&map, "tasks", d->tasks);
    }
    if (map.status == AIKI_OK && msgpack_to_json(aiki_writer_view(&map), 2, &text, &err) == AIKI_OK)
        printf("%.*s\n", (int)text.size_bytes, (const char *)text.data);
    else
        log_error("check", "cannot show the result: %s", err.message);
}

static const char *clean(aiki_view text, char buffer[TEXT_SIZE])
{
    return log_clean(text, buffer, TEXT_SIZE);
}

static void print_summary(aiki_view summary)
{
    char text[TEXT_SIZE];
    printf("%s%s\n", summary.size_bytes > 0 ? "  " : "", clean(summary, text));
}

static void print_text(const struct check *c, const struct descriptor *d)
{
    char hex[BUILD_HEX_SIZE], name[TEXT_SIZE], version[TEXT_SIZE], language[TEXT_SIZE];
    struct descriptor_workflow workflow;
    struct descriptor_task task;
    aiki_reader r;
    build_hex(c->admission.build, hex);
    printf("%s %s in %s, build %.12s, plugin interface %" PRIu64 ".%" PRIu64 "\n",
           clean(d->name, name), clean(d->version, version), clean(d->language, language), hex,
           d->abi_major, d->abi_minor);
    for (descriptor_workflows(d, &r); descriptor_next_workflow(&r, &workflow);) {
        printf("  workflow  %s %s", clean(workflow.name, name), clean(workflow.version, version));
        print_summary(workflow.summary);
    }
    for (descriptor_tasks(d, &r); descriptor_next_task(&r, &task);) {
        printf("  task      %s", clean(task.name, name));
        print_summary(task.summary);
    }
}

static int show(struct check *c, bool json)
{
    struct descriptor d;
    if (c->status == AIKI_OK)
        c->status = descriptor_read(aiki_writer_view(&c->descriptor), &d, &c->err);
    bool served = c->status == AIKI_OK;
    if (json)
        print_json(c, served ? &d : NULL);
    else if (served)
        print_text(c, &d);
    else
        printf("refused: %s: %s\n", c->err.code, c->err.message);
    if (served)
        return EXIT_SERVED;
    return c->status == AIKI_NOT_FOUND ? EXIT_NO_FILE : EXIT_REFUSED;
}

/* ---- the child ----------------------------------------------------------------------------- */

static void on_ready(struct proc *p, aiki_view descriptor, void *arg)
{
    struct check *c = arg;
    aiki_mp_raw(&c->descriptor, descriptor.data, descriptor.size_bytes);
    c->status = c->descriptor.status;
    if (c->status != AIKI_OK)
        (void)error_set(&c->err, c->status, "descriptor of %" PRIu64 " bytes",
                        descriptor.size_bytes);
    conn_close(proc_conn(p)); /* it ends when it sees that */
}

static void on_refused(struct proc *p, aiki_view error, void *arg)
{
    struct check *c = arg;
    (void)p;
    c->status = error_read(error, &c->err, NULL, NULL);
    c->status = c->status == AIKI_OK ? c->err.status : c->status;
}

static void on_frame(struct proc *p, const struct frame *f, void *arg)
{
    (void)p; /* it was asked for nothing */
    (void)f;
    (void)arg;
}

static void on_gone(struct proc *p, const struct proc_end *end, void *arg)
{
    struct check *c = arg;
    (void)p;
    if (c->status == AIKI_PENDING)
        c->status = proc_load_failure(end, &c->err);
    conn_loop_destroy(c->conns, NULL, NULL);
}

static void load(struct check *c, const char *executable)
{
    static const struct proc_callbacks callbacks = {
        .on_ready = on_ready, .on_refused = on_refused, .on_frame = on_frame, .on_gone = on_gone};
    const struct proc_options options = {.executable = executable,
                                         .label = "check",
                                         .path = c->admission.copy,
                                         .file = c->file,
                                         .build = {c->admission.build, BUILD_BYTES},
                                         .task_threads = CHECK_TASK_THREADS};
    struct proc *p;
    if (uv_loop_init(&c->loop) != 0 || (c->conns = conn_loop_create(&c->loop)) == NULL)
        abort(); /* start-up, out of memory */
    c->status = proc_spawn(&p, &c->loop, c->conns, &options, &callbacks, c, &c->err);
    if (c->status == AIKI_OK)
        c->status = AIKI_PENDING;
    else
        conn_loop_destroy(c->conns, NULL, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&c->loop); /* the process ends */
}

/* ---- the whole ----------------------------------------------------------------------------- */

static void admit(struct check *c, struct cache *cache, const char *path)
{
    char draft[CACHE_PATH_SIZE];
    cache_draft_path(cache, draft);
    c->status = admit_file(path, draft, &c->admission, &c->err);
    if (c->status == AIKI_STALE && access(path, F_OK) != 0)
        c->status = error_code(&c->err, AIKI_NOT_FOUND, "NOT_FOUND", "there is no file %s", path);
}

int check_plugin(const char *path, const struct check_options *options)
{
    struct cache *cache = NULL;
    struct check c = {.file = path, .err = AIKI_ERROR_INIT};
    buf_init(&c.descriptor);
    c.status = cache_create(&cache, options->state_dir, &c.err);
    if (c.status == AIKI_OK)
        admit(&c, cache, path);
    if (c.status == AIKI_OK)
        load(&c, options->executable);
    int code = show(&c, options->json);
    buf_deinit(&c.descriptor);
    cache_destroy(cache);
    return code;
}
