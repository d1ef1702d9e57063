/* check.c - one file through the intake, and what came of it on stdout. */
#include "broker/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "intake/admit.h"
#include "intake/watch.h"
#include "wire/descriptor.h"
#include "wire/error.h"

enum {
    EXIT_SERVED = 0,
    EXIT_REFUSED = 1,
    EXIT_NO_FILE = 4,
    TEXT_SIZE = 160
};

struct check {
    const char *file;
    struct admission admission;
    aiki_error err; /* when it is refused */
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
    AUTO(buf) aiki_writer warnings;
    char hex[BUILD_HEX_SIZE] = "", file[CACHE_PATH_SIZE];
    static const uint8_t unread[BUILD_BYTES];
    aiki_error err = AIKI_ERROR_INIT;
    buf_init(&map);
    buf_init(&text);
    buf_init(&warnings);
    if (memcmp(c->admission.build, unread, BUILD_BYTES) != 0)
        build_hex(c->admission.build, hex);
    aiki_mp_map(&map, d != NULL ? 10 : 3);
    put_text(&map, "file", view_of(log_clean(view_of(c->file), file, sizeof(file))));
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
        aiki_mp_str(&map, "needs");
        if (c->admission.needs[0] != '\0')
            aiki_mp_str(&map, c->admission.needs);
        else
            aiki_mp_nil(&map);
        admission_write_warnings(&c->admission, &warnings);
        put_raw(&map, "warnings",
                warnings.size_bytes > 0 ? aiki_writer_view(&warnings) : view_of("\x90"));
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

static void print_warnings(const struct admission *a)
{
    aiki_reader r;
    aiki_reader_init(&r, aiki_writer_view(&a->warnings));
    for (unsigned i = 0; i < a->warning_count; i++) {
        aiki_error e = AIKI_ERROR_INIT;
        if (error_read(aiki_mp_value(&r), &e, NULL, NULL) == AIKI_OK)
            printf("  warning   %s: %s\n", e.code, e.message);
    }
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
    if (c->admission.needs[0] != '\0')
        printf("  needs     %s\n", c->admission.needs);
    print_warnings(&c->admission);
}

static int show(struct check *c, bool json)
{
    struct descriptor d;
    if (c->status == AIKI_OK)
        c->status = descriptor_read(c->admission.answer.descriptor, &d, &c->err);
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

/* ---- the whole ----------------------------------------------------------------------------- */

static void look_again(struct check *c)
{
    static const struct timespec pause = {.tv_nsec = WATCH_QUIET_MS * 1000 * 1000};
    admission_deinit(&c->admission);
    admission_init(&c->admission);
    (void)nanosleep(&pause, NULL); /* cut short: a little earlier */
}

static void admit(struct check *c, struct cache *cache, const char *path,
                  const struct admit_options *options)
{
    char draft[CACHE_PATH_SIZE];
    struct stat s;
    for (int i = 0; i < ADMIT_TRIES_MAX; i++) {
        if (i > 0)
            look_again(c);
        cache_draft_path(cache, draft);
        c->status = admit_file(path, draft, options, &c->admission, &c->err);
        if (c->status != AIKI_STALE)
            return;
        if (lstat(path, &s) != 0) {
            c->status = error_code(&c->err, AIKI_NOT_FOUND, "NOT_FOUND", "there is no file %s", path);
            return;
        }
    }
    c->status = admit_unstable(&c->err);
}

int check_plugin(const char *path, const struct check_options *options)
{
    struct cache *cache = NULL;
    struct check c = {.file = path, .err = AIKI_ERROR_INIT};
    admission_init(&c.admission);
    c.status = cache_create(&cache, options->state_dir, &c.err);
    if (c.status == AIKI_OK)
        admit(&c, cache, path, &options->admit);
    int code = show(&c, options->json);
    admission_deinit(&c.admission);
    cache_destroy(cache);
    return code;
}
