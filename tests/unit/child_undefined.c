/* child_undefined.c - a plugin that was linked without what it calls. */
#include <aiki/plugin.h>

aiki_status nobody_has_this(aiki_call *call, aiki_view input);

static aiki_status nothing(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run;
    (void)input;
    (void)err;
    return AIKI_OK;
}

AIKI_PLUGIN("undefined", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("nothing", "1.0.0", nothing)),
            AIKI_TASKS(AIKI_TASK("nobody", nobody_has_this)));
