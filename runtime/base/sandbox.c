/* sandbox.c - see sandbox.h. */
#include "base/sandbox.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/percent.h"
#include "base/utf8.h"
#include "wire/error.h"

/* ---- words ----------------------------------------------------------------------------------- */

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

enum { MODE_DECLARED = SANDBOX_ON + 1 };

/* What stands behind a mode, or what a plugin declares. */
struct needs {
    bool network, processes, modes;
    struct sandbox_path paths[SANDBOX_PATHS_MAX];
    unsigned path_count;
};

/* One entry, and the declaration it is applied to. */
struct reading {
    unsigned mode;
    bool bounded;  /* `ceiling` is more than what was left out */
    bool declared; /* `own` was given */
    struct needs granted, ceiling, own;
};

static bool parse_mode(aiki_view word, unsigned *ret)
{
    static const char *const names[] = {[SANDBOX_OFF] = "off",
                                        [SANDBOX_TRY] = "try",
                                        [SANDBOX_ON] = "on",
                                        [MODE_DECLARED] = "declared"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (view_is(word, names[i])) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool parse_path(aiki_view word, struct sandbox_path *ret)
{
    static const char *const kinds[] = {"read:", "write:"};
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        size_t size = strlen(kinds[i]);
        if (word.size_bytes <= size || memcmp(word.data, kinds[i], size) != 0)
            continue;
        ret->write = i == 1;
        return word.data[size] == '/' &&
               percent_decode((const char *)word.data + size, (size_t)word.size_bytes - size,
                              ret->text, sizeof(ret->text));
    }
    return false;
}

static bool parse_need(aiki_view word, struct needs *n)
{
    bool *flag = view_is(word, "network")     ? &n->network
                 : view_is(word, "processes") ? &n->processes
                 : view_is(word, "modes")     ? &n->modes
                                              : NULL;
    if (flag != NULL) {
        *flag = true;
        return true;
    }
    if (n->path_count == SANDBOX_PATHS_MAX || !parse_path(word, &n->paths[n->path_count]))
        return false;
    n->path_count++;
    return true;
}

/* The list that a word of a `declared` entry belongs to, and the word without its sign. */
static struct needs *list_of(struct reading *r, aiki_view *word)
{
    if (r->mode != MODE_DECLARED)
        return &r->granted;
    if (word->data[0] != '+') {
        r->bounded = true;
        return &r->ceiling;
    }
    *word = (aiki_view){word->data + 1, word->size_bytes - 1};
    return &r->granted;
}

static bool parse_entry(aiki_view entry, struct reading *r)
{
    aiki_view word;
    if (!next_word(&entry, &word))
        return true;
    if (!parse_mode(word, &r->mode))
        return false;
    while (next_word(&entry, &word)) {
        struct needs *n = list_of(r, &word);
        bool nothing = n == &r->ceiling && view_is(word, "none");
        if (!nothing && !parse_need(word, n))
            return false;
    }
    return true;
}

static bool parse_own(aiki_view needs, struct reading *r)
{
    aiki_view word;
    r->declared = true;
    while (next_word(&needs, &word))
        if (!view_is(word, "none") && !parse_need(word, &r->own))
            return false;
    return true;
}

/* ---- what follows from both ------------------------------------------------------------------ */

static void add_paths(struct sandbox_path *to, unsigned *count, const struct needs *n, bool declared)
{
    for (unsigned i = 0; i < n->path_count; i++) {
        to[*count] = n->paths[i];
        to[(*count)++].declared = declared;
    }
}

/* Under `declared` without a declaration the ceiling is what the plugin has, and without one either it has
 * no sandbox at all. */
static void resolve(const struct reading *r, struct sandbox *ret)
{
    bool own = r->mode == MODE_DECLARED && r->declared;
    const struct needs *n = own ? &r->own : &r->ceiling;
    ret->bounded = own && r->bounded;
    ret->mode = r->mode != MODE_DECLARED ? (enum sandbox_mode)r->mode
                : own || r->bounded      ? SANDBOX_ON
                                         : SANDBOX_OFF;
    ret->network = r->granted.network || (n->network && (!ret->bounded || r->ceiling.network));
    ret->processes = r->granted.processes || (n->processes && (!ret->bounded || r->ceiling.processes));
    ret->modes = r->granted.modes || (n->modes && (!ret->bounded || r->ceiling.modes));
    add_paths(ret->paths, &ret->path_count, &r->granted, false);
    add_paths(ret->paths, &ret->path_count, n, own);
    if (!ret->bounded)
        return;
    add_paths(ret->within, &ret->within_count, &r->granted, false);
    add_paths(ret->within, &ret->within_count, &r->ceiling, false);
}

/* The needs behind the word "as"; *entry is what stands before it. */
static bool split(aiki_view *entry, aiki_view *ret_needs)
{
    aiki_view rest = *entry, word;
    while (next_word(&rest, &word)) {
        if (!view_is(word, "as"))
            continue;
        entry->size_bytes = (uint64_t)(word.data - entry->data);
        *ret_needs = rest;
        return true;
    }
    return false;
}

bool sandbox_parse(aiki_view text, struct sandbox *ret)
{
    struct reading r = {.mode = SANDBOX_OFF};
    aiki_view needs;
    *ret = (struct sandbox){.mode = SANDBOX_OFF};
    if (split(&text, &needs) && !parse_own(needs, &r))
        return false;
    if (!parse_entry(text, &r))
        return false;
    resolve(&r, ret);
    return true;
}

void sandbox_write(aiki_writer *w, aiki_view entry, aiki_view needs)
{
    aiki_mp_raw(w, entry.data, entry.size_bytes);
    if (needs.size_bytes == 0)
        return;
    aiki_mp_raw(w, " as ", 4);
    aiki_mp_raw(w, needs.data, needs.size_bytes);
}

/* ---- declarations ---------------------------------------------------------------------------- */

/* Nor what a terminal or a log would take for something else: it may be shown. */
static bool is_plain_path(const char *path)
{
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return false;
        size_t part = *at == '/' ? strcspn(at + 1, "/") : 1;
        if (*at == '/' && ((part == 0 && at[1] != '\0') || (part == 1 && at[1] == '.') ||
                           (part == 2 && at[1] == '.' && at[2] == '.')))
            return false;
    }
    return utf8_is_valid(view_of(path));
}

