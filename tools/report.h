/* report.h - tell how a run stands or ended, the same way from every command. [main thread] */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include "cli.h"

/* What is known about a run before its outcome. Borrowed. */
struct report {
    const char *run_id;
    const char *workflow; /* NULL: not shown */
    bool has_created, created;
};

/* Only started: the run id alone on stdout, so that scripts can keep it; with --json an object. */
int report_started(struct cli *cli, const struct report *r);
/* Wait and tell: the output on stdout, or the error on stderr; with --json one object with state
 * and output or error. timeout_ms as in aiki_client_wait. The answer is the exit code. */
int report_wait(struct cli *cli, const struct report *r, int64_t timeout_ms);

#endif
