/* http/target.h - what a request line asks for: path segments and query parameters. [any]
 *
 *   /v1/runs/01JD.../history?after=10&limit=5
 *   segments: v1 runs 01JD... history     params: after=10 limit=5
 *
 * Everything is decoded exactly once, from the bytes that came; an escaped slash stays part of
 * its segment. Limits: TARGET_BYTES_MAX, TARGET_SEGMENTS_MAX, TARGET_PARAMS_MAX.
 */
#ifndef SERVER_HTTP_TARGET_H
#define SERVER_HTTP_TARGET_H

#include <aiki/status.h>

enum { TARGET_BYTES_MAX = 8 * 1024, TARGET_SEGMENTS_MAX = 8, TARGET_PARAMS_MAX = 16 };

struct target {
    char *text; /* owned: what all the rest points into */
    const char *segments[TARGET_SEGMENTS_MAX];
    size_t segment_count;
    struct {
        const char *name, *value;
    } params[TARGET_PARAMS_MAX];
    size_t param_count;
};

/* AIKI_LIMIT (URI_TOO_LONG) or AIKI_INVALID (BAD_TARGET, BAD_PARAMETER); *ret is to be deinited
 * in any case. */
aiki_status target_parse(const char *raw, struct target *ret, aiki_error *err);
void target_deinit(struct target *t);
/* NULL when it was not given. */
const char *target_param(const struct target *t, const char *name);

#endif
