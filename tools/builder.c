/* builder.c - watch, compile, rename. */
#include "builder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"

struct source {
    char name[NAME_MAX + 1]; /* without ".c" */
    struct timespec seen;    /* modification time of what was compiled last */
};

struct builder {
    uv_loop_t *loop;
    uv_fs_event_t watch;
    uv_timer_t quiet;
    uv_process_t compiler;
    bool compiling; /* until its handle is closed: it is used again */
    bool stopping, closing;
    unsigned open_handles;
    struct source sources[BUILDER_SOURCES_MAX];
    unsigned count;
    struct source *current; /* being compiled */
    char folder[PATH_MAX], plugins[PATH_MAX], from[PATH_MAX], building[PATH_MAX], to[PATH_MAX];
};

static const char compile[] =
    "exec ${CC:-cc} -shared -fPIC -g $(pkg-config --cflags aiki-plugin 2>/dev/null) $CFLAGS "
    "\"$1\" -o \"$2\"";

static void next(struct builder *b);

static bool newer(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* ---- one compilation ---------------------------------------------------------------------- */

static void free_if_closed(struct builder *b)
{
    if (--b->open_handles == 0 && b->closing)
        free(b);
}

static void on_compiler_closed(uv_handle_t *handle)
{
    struct builder *b = container_of((uv_process_t *)handle, struct builder, compiler);
    b->compiling = false;
    next(b);
    free_if_closed(b);
}

static void on_exit_code(uv_process_t *process, int64_t exit_code, int signal_number)
{
    struct builder *b = container_of(process, struct builder, compiler);
    const char *name = b->current->name;
    uv_close((uv_handle_t *)process, on_compiler_closed);
    if (b->stopping || exit_code != 0 || signal_number != 0) {
        (void)unlink(b->building);
        if (!b->stopping)
            log_warn("sources", "%s.c does not compile; what served before goes on serving", name);
    } else if (rename(b->building, b->to) != 0) {
        log_error("sources", "cannot make %s: %s", b->to, strerror(errno));
    } else {
        log_info("sources", "built %s.so", name);
    }
}

static bool paths_of(struct builder *b, const struct source *s)
{
    return snprintf(b->from, PATH_MAX, "%s/%s.c", b->folder, s->name) < PATH_MAX &&
           snprintf(b->building, PATH_MAX, "%s/.%s.building", b->plugins, s->name) < PATH_MAX &&
           snprintf(b->to, PATH_MAX, "%s/%s.so", b->plugins, s->name) < PATH_MAX;
}

static void start_compiler(struct builder *b, struct source *s)
{
    char shell[] = "/bin/sh", flag[] = "-c", script[sizeof(compile)], self[] = "aiki-dev";
    memcpy(script, compile, sizeof(compile));
    char *words[] = {shell, flag, script, self, b->from, b->building, NULL};
    uv_stdio_container_t stdio[] = {{.flags = UV_IGNORE},
                                    {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
                                    {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO}};
    const uv_process_options_t options = {.file = shell,
                                          .args = words,
                                          .exit_cb = on_exit_code,
                                          .stdio = stdio,
                                          .stdio_count = ARRAY_COUNT(stdio)};
    b->current = s;
    b->compiling = true;
    b->open_handles++;
    int rc = uv_spawn(b->loop, &b->compiler, &options);
    if (rc == 0)
        return;
    log_error("sources", "no compiler can be started: %s", uv_strerror(rc));
    uv_close((uv_handle_t *)&b->compiler, on_compiler_closed);
}

/* ---- what is to be compiled --------------------------------------------------------------- */

static struct source *source_of(struct builder *b, const char *name, size_t length)
{
    for (unsigned i = 0; i < b->count; i++)
        if (strlen(b->sources[i].name) == length && memcmp(b->sources[i].name, name, length) == 0)
            return &b->sources[i];
    if (b->count == BUILDER_SOURCES_MAX) {
        log_warn("sources", "more than %d files; %s is left out", BUILDER_SOURCES_MAX, name);
        return NULL;
    }
    struct source *s = &b->sources[b->count++];
    *s = (struct source){.name = ""};
    memcpy(s->name, name, length);
    return s;
}

/* Headers of the folder count for every source: the newest time of both. */
static struct timespec newest_header(struct builder *b, DIR *folder)
{
    struct timespec newest = {0};
    char path[PATH_MAX];
    struct stat st;
    rewinddir(folder);
    for (const struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        size_t length = strlen(e->d_name);
        if (length < 3 || strcmp(e->d_name + length - 2, ".h") != 0 ||
            snprintf(path, sizeof(path), "%s/%s", b->folder, e->d_name) >= PATH_MAX ||
            stat(path, &st) != 0)
            continue;
        if (newer(st.st_mtim, newest))
            newest = st.st_mtim;
    }
    return newest;
}

/* Whether the file is a source that was not compiled as it is now. */
static bool is_due(struct builder *b, const char *file, struct timespec headers,
                   struct source **ret)
{
    struct stat source, plugin;
    size_t length = strlen(file);
    if (file[0] == '.' || length < 3 || strcmp(file + length - 2, ".c") != 0)
        return false;
    struct source *s = source_of(b, file, length - 2);
    if (s == NULL || !paths_of(b, s) || stat(b->from, &source) != 0)
        return false;
    struct timespec changed = newer(headers, source.st_mtim) ? headers : source.st_mtim;
    if (!newer(changed, s->seen))
        return false;
    s->seen = changed;
    *ret = s;
    return stat(b->to, &plugin) != 0 || newer(changed, plugin.st_mtim);
}

static void next(struct builder *b)
{
    struct source *s = NULL;
    if (b->compiling || b->stopping)
        return;
    DIR *folder = opendir(b->folder);
    if (folder == NULL) {
        log_error("sources", "%s: %s", b->folder, strerror(errno));
        return;
    }
    struct timespec headers = newest_header(b, folder);
    bool due = false;
    rewinddir(folder);
    for (const struct dirent *e = readdir(folder); e != NULL && !due; e = readdir(folder))
        due = is_due(b, e->d_name, headers, &s);
    closedir(folder);
    if (due)
        start_compiler(b, s);
}

static void on_quiet(uv_timer_t *timer)
{
    next(container_of(timer, struct builder, quiet));
}

static void on_change(uv_fs_event_t *watch, const char *file, int events, int status)
{
    struct builder *b = container_of(watch, struct builder, watch);
    (void)file;
    (void)events;
    (void)status;
    if (!b->stopping)
        uv_timer_start(&b->quiet, on_quiet, BUILDER_QUIET_MS, 0);
}

/* ---- the whole ---------------------------------------------------------------------------- */

aiki_status builder_start(struct builder **ret, uv_loop_t *loop, const char *sources,
                          const char *plugins, aiki_error *err)
{
    struct builder *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return error_set(err, AIKI_NOMEM, "sources");
    if (realpath(sources, b->folder) == NULL) {
        free(b);
        return error_set(err, AIKI_INVALID, "sources folder %s: %s; name one with --sources",
                         sources, strerror(errno));
    }
    b->loop = loop;
    snprintf(b->plugins, sizeof(b->plugins), "%s", plugins);
    uv_timer_init(loop, &b->quiet);
    uv_fs_event_init(loop, &b->watch);
    b->open_handles = 2;
    *ret = b;
    int rc = uv_fs_event_start(&b->watch, on_change, b->folder, 0);
    if (rc != 0)
        return error_set(err, AIKI_INVALID, "%s cannot be watched: %s", b->folder, uv_strerror(rc));
    next(b);
    return AIKI_OK;
}

void builder_stop(struct builder *b)
{
    if (b == NULL)
        return;
    b->stopping = true;
    if (b->compiling)
        (void)uv_process_kill(&b->compiler, SIGTERM);
}

static void on_closed(uv_handle_t *handle)
{
    free_if_closed(handle->data);
}

void builder_close(struct builder *b)
{
    if (b == NULL)
        return;
    builder_stop(b);
    b->closing = true;
    b->watch.data = b->quiet.data = b;
    uv_close((uv_handle_t *)&b->watch, on_closed);
    uv_close((uv_handle_t *)&b->quiet, on_closed);
}
