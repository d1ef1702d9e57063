/* wire/descriptor.h - what a plugin build offers, as data: READY and REGISTER carry it. [any]
 *
 *   {"name", "version", "language", "toolchain", "abi": [major, minor],
 *    "workflows": [{"name", "version", "summary", "input": schema|nil, "output": schema|nil,
 *                   "retry": map of retry.h, "run_timeout_ms", "task_start_to_close_ms",
 *                   "schema_mode", "wait_timeout_ms"}],
 *    "tasks":     [{"name", "flags", "summary", "retry": map of retry.h, "input", "output",
 *                   "start_to_close_ms", "schedule_to_start_ms", "schedule_to_close_ms",
 *                   "heartbeat_ms", "crashes_max", "schema_mode"}]}
 *
 * The intake of a runtime adds "warnings": [error map], what speaks against the build, and "needs": text, what its
 * file declares to need (AIKI_NEEDS); without the key it declares nothing.
 * Unknown keys are skipped, so that both ends may be of different minors.
 */
#ifndef WIRE_DESCRIPTOR_H
#define WIRE_DESCRIPTOR_H

#include "wire/retry.h"

enum {
    DESCRIPTOR_BYTES_MAX = 4 * 1024 * 1024,
    DESCRIPTOR_WORKFLOWS_MAX = 256,
    DESCRIPTOR_TASKS_MAX = 1024,
    DESCRIPTOR_TEXT_BYTES_MAX = 512 /* a summary, a toolchain */
};

/* Check a plugin's tables and append the descriptor. Each refusal has a code of its own:
 *   AIKI_UNSUPPORTED  ABI_MAJOR STRUCT_SIZE BAD_STRIDE BAD_FLAGS BAD_MODE
 *   AIKI_INVALID      NULL_TABLE NULL_HANDLER BAD_NAME BAD_VERSION BAD_TEXT BAD_RETRY BAD_TIMEOUT
 *                     BAD_SCHEMA DUPLICATE_NAME EMPTY_PLUGIN
 *   AIKI_LIMIT        TOO_MANY, and LIMIT over DESCRIPTOR_BYTES_MAX
 * w is cut back on failure. */
aiki_status descriptor_write(aiki_writer *w, const aiki_plugin_def *def, aiki_error *err);

/* Views borrow from the bytes that were read. */
struct descriptor {
    aiki_view name, version, language, toolchain;
    uint64_t abi_major, abi_minor;
    aiki_view workflows, tasks; /* arrays; for the iterators below */
    uint64_t workflow_count, task_count;
    aiki_view warnings; /* array of error maps, or empty */
    aiki_view needs;    /* text; empty = it declares nothing */
};

struct descriptor_workflow {
    aiki_view encoded; /* the entry itself, to be kept and read again */
    aiki_view name, version, summary;
    aiki_view input, output; /* schemas; empty = any value */
    struct retry retry;      /* of the run; AIKI_RETRY_DEFAULT = never */
    int64_t run_timeout_ms, task_start_to_close_ms, wait_timeout_ms; /* 0 = none */
    uint64_t schema_mode; /* AIKI_SCHEMA_* */
};

struct descriptor_task {
    aiki_view name, summary;
    uint64_t flags;
    struct retry retry;
    aiki_view input, output; /* schemas; empty = any value */
    int64_t start_to_close_ms, schedule_to_start_ms, schedule_to_close_ms, heartbeat_ms;
    uint64_t crashes_max; /* 0 = the default */
    uint64_t schema_mode; /* AIKI_SCHEMA_* */
};

/* Read a descriptor that came from elsewhere and check all of it: after AIKI_OK every entry and
 * schema in it is sound. AIKI_CORRUPT or AIKI_INVALID with what is wrong. */
aiki_status descriptor_read(aiki_view bytes, struct descriptor *ret, aiki_error *err);

/* Append a descriptor with what the intake knows of the build: warnings (an array; empty: none), and the needs
 * that its file declares (text; empty: it declares nothing). AIKI_CORRUPT when it is no descriptor. */
aiki_status descriptor_complete(aiki_writer *w, aiki_view descriptor, aiki_view warnings, aiki_view needs);

/* for (descriptor_workflows(&d, &r); descriptor_next_workflow(&r, &w);) */
void descriptor_workflows(const struct descriptor *d, aiki_reader *ret_reader);
bool descriptor_next_workflow(aiki_reader *r, struct descriptor_workflow *ret);
/* One entry on its own. AIKI_CORRUPT when it is none; its schemas are not looked into. */
aiki_status descriptor_read_workflow(aiki_view entry, struct descriptor_workflow *ret,
                                     aiki_error *err);
void descriptor_tasks(const struct descriptor *d, aiki_reader *ret_reader);
bool descriptor_next_task(aiki_reader *r, struct descriptor_task *ret);

/* version empty = the newest. AIKI_NOT_FOUND. */
aiki_status descriptor_find_workflow(const struct descriptor *d, aiki_view name, aiki_view version,
                                     struct descriptor_workflow *ret, aiki_error *err);

#endif
