/* fake_host.h - runs a plugin's workflows in one go, to test plugins without the engine.
 *
 * Tasks run where they are started and are retried at once; sleeps take no time; signals come
 * from a queue filled beforehand. Everything lives until fake_host_destroy. [one thread]
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <aiki/plugin.h>

struct fake_host;

struct fake_host *fake_host_create(const aiki_plugin_def *def);
void fake_host_destroy(struct fake_host *h);

/* Queue a signal; name and payload are copied. */
void fake_host_signal(struct fake_host *h, const char *name, aiki_view payload);
/* Run a workflow from its top. *ret_output is empty when it set none. err is filled on failure,
 * from the function or from fail(). */
aiki_status fake_host_run(struct fake_host *h, const char *workflow, aiki_view input,
                          aiki_view *ret_output, aiki_error *err);
/* Run one attempt of a task on its own. */
aiki_status fake_host_task(struct fake_host *h, const char *task, aiki_view input,
                           uint32_t attempt, aiki_view *ret_output, aiki_error *err);

/* What happened so far. */
uint32_t fake_host_attempts(const struct fake_host *h);
int64_t fake_host_slept_ms(const struct fake_host *h);
/* Let the n-th allocation of run and attempt memory from now on fail, once; 0 = none does. */
void fake_host_fail_alloc(struct fake_host *h, uint32_t nth);

#endif
