/* children.c - a workflow that runs other workflows.
 *
 *   children {"naps": [MS...], "how": "await"|"detach"|"leave"}
 *
 * Starts one run of "sleeping", which is in another plugin, for each nap. It waits for all of them,
 * lets them go and answers their ids, or ends at once and leaves them to their close policy.
 */
#include <string.h>

#include <aiki/record.h>

enum { CHILDREN_MAX = 200 };

#define CHILDREN(F, R)                                                          \
    F(R, list(i64), naps, AIKI_REQUIRED, AIKI_LENGTH(1, CHILDREN_MAX))          \
    F(R, str, how, AIKI_REQUIRED, AIKI_ONE_OF("await|detach|leave"))
AIKI_RECORD(children_input, CHILDREN);
#define NAP(F, R) F(R, i64, ms, AIKI_REQUIRED)
AIKI_RECORD(nap, NAP);
#define IDS(F, R) F(R, list(str), ids, AIKI_REQUIRED)
AIKI_RECORD(ids, IDS);

static aiki_status write_nap(aiki_run *run, int64_t ms, aiki_view *ret, aiki_error *err)
{
    const struct nap nap = {ms};
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(nap_encode(&nap, &w, err));
    *ret = aiki_writer_view(&w);
    return AIKI_OK;
}

static aiki_status detach(aiki_run *run, aiki_view nap, const char **ret_id, aiki_error *err)
{
    char id[AIKI_CHILD_ID_SIZE];
    AIKI_TRY(aiki_child_detach(run, "sleeping", NULL, nap, NULL, id, err));
    *ret_id = aiki_format(run, "%s", id);
    return AIKI_OK;
}

static aiki_status children(aiki_run *run, const struct children_input *in, struct ids *out,
                            aiki_error *err)
{
    const char **ids = (const char **)aiki_alloc(run, CHILDREN_MAX * sizeof(*ids));
    aiki_future futures[CHILDREN_MAX];
    const bool detached = strcmp(in->how, "detach") == 0;

    if (ids == NULL)
        return aiki_run_fail(run, "NOMEM", "no memory for the ids");
    for (uint64_t i = 0; i < in->naps_count; i++) {
        aiki_view nap;
        AIKI_TRY(write_nap(run, in->naps[i], &nap, err));
        if (detached)
            AIKI_TRY(detach(run, nap, &ids[i], err));
        else
            AIKI_TRY(aiki_child_start(run, "sleeping", NULL, nap, NULL, &futures[i], err));
    }
    out->ids = ids;
    out->ids_count = detached ? in->naps_count : 0;
    if (strcmp(in->how, "await") == 0)
        return aiki_await_all(run, futures, (uint32_t)in->naps_count, err);
    return detached ? AIKI_OK : aiki_sleep(run, "a-moment", 100, err);
}
AIKI_WORKFLOW_TYPED(children, "children", "1.0.0", children_input, ids);

AIKI_PLUGIN("children", "1.0.0", AIKI_WORKFLOWS(children_workflow), AIKI_NO_TASKS);
