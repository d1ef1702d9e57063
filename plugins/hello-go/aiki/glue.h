/* glue.h - what aiki.go asks of glue.c. Texts and payloads are borrowed until the call returns. */
#ifndef GLUE_H
#define GLUE_H

#include <aiki/plugin.h>

enum { GO_WORKFLOWS_MAX = 8, GO_TASKS_MAX = 64, GO_STEPS_MAX = 256 };

/* One stay of a run: the steps its code has begun, in the order it asks for them. */
struct go_run {
    aiki_run *run;
    aiki_error *err;
    uint32_t step, waits_for;
    aiki_future futures[GO_STEPS_MAX];
};

/* Names live as long as the process. false: over the limit. */
void go_plugin(char *name, char *version);
bool go_add_workflow(char *name, char *version);
bool go_add_task(char *name);

/* The next step. AIKI_PENDING: not done. */
aiki_status go_call(struct go_run *r, char *name, void *input, uint64_t size_bytes,
                    aiki_view *ret_output);
aiki_status go_sleep(struct go_run *r, char *name, int64_t duration_ms);

aiki_status go_run_output(struct go_run *r, void *output, uint64_t size_bytes);
aiki_status go_run_fail(struct go_run *r, char *code, char *message);
aiki_status go_task_output(aiki_call *call, void *output, uint64_t size_bytes);
aiki_status go_task_fail(aiki_call *call, char *code, char *message, bool is_final);

#endif
