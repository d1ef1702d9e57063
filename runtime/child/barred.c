/* barred.c - why this build does not execute something: it ended its process too often, or is not defined.
 *
 * Each error says what to do, names the build for `aiki plugins unquarantine`, and is the reason
 * with which the run goes to another build or is blocked.
 */
#include "child/run_impl.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/fault.h"
#include "child/nearest.h"
#include "wire/error.h"
#include "wire/keys.h"

enum { BUILD_SHOWN_BYTES = 6, TASK_SHOWN_BYTES = 40 };

struct build_text {
    char text[2 * BUILD_SHOWN_BYTES + 1];
};

static struct build_text build_text(const struct run *r)
{
    struct build_text b;

    for (int i = 0; i < BUILD_SHOWN_BYTES; i++)
        snprintf(b.text + 2 * i, 3, "%02x", r->child->build[i]);
    return b;
}

static int shown_bytes(aiki_view name, int bytes_max)
{
    return name.size_bytes < (uint64_t)bytes_max ? (int)name.size_bytes : bytes_max;
}

static void set_details(aiki_error *ret, const aiki_writer *details)
{
    if (details->status == AIKI_OK)
        ret->details = aiki_writer_view(details);
}

static void add_cause(struct run *r, aiki_error *err, aiki_view error)
{
    aiki_error *cause = run_alloc(r, sizeof(*cause));

    if (cause == NULL)
        return;
    *cause = (aiki_error)AIKI_ERROR_INIT;
    if (error_read(error, cause, run_alloc, r) == AIKI_OK)
        err->cause = cause;
}

void run_quarantine_error(struct run *r, bool workflow, aiki_view name, aiki_error *ret)
{
    aiki_writer details = run_writer(r);

    (void)error_code(ret, AIKI_CRASHED, "QUARANTINED",
                     "%s %.*s ended the processes of this build too often and is quarantined; serve a "
                     "build that is mended, or lift it: aiki plugins unquarantine %s",
                     workflow ? "workflow" : "task", shown_bytes(name, NAME_BYTES_MAX),
                     (const char *)name.data, build_text(r).text);
    aiki_mp_map(&details, 2);
    aiki_mp_str(&details, "workflow");
    aiki_mp_bool(&details, workflow);
    aiki_mp_str(&details, "name");
    aiki_mp_strn(&details, (const char *)name.data, (size_t)name.size_bytes);
    set_details(ret, &details);
}

/* The time says until when the server holds the run for another build. */
void run_spent_error(struct run *r, const struct step *s, aiki_error *ret)
{
    aiki_writer details = run_writer(r);

    (void)error_code(ret, AIKI_CRASHED, "TASK_CRASHED",
                     "task %.*s ended its process %llu times in this build, its crash budget; serve another "
                     "one that fits the run, or have this one try again: aiki plugins unquarantine %s",
                     shown_bytes(s->name, TASK_SHOWN_BYTES), (const char *)s->name.data,
                     (unsigned long long)s->crashes->count, build_text(r).text);
    aiki_mp_map(&details, 1);
    aiki_mp_str(&details, "crashed_at_ms");
    aiki_mp_int(&details, s->crashes->at_ms);
    set_details(ret, &details);
    add_cause(r, ret, s->crashes->error);
}

static bool is_untold(aiki_view error)
{
    aiki_error err = AIKI_ERROR_INIT;

    return error_read(error, &err, NULL, NULL) == AIKI_OK && strcmp(err.code, "CRASH_UNTOLD") == 0;
}

bool run_check_crashes(struct run *r)
{
    const struct journal *j = &r->replay.journal;
    aiki_error err;

    if (r->workflow->quarantined) {
        run_quarantine_error(r, true, view_of(r->workflow_name), &err);
        run_unfit(r, &err);
        return false;
    }
    if (j->crashes < CRASHES_DEFAULT)
        return true;
    (void)error_code(&err, AIKI_CRASHED, "WORKFLOW_CRASHED",
                     "%s %s ended its process %llu times; serve a build that is mended, or have "
                     "this one try again: aiki plugins unquarantine %s",
                     is_untold(j->crash_error) ? "something that nobody can tell in a run of" : "workflow", r->workflow_name,
                     (unsigned long long)j->crashes, build_text(r).text);
    add_cause(r, &err, j->crash_error);
    run_unfit(r, &err);
    return false;
}

/* ---- tasks that are not defined ------------------------------------------------------------ */

static const char *nearest_task(const struct plugin *p, aiki_view name)
{
    struct nearest n = nearest_begin(name);

    for (uint32_t i = 0; i < p->task_count; i++)
        nearest_try(&n, p->tasks[i].def.name);
    return n.found;
}

void run_undefined_error(struct run *r, const struct step *s, const char *words, aiki_error *ret)
{
    const struct plugin *p = &r->child->plugin;
    const char *nearest = nearest_task(p, s->name);
    aiki_writer details = run_writer(r);

    (void)error_code(ret, AIKI_NOT_FOUND, "TASK_UNKNOWN",
                     "build %s of plugin %.*s has no task %.*s%s%.*s; %s",
                     build_text(r).text, TASK_SHOWN_BYTES, p->name, shown_bytes(s->name, TASK_SHOWN_BYTES),
                     (const char *)s->name.data, nearest != NULL ? ", is it " : "", TASK_SHOWN_BYTES,
                     nearest != NULL ? nearest : "", words);
    aiki_mp_map(&details, nearest != NULL ? 3 : 2);
    aiki_mp_str(&details, "plugin");
    aiki_mp_str(&details, p->name);
    aiki_mp_str(&details, "task");
    aiki_mp_strn(&details, (const char *)s->name.data, (size_t)s->name.size_bytes);
    if (nearest != NULL) {
        aiki_mp_str(&details, "nearest");
        aiki_mp_str(&details, nearest);
    }
    set_details(ret, &details);
}

bool run_undefined(struct run *r)
{
    const struct step *s = replay_undefined(&r->replay);
    aiki_error err;

    if (s == NULL)
        return false;
    if (!r->child->gating && (r->acted || r->appends > 0)) {
        run_give_back(r); /* with that on record the next stay comes as far as this, and no further */
        fault_point(child_undefined_left);
        return true;
    }
    run_undefined_error(r, s, "serve a build that has it, and the run goes on", &err);
    run_unfit(r, &err);
    return true;
}
