/* sandbox.c - see sandbox.h. */
#include "base/sandbox.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/percent.h"
#include "wire/error.h"

/* ---- the setting --------------------------------------------------------------------------- */

static bool next_word(aiki_view *rest, aiki_view *ret)
{
    while (rest->size_bytes > 0 && rest->data[0] == ' ')
        *rest = (aiki_view){rest->data + 1, rest->size_bytes - 1};
    uint64_t size = 0;
    while (size < rest->size_bytes && rest->data[size] != ' ')
        size++;
    *ret = (aiki_view){rest->data, size};
    *rest = (aiki_view){rest->data + size, rest->size_bytes - size};
    return size > 0;
}

static bool parse_mode(aiki_view word, enum sandbox_mode *ret)
{
    static const char *const names[] = {
        [SANDBOX_OFF] = "off", [SANDBOX_TRY] = "try", [SANDBOX_ON] = "on"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (view_is(word, names[i])) {
            *ret = (enum sandbox_mode)i;
            return true;
        }
    }
    return false;
}

static bool parse_path(aiki_view word, struct sandbox *s)
{
    static const char *const kinds[] = {"read:", "write:"};
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        size_t size = strlen(kinds[i]);
        if (word.size_bytes <= size || memcmp(word.data, kinds[i], size) != 0)
            continue;
        if (word.data[size] != '/' || s->path_count == SANDBOX_PATHS_MAX)
            return false;
        struct sandbox_path *p = &s->paths[s->path_count++];
        p->write = i == 1;
        return percent_decode((const char *)word.data + size, (size_t)word.size_bytes - size,
                              p->text, sizeof(p->text));
    }
    return false;
}

bool sandbox_parse(aiki_view entry, struct sandbox *ret)
{
    aiki_view word;
    *ret = (struct sandbox){.mode = SANDBOX_OFF};
    if (!next_word(&entry, &word))
        return true;
    if (!parse_mode(word, &ret->mode))
        return false;
    while (next_word(&entry, &word)) {
        bool *flag = view_is(word, "network")     ? &ret->network
                     : view_is(word, "processes") ? &ret->processes
                     : view_is(word, "modes")     ? &ret->modes
                                                  : NULL;
        if (flag != NULL)
            *flag = true;
        else if (!parse_path(word, ret))
            return false;
    }
    return true;
}

struct entry {
    aiki_view file; /* empty: all others */
    aiki_view words;
};

/* False at the end. */
static bool next_entry(const char **at, struct entry *ret)
{
    if (**at == '\0')
        return false;
    size_t size = strcspn(*at, ","), begin = strspn(*at, " ");
    const char *equals = memchr(*at, '=', size);
    size_t name = equals != NULL ? (size_t)(equals - *at) : begin;
    ret->words = equals != NULL
                     ? (aiki_view){(const uint8_t *)equals + 1, size - name - 1}
                     : (aiki_view){(const uint8_t *)*at, size};
    while (name > begin && (*at)[name - 1] == ' ')
        name--;
    ret->file = (aiki_view){(const uint8_t *)*at + begin, name > begin ? name - begin : 0};
    *at += size + ((*at)[size] == ',');
    return true;
}

aiki_status sandbox_check(const char *setting, aiki_error *err)
{
    struct sandbox s;
    struct entry e;
    for (const char *at = setting, *from = at; next_entry(&at, &e); from = at) {
        aiki_view rest = e.words, word;
        if (next_word(&rest, &word) && sandbox_parse(e.words, &s))
            continue;
        return error_set(err, AIKI_INVALID,
                         "sandbox must be off, on or try, with needs behind it (network, processes, "
                         "modes, read:/PATH, write:/PATH; %d paths at most), and FILE=... for some "
                         "files, with commas between, found \"%.*s\"",
                         SANDBOX_PATHS_MAX, (int)strcspn(from, ","), from);
    }
    return AIKI_OK;
}

aiki_view sandbox_of(const char *setting, const char *path)
{
    const char *slash = strrchr(path, '/');
    return sandbox_of_plugin(setting, slash != NULL ? slash + 1 : path);
}

aiki_view sandbox_of_plugin(const char *setting, const char *file)
{
    aiki_view of_all = {NULL, 0};
    struct entry e;
    while (setting != NULL && next_entry(&setting, &e)) {
        if (view_is(e.file, file))
            return e.words;
        if (e.file.size_bytes == 0)
            of_all = e.words;
    }
    return of_all;
}

enum sandbox_mode sandbox_strictest(const char *setting)
{
    enum sandbox_mode most = SANDBOX_OFF;
    struct sandbox s;
    struct entry e;
    while (next_entry(&setting, &e))
        if (sandbox_parse(e.words, &s) && s.mode > most)
            most = s.mode;
    return most;
}

/* ---- what is refused ----------------------------------------------------------------------- */

static const struct {
    uint32_t number;
    const char *name, *need;
} calls[] = {
#define CALL(name, need, otherwise) {__NR_##name, #name, need},
#include "base/sandbox_calls.def"
#undef CALL
};

const char *sandbox_explain(uint32_t system_call, char text[SANDBOX_EXPLAIN_SIZE])
{
    for (unsigned i = 0; i < ARRAY_COUNT(calls); i++) {
        if (calls[i].number != system_call)
            continue;
        if (calls[i].need != NULL)
            (void)snprintf(text, SANDBOX_EXPLAIN_SIZE,
                           "calls %s, which its sandbox refuses; if it is to, add \"%s\" to what the "
                           "setting sandbox says of its file", calls[i].name, calls[i].need);
        else
            (void)snprintf(text, SANDBOX_EXPLAIN_SIZE,
                           "calls %s, which no sandbox allows; do without it", calls[i].name);
        return text;
    }
    (void)snprintf(text, SANDBOX_EXPLAIN_SIZE,
                   "makes system call %u, which its sandbox refuses; do without it", system_call);
    return text;
}