aiki_status needs_check(aiki_view needs, aiki_error *err)
{
    struct needs n = {.path_count = 0};
    aiki_view word;
    for (uint64_t i = 0; i < needs.size_bytes; i++)
        if (needs.data[i] < 0x20 || needs.data[i] > 0x7e)
            return error_set(err, AIKI_INVALID, "a byte of 0x%02x at %u", needs.data[i], (unsigned)i);
    while (next_word(&needs, &word)) {
        if (view_is(word, "none"))
            continue;
        unsigned before = n.path_count;
        if (!parse_need(word, &n) ||
            (n.path_count > before && !is_plain_path(n.paths[before].text)))
            return error_set(err, AIKI_INVALID, "\"%.*s\"",
                             (int)(word.size_bytes < 60 ? word.size_bytes : 60),
                             (const char *)word.data);
    }
    return AIKI_OK;
}

static bool is_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    while (size > 0 && folder[size - 1] == '/')
        size--;
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static bool has_need(const struct needs *n, aiki_view word)
{
    struct sandbox_path path;
    if (view_is(word, "none"))
        return true;
    if (!parse_path(word, &path))
        return (n->network && view_is(word, "network")) ||
               (n->processes && view_is(word, "processes")) || (n->modes && view_is(word, "modes"));
    for (unsigned i = 0; i < n->path_count; i++)
        if (is_below(path.text, n->paths[i].text) && (n->paths[i].write || !path.write))
            return true;
    return false;
}

/* The first of `needs` in neither list. */
static aiki_view first_beyond(aiki_view needs, const struct needs *a, const struct needs *b)
{
    aiki_view word;
    while (next_word(&needs, &word))
        if (!has_need(a, word) && !has_need(b, word))
            return word;
    return (aiki_view){NULL, 0};
}

aiki_view needs_beyond(aiki_view needs, aiki_view other)
{
    struct reading r = {.mode = SANDBOX_OFF};
    (void)parse_own(other, &r); /* checked when it came */
    return first_beyond(needs, &r.own, &r.own);
}

enum sandbox_verdict sandbox_judge(aiki_view entry, aiki_view needs, aiki_view *ret_need)
{
    struct reading r = {.mode = SANDBOX_OFF};
    (void)parse_entry(entry, &r); /* checked when it was set */
    bool open = r.mode == MODE_DECLARED && !r.bounded;
    if (needs.size_bytes == 0)
        return open ? SANDBOX_UNDECLARED : SANDBOX_GIVES;
    if (r.mode == SANDBOX_OFF || open)
        return SANDBOX_GIVES;
    *ret_need = first_beyond(needs, &r.granted, &r.ceiling);
    if (ret_need->size_bytes == 0)
        return SANDBOX_GIVES;
    return r.mode == MODE_DECLARED ? SANDBOX_FORBIDS : SANDBOX_LACKS;
}

/* ---- entries --------------------------------------------------------------------------------- */

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
    struct entry e;
    for (const char *at = setting, *from = at; next_entry(&at, &e); from = at) {
        struct reading r = {.mode = SANDBOX_OFF};
        aiki_view rest = e.words, word;
        if (next_word(&rest, &word) && parse_entry(e.words, &r))
            continue;
        return error_set(err, AIKI_INVALID,
                         "sandbox must be off, on or try, or declared, with needs behind it "
                         "(network, processes, modes, read:/PATH, write:/PATH; %d paths at most), and FILE=... "
                         "for some files, with commas between, found \"%.*s\"",
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
    struct entry e;
    while (next_entry(&setting, &e)) {
        struct reading r = {.mode = SANDBOX_OFF};
        if (!parse_entry(e.words, &r))
            continue;
        enum sandbox_mode mode = r.mode == MODE_DECLARED ? SANDBOX_ON : (enum sandbox_mode)r.mode;
        most = mode > most ? mode : most;
    }
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
                           "setting sandbox says of its file (\"+%s\" beside declared)",
                           calls[i].name, calls[i].need, calls[i].need);
        else
            (void)snprintf(text, SANDBOX_EXPLAIN_SIZE,
                           "calls %s, which no sandbox allows; do without it", calls[i].name);
        return text;
    }
    (void)snprintf(text, SANDBOX_EXPLAIN_SIZE,
                   "makes system call %u, which its sandbox refuses; do without it", system_call);
    return text;
}
