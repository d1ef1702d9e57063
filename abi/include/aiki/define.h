/* aiki/define.h - fill the plugin's tables, in C11 and in C++17.
 *
 *   AIKI_PLUGIN("shop", "1.4.0",
 *               AIKI_WORKFLOWS(AIKI_WORKFLOW("refund", "1.0.0", refund)),
 *               AIKI_TASKS(AIKI_TASK("repay", repay, AIKI_BACKOFF(5, 200, 10000)),
 *                          AIKI_TASK("notify", notify)));
 *
 * Options follow the function, each at most once. A plugin without tasks says AIKI_NO_TASKS.
 * Included by aiki/plugin.h. since 1.0
 */
#ifndef AIKI_DEFINE_H
#define AIKI_DEFINE_H

#include <aiki/plugin.h>

/* A struct from `member = value` settings. C has designated initializers; C++17 has not, but
 * assignments in a lambda amount to the same and are still evaluated by the compiler. */
#ifdef __cplusplus
#define AIKI_EXTERN_C_ extern "C"
#define AIKI_EXTERN_DATA_ extern "C"
#define AIKI_LANGUAGE_ "c++"
#define AIKI_SET_(member) d_.member
#define AIKI_INITIALIZER_(type, ...) [] { type d_ = type(); __VA_ARGS__; return d_; }()
#define AIKI_VALUE_(type, ...) AIKI_INITIALIZER_(type, __VA_ARGS__)
#else
#define AIKI_EXTERN_C_
#define AIKI_EXTERN_DATA_ extern
#define AIKI_LANGUAGE_ "c"
#define AIKI_SET_(member) .member
#define AIKI_INITIALIZER_(type, ...) {__VA_ARGS__}
#define AIKI_VALUE_(type, ...) ((type){__VA_ARGS__})
#endif

#if defined(__GNUC__) || defined(__clang__)
#define AIKI_UNUSED_ __attribute__((unused))
/* One copy in a plugin, and no guesses of the compiler about a table it can see. */
#define AIKI_ONE_COPY_ __attribute__((unused, noinline))
#else
#define AIKI_UNUSED_
#define AIKI_ONE_COPY_
#endif

/* ---- options ----------------------------------------------------------------------------- */

/* One line for people, shown by `aiki workflows show`. */
#define AIKI_SUMMARY(text) AIKI_SET_(summary) = (text)
/* See AIKI_TASK_INLINE: returns within a millisecond and never blocks. */
#define AIKI_INLINE AIKI_SET_(flags) = AIKI_TASK_INLINE
/* The first failure is the last. */
#define AIKI_NO_RETRY AIKI_SET_(retry.kind) = AIKI_RETRY_NEVER
/* `attempts` in all, the same delay between any two. */
#define AIKI_FIXED_DELAY(attempts, delay)           \
    AIKI_SET_(retry.kind) = AIKI_RETRY_FIXED,       \
    AIKI_SET_(retry.attempts_max) = (attempts),     \
    AIKI_SET_(retry.delay_ms) = (delay)
/* `attempts` in all; the delay doubles from `delay` up to `delay_max` milliseconds. */
#define AIKI_BACKOFF(attempts, delay, delay_max)    \
    AIKI_SET_(retry.kind) = AIKI_RETRY_EXPONENTIAL, \
    AIKI_SET_(retry.attempts_max) = (attempts),     \
    AIKI_SET_(retry.factor_percent) = 200,          \
    AIKI_SET_(retry.delay_ms) = (delay),            \
    AIKI_SET_(retry.delay_ms_max) = (delay_max)

/* The lists below are arrays with a name and static storage: static const int64_t delays[] = {...};
 * The delays of the array in milliseconds, so one attempt more than it has elements. since 1.1 */
#define AIKI_DELAYS(array)                         \
    AIKI_SET_(retry.kind) = AIKI_RETRY_LIST,       \
    AIKI_SET_(retry.delays_ms) = (array),          \
    AIKI_SET_(retry.delay_count) = (uint32_t)(sizeof(array) / sizeof((array)[0]))
