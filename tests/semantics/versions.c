/* versions.c - two versions of one workflow in one plugin.
 *
 *   versions {}      waits for the signal "go" and answers which version executed it
 */
#include <aiki/plugin.h>

static aiki_status answer(aiki_run *run, const char *version, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
    aiki_mp_str(&w, version);
    return aiki_output(run, &w, err);
}

static aiki_status versions_1(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input;
    return answer(run, "one", err);
}

static aiki_status versions_2(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input;
    return answer(run, "two", err);
}

AIKI_PLUGIN("versions", "2.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("versions", "1.0.0", versions_1),
                           AIKI_WORKFLOW("versions", "2.0.0", versions_2)),
            AIKI_NO_TASKS);
