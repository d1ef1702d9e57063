/* plugin.h - one loaded build: its tables, copied, checked and made searchable. [loop] */
#ifndef CHILD_PLUGIN_H
#define CHILD_PLUGIN_H

#include <aiki/plugin.h>

#include "replay/retry.h"
#include "wire/redact.h"
#include "wire/schema.h"

struct plugin_task {
    aiki_task_def def;
    struct schema *input, *output; /* owned; NULL: any value */
    struct task_policy policy;     /* of calls without options; its lists live as long as this */
    bool quarantined;              /* this build is not to execute it */
};

struct plugin_workflow {
    aiki_workflow_def def;
    struct schema *input, *output; /* owned; NULL: any value */
    struct retry retry;            /* of its runs, filled in: AIKI_RETRY_NEVER unless it asks */
    bool quarantined;
};

/* What plugin_load is about to do with the plugin's own code and data. */
enum plugin_step { PLUGIN_OPENING, PLUGIN_ASKING, PLUGIN_READING };

struct plugin {
    void (*on_step)(enum plugin_step step, void *arg); /* NULL, or set before plugin_load */
    void *on_step_arg;
    void *handle;
    const char *name; /* the plugin's own text */
    struct plugin_task *tasks;         /* owned, sorted by name */
    struct plugin_workflow *workflows; /* owned, sorted by name and version */
    uint32_t task_count, workflow_count;
    struct redact_names hidden; /* owned; of the fields that any of their schemas marks as personal data */
};

/* dlopen a private path that is never reused, ask for the table, check it, append its descriptor to
 * w. Codes: DLOPEN_FAILED, MISSING_LIBRARY, UNDEFINED_SYMBOL, ENTRY_MISSING, ENTRY_REFUSED, and those of
 * wire/descriptor.h. There is no unload: that is the end of the process. */
aiki_status plugin_load(struct plugin *p, const char *path, aiki_writer *w, aiki_error *err);
/* NULL: not in this plugin. */
const struct plugin_task *plugin_task_find(const struct plugin *p, const char *name);
const struct plugin_workflow *plugin_workflow_find(const struct plugin *p, const char *name,
                                                   const char *version);
/* Whether the task, or the workflow in all its versions, may be executed from now on. */
void plugin_quarantine(struct plugin *p, aiki_view name, bool workflow, bool on);

#endif