/* Together with one of the above: `percent` of each delay is left to chance. since 1.1 */
#define AIKI_JITTER(percent) AIKI_SET_(retry.jitter_percent) = (percent)
/* Codes after which there is no further attempt: static const char *const codes[]. since 1.1 */
#define AIKI_FINAL_CODES(array)             \
    AIKI_SET_(retry.final_codes) = (array), \
    AIKI_SET_(retry.final_code_count) = (uint32_t)(sizeof(array) / sizeof((array)[0]))

/* Of tasks; milliseconds, see aiki_task_def. since 1.1 */
#define AIKI_TIMEOUT_MS(ms) AIKI_SET_(start_to_close_ms) = (ms)
#define AIKI_SCHEDULE_TO_START_MS(ms) AIKI_SET_(schedule_to_start_ms) = (ms)
#define AIKI_SCHEDULE_TO_CLOSE_MS(ms) AIKI_SET_(schedule_to_close_ms) = (ms)
#define AIKI_HEARTBEAT_MS(ms) AIKI_SET_(heartbeat_ms) = (ms)
/* How often a call may end its process; see aiki_task_def. since 1.1 */
#define AIKI_CRASHES(max) AIKI_SET_(crashes_max) = (max)
/* See AIKI_TASK_AT_MOST_ONCE. since 1.1 */
#define AIKI_AT_MOST_ONCE AIKI_SET_(flags) = AIKI_TASK_AT_MOST_ONCE
/* See AIKI_TASK_ISOLATED. since 1.1 */
#define AIKI_ISOLATED AIKI_SET_(flags) = AIKI_TASK_ISOLATED

/* Of workflows, as are those of retries above; see aiki_workflow_def. since 1.1 */
#define AIKI_RUN_TIMEOUT_MS(ms) AIKI_SET_(run_timeout_ms) = (ms)
#define AIKI_TASK_TIMEOUT_MS(ms) AIKI_SET_(task_start_to_close_ms) = (ms)
#define AIKI_WAIT_TIMEOUT_MS(ms) AIKI_SET_(wait_timeout_ms) = (ms)

/* Of tasks and workflows: AIKI_SCHEMA(AIKI_SCHEMA_WARN). since 1.1 */
#define AIKI_SCHEMA(mode) AIKI_SET_(schema_mode) = (mode)

/* ---- entries ----------------------------------------------------------------------------- */

#define AIKI_TASK_SETTINGS_(task_name, ...)                       \
    AIKI_SET_(struct_size) = (uint32_t)sizeof(aiki_task_def),     \
    AIKI_SET_(retry.struct_size) = (uint32_t)sizeof(aiki_retry),  \
    AIKI_SET_(name) = (task_name),                                \
    AIKI_SET_(fn) = __VA_ARGS__
#define AIKI_WORKFLOW_SETTINGS_(workflow_name, workflow_version, ...) \
    AIKI_SET_(struct_size) = (uint32_t)sizeof(aiki_workflow_def),     \
    AIKI_SET_(retry.struct_size) = (uint32_t)sizeof(aiki_retry),      \
    AIKI_SET_(name) = (workflow_name),                                \
    AIKI_SET_(version) = (workflow_version),                          \
    AIKI_SET_(fn) = __VA_ARGS__

/* AIKI_TASK(name, fn, options...) */
#define AIKI_TASK(name, ...) AIKI_VALUE_(aiki_task_def, AIKI_TASK_SETTINGS_(name, __VA_ARGS__))
/* AIKI_WORKFLOW(name, version, fn, options...) */
#define AIKI_WORKFLOW(name, version, ...) \
    AIKI_VALUE_(aiki_workflow_def, AIKI_WORKFLOW_SETTINGS_(name, version, __VA_ARGS__))

/* The closing entry, not counted, lets a list be empty: C has no empty arrays. */
#define AIKI_WORKFLOWS(...) \
    {__VA_ARGS__, AIKI_VALUE_(aiki_workflow_def, AIKI_SET_(struct_size) = 0)}
