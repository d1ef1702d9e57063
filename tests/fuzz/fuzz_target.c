/* fuzz_target.c - the target of an HTTP request: decoded once, within its limits. */
#include "fuzz.h"

#include "http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target t = {.text = NULL};
    aiki_error err = AIKI_ERROR_INIT;
    char *raw = malloc(size + 1);
    CHECK(raw != NULL);
    memcpy(raw, data, size);
    raw[size] = '\0';
    aiki_status status = target_parse(raw, &t, &err);
    CHECK(status == AIKI_OK || (err.code[0] != '\0' && err.message[0] != '\0'));
    if (status == AIKI_OK) {
        CHECK(t.segment_count <= TARGET_SEGMENTS_MAX && t.param_count <= TARGET_PARAMS_MAX);
        for (size_t i = 0; i < t.segment_count; i++)
            CHECK(strlen(t.segments[i]) <= size);
        for (size_t i = 0; i < t.param_count; i++)
            CHECK(target_param(&t, t.params[i].name) != NULL);
    }
    target_deinit(&t);
    free(raw);
    return 0;
}
