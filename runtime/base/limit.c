/* limit.c - see limit.h. */
#include "base/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "wire/error.h"

struct kind {
    const char *setting, *unit;
    uint64_t least, most;
    const char *word; /* instead of a number, for UINT64_MAX; NULL: none */
    uint64_t unsaid;  /* for files that the setting says nothing of */
};

static const struct kind kinds[] = {
#define LIMIT_KIND(name, setting, unit, least, most, fallback) {setting, unit, least, most, NULL, 0},
    LIMITS(LIMIT_KIND)
#undef LIMIT_KIND
};
static const struct kind idle_kind = {IDLE_SETTING, "seconds without a run", 1, 31536000, "always",
                                       IDLE_UNSAID_S};
static const struct kind alone_kind = {ALONE_SETTING, "processes with one run", 1, 100000, NULL, ALONE_UNSAID};

const char *limit_setting(enum limit limit)
{
    return kinds[limit].setting;
}

static bool parse_number(const char *text, size_t size, const struct kind *kind, uint64_t *ret)
{
    uint64_t value = 0;
    if (kind->word != NULL && strlen(kind->word) == size && memcmp(text, kind->word, size) == 0) {
        *ret = UINT64_MAX;
        return true;
    }
    if (size == 0 || size > 9)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = value;
    return value == 0 || (value >= kind->least && value <= kind->most);
}

/* "FILE=NUMBER" or "NUMBER". *ret_file: size 0 when it is about all files. */
static bool parse_entry(const char *entry, size_t size, const struct kind *kind,
                        aiki_view *ret_file, uint64_t *ret)
{
    const char *equals = memchr(entry, '=', size);
    size_t name = equals != NULL ? (size_t)(equals - entry) : 0;
    *ret_file = (aiki_view){(const uint8_t *)entry, name};
    if (equals == NULL)
        return parse_number(entry, size, kind, ret);
    return name > 0 && parse_number(equals + 1, size - name - 1, kind, ret);
}

/* Replacing a process because its task threads are at work would never end. */
static aiki_status check_threads(const char *entry, size_t size, uint64_t value,
                                 uint64_t task_threads, aiki_error *err)
{
    if (value == 0 || value >= 2 * task_threads)
        return AIKI_OK;
    return error_set(err, AIKI_INVALID,
                     "child-threads: %.*s is less than twice task-threads (%" PRIu64
                     "); give it more, or less to that",
                     (int)(size < 60 ? size : 60), entry, task_threads);
}

static aiki_status check(const struct kind *kind, const char *setting, uint64_t task_threads,
                         aiki_error *err)
{
    bool or_word = kind->word != NULL;
    aiki_status st = AIKI_OK;
    for (const char *at = setting; st == AIKI_OK && *at != '\0';) {
        size_t size = strcspn(at, ",");
        aiki_view file;
        uint64_t value;
        if (!parse_entry(at, size, kind, &file, &value))
            st = error_set(err, AIKI_INVALID,
                           "%s must be 0 or %" PRIu64 " to %" PRIu64 " (%s)%s%s, and FILE=NUMBER for some "
                           "files, with commas between, found \"%.*s\"",
                           kind->setting, kind->least, kind->most, kind->unit, or_word ? ", or " : "",
                           or_word ? kind->word : "",
                           (int)(size < 60 ? size : 60), at);
        else if (kind == &kinds[LIMIT_THREADS])
            st = check_threads(at, size, value, task_threads, err);
        at += size + (at[size] == ',');
    }
    return st;
}

aiki_status limits_check(const struct limits_settings *settings, uint64_t task_threads,
                         aiki_error *err)
{
    aiki_status st = AIKI_OK;
    for (unsigned i = 0; i < LIMIT_COUNT && st == AIKI_OK; i++)
        st = check(&kinds[i], settings->of[i], task_threads, err);
    return st;
}

static uint64_t value_of(const struct kind *kind, const char *setting, const char *file)
{
    uint64_t value = kind->unsaid, of_entry;
    for (const char *at = setting; *at != '\0';) {
        size_t size = strcspn(at, ",");
        aiki_view name;
        if (parse_entry(at, size, kind, &name, &of_entry)) {
            if (view_is(name, file))
                return of_entry;
            if (name.size_bytes == 0)
                value = of_entry;
        }
        at += size + (at[size] == ',');
    }
    return value;
}

aiki_status idle_check(const char *setting, aiki_error *err)
{
    return check(&idle_kind, setting, 0, err);
}

uint64_t idle_seconds(const char *setting, const char *file)
{
    return setting != NULL ? value_of(&idle_kind, setting, file) : IDLE_ALWAYS;
}

aiki_status alone_check(const char *setting, aiki_error *err)
{
    return check(&alone_kind, setting, 0, err);
}

uint64_t alone_max(const char *setting, const char *file)
{
    return value_of(&alone_kind, setting != NULL ? setting : "", file);
}

static uint64_t files_most(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_max == RLIM_INFINITY)
        return UINT64_MAX;
    return l.rlim_max;
}

bool limits_files_lack(const struct limits_settings *settings, uint64_t *ret_asked, uint64_t *ret_most)
{
    const char *setting = settings->of[LIMIT_FILES] != NULL ? settings->of[LIMIT_FILES] : "";
    *ret_asked = 0;
    *ret_most = files_most();
    for (const char *at = setting; *at != '\0';) {
        size_t size = strcspn(at, ",");
        aiki_view file;
        uint64_t value;
        if (parse_entry(at, size, &kinds[LIMIT_FILES], &file, &value) && value > *ret_asked)
            *ret_asked = value;
        at += size + (at[size] == ',');
    }
    return *ret_asked > *ret_most;
}

struct limits limits_for(const struct limits_settings *settings, const char *file)
{
    struct limits l;
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        l.of[i] = settings->of[i] != NULL ? value_of(&kinds[i], settings->of[i], file) : 0;
    uint64_t most = files_most();
    if (l.of[LIMIT_FILES] > most)
        l.of[LIMIT_FILES] = most;
    return l;
}

void limits_take_files(uint64_t files_max)
{
    struct rlimit l;
    if (files_max == 0 || getrlimit(RLIMIT_NOFILE, &l) != 0)
        return;
    l.rlim_max = files_max < l.rlim_max ? files_max : l.rlim_max;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l); /* lowering cannot fail */
}

const char *limit_text(const struct limit_hit *hit, char text[LIMIT_TEXT_SIZE])
{
    const struct kind *kind = &kinds[hit->limit];
    (void)snprintf(text, LIMIT_TEXT_SIZE, "%" PRIu64 " %s, %s is %" PRIu64, hit->found, kind->unit,
                   kind->setting, hit->allowed);
    return text;
}