#define AIKI_NO_TASKS {AIKI_VALUE_(aiki_task_def, AIKI_SET_(struct_size) = 0)}
#define AIKI_TASKS(...) {__VA_ARGS__, AIKI_VALUE_(aiki_task_def, AIKI_SET_(struct_size) = 0)}

/* ---- the plugin -------------------------------------------------------------------------- */

static inline void aiki_plugin_fill_(aiki_plugin_def *p, const char *name, const char *version,
                                     const char *language, const char *toolchain)
{
    p->struct_size = (uint32_t)sizeof(*p);
    p->abi_major = AIKI_ABI_MAJOR;
    p->abi_minor = AIKI_ABI_MINOR;
    p->name = name;
    p->version = version;
    p->language = language;
    p->toolchain = toolchain;
    p->workflow_stride = (uint32_t)sizeof(aiki_workflow_def);
    p->task_stride = (uint32_t)sizeof(aiki_task_def);
}

/* What the plugin reaches beyond its own memory, once in a plugin and at file level:
 *
 *   AIKI_NEEDS("network read:/etc/billing write:/var/lib/billing");
 *
 * Words with blanks between: network, processes (start some, send signals), modes (of files), read:PATH,
 * write:PATH (and read); absolute paths, folders with all below, %20 and %2C for blank and comma, at most 16
 * paths and 2047 bytes. AIKI_NEEDS("") needs nothing. Memory, threads, timers, system libraries and the plugin's own
 * file are not needs. A runtime reads it out of the file before it loads it; what comes of it is its operator's
 * word (setting sandbox). Other languages export a constant array of bytes of that name.
 * since 1.1 */
#define AIKI_NEEDS(text)                                      \
    AIKI_EXTERN_DATA_ AIKI_EXPORT const char aiki_needs_v1[]; \
    const char aiki_needs_v1[] = text

/* Defines the exported function. The lists are copied to static storage because entries may
 * be named objects (aiki/record.h), which C does not accept in a static initializer. */
#define AIKI_PLUGIN(plugin_name, plugin_version, workflow_list, task_list)                      \
    AIKI_EXTERN_C_ AIKI_EXPORT const aiki_plugin_def *aiki_plugin_v1(uint32_t, uint32_t);       \
    const aiki_plugin_def *aiki_plugin_v1(uint32_t host_abi_major, uint32_t host_abi_minor)     \
    {                                                                                           \
        const aiki_workflow_def workflows_[] = workflow_list;                                   \
        const aiki_task_def tasks_[] = task_list;                                               \
        enum {                                                                                  \
            workflow_count_ = sizeof(workflows_) / sizeof(workflows_[0]),                       \
            task_count_ = sizeof(tasks_) / sizeof(tasks_[0])                                    \
        };                                                                                      \
        static aiki_workflow_def kept_workflows_[workflow_count_];                              \
        static aiki_task_def kept_tasks_[task_count_];                                          \
        static aiki_plugin_def plugin_;                                                         \
        unsigned i_;                                                                            \
        (void)host_abi_major;                                                                   \
        (void)host_abi_minor;                                                                   \
        for (i_ = 0; i_ < (unsigned)workflow_count_; i_++)                                      \
            kept_workflows_[i_] = workflows_[i_];                                               \
        for (i_ = 0; i_ < (unsigned)task_count_; i_++)                                          \
            kept_tasks_[i_] = tasks_[i_];                                                       \
        aiki_plugin_fill_(&plugin_, plugin_name, plugin_version, AIKI_LANGUAGE_, __VERSION__);  \
        plugin_.workflows = kept_workflows_;                                                    \
        plugin_.workflow_count = (uint32_t)workflow_count_ - 1;                                 \
        plugin_.tasks = kept_tasks_;                                                            \
        plugin_.task_count = (uint32_t)task_count_ - 1;                                         \
        return &plugin_;                                                                        \
    }                                                                                           \
    AIKI_EXTERN_C_ const aiki_plugin_def *aiki_plugin_v1(uint32_t, uint32_t)

#endif
