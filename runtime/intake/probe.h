/* intake/probe.h - have a checked copy loaded once, by a process of its own. [any, blocks]
 *
 *   ours                                    "aiki-child --probe 3" (child/probe.h)
 *   PROBE(path, token)  ------------------>  limits, dlopen, entry function, tables
 *   <------ PROBE_STEP... PROBED(token, descriptor) or REFUSED, and it is killed
 *
 * Only the token makes an answer one: a constructor that calls exit(0) ends the process without it.
 * What it prints is kept for the message of a refusal. Limits: PROBE_MS, PROBE_CPU_S, PROBE_OUTPUT_BYTES_MAX
 * printed, PROBE_ANSWER_BYTES_MAX answered, those of the plugin's process, and those of child/probe.h.
 */
#ifndef INTAKE_PROBE_H
#define INTAKE_PROBE_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#include "base/limit.h"
#include "wire/descriptor.h"

enum {
    PROBE_MS = 5000,
    PROBE_CPU_S = 2,
    PROBE_LOOK_MS = 20, /* so often is looked at what it uses, and once when it has answered */
    PROBE_OUTPUT_BYTES_MAX = 64 * 1024,
    PROBE_ANSWER_BYTES_MAX = DESCRIPTOR_BYTES_MAX + 256 * 1024
};

struct probe_answer {
    aiki_writer bytes;   /* owned; the views are into it */
    aiki_view descriptor;
    aiki_view entries;   /* array of [workflow@version, offset of its function or 0]; of tasks the name is empty */
};

void probe_answer_init(struct probe_answer *a);
void probe_answer_deinit(struct probe_answer *a);

/* Borrowed for the call. */
struct probe_options {
    const char *executable; /* of aiki-child */
    const char *path;       /* of the copy */
    aiki_view sandbox;      /* that of the plugin, base/sandbox.h */
    struct limits limits;   /* of the process that will serve it: memory, threads and descriptors hold here */
};

/* What the process says it is refused for, or LOAD_CRASHED, LOAD_EXITED, LOAD_LIMIT,
 * LOAD_TIMEOUT, LOAD_PRINTS, LOAD_STARTS_PROCESS, LOAD_REACHES_OUT, SANDBOX_REFUSED, SPAWN. */
aiki_status probe_run(const struct probe_options *options, struct probe_answer *ret, aiki_error *err);

#endif
