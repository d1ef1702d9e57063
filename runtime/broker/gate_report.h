/* broker/gate_report.h - what a replay gate found, as it is shown. [loop] */
#ifndef BROKER_GATE_REPORT_H
#define BROKER_GATE_REPORT_H

#include "broker/gate.h"

/* One run that does not fit. */
struct finding {
    struct aiki_id run;
    uint8_t last_build[BUILD_BYTES];
    aiki_view workflow, version;
    uint64_t steps; /* recorded outcomes that fitted before the one that does not */
    aiki_view error;
};

/* As one map. */
void finding_write(aiki_writer *w, const struct finding *f);
/* {"policy", "open", "replayed", "move", "stay", "crashed", "unknown", "took_ms", "findings"};
 * findings: maps, concatenated. */
void gate_report_write(aiki_writer *w, enum gate_policy policy, const struct gate_result *result,
                       aiki_view findings, uint64_t finding_count);
/* The same to people, on stdout. */
void gate_report_print(aiki_view report);
/* To the log, a line for the whole and one for each of the first findings. */
void gate_report_log(const char *label, const struct gate_result *result);

#endif
