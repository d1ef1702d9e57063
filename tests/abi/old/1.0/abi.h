/* abi.h - the ABI of release 1.0 written down by hand, as a plugin in another language would.
 *
 * Frozen: nothing in here follows abi/include. Plugins built from this file must load for ever, and
 * a host built from it must run today's plugins. On 64-bit machines.
 */
#ifndef V1_0_ABI_H
#define V1_0_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { V10_OK = 0, V10_INVALID = 1, V10_TIMEDOUT = 7, V10_FAILED = 9, V10_PENDING = 20 };
enum { V10_RETRY_FIXED = 2, V10_LOG_INFO = 1, V10_FIELD_I64 = 1 };

struct v10_view {
    const uint8_t *data;
    uint64_t size_bytes;
};

struct v10_error {
    uint32_t struct_size;
    int32_t status;
    int32_t category;
    uint32_t flags;
    int64_t retry_after_ms;
    char code[64];
    char message[248];
    struct v10_view details;
    const struct v10_error *cause;
};

struct v10_writer {
    uint8_t *data;
    uint64_t size_bytes;
    uint64_t capacity_bytes;
    bool (*grow)(struct v10_writer *w, uint64_t capacity_min_bytes);
    void *arg;
    int32_t status;
    uint32_t reserved;
};

struct v10_retry {
    uint32_t struct_size;
    int32_t kind;
    uint32_t attempts_max;
    uint32_t factor_percent;
    int64_t delay_ms;
    int64_t delay_ms_max;
    int64_t reserved[4];
};

struct v10_call {
    const struct v10_task_api *api;
};

struct v10_task_api {
    uint32_t struct_size;
    uint32_t reserved;
    uint32_t (*attempt)(const struct v10_call *call);
    const char *(*idempotency_key)(const struct v10_call *call);
    const char *(*run_id)(const struct v10_call *call);
    const char *(*task_name)(const struct v10_call *call);
    bool (*cancelled)(const struct v10_call *call);
    void *(*alloc)(struct v10_call *call, uint64_t size_bytes);
    int32_t (*output)(struct v10_call *call, struct v10_view value);
    int32_t (*fail)(struct v10_call *call, const struct v10_error *error);
    void (*log)(struct v10_call *call, int32_t level, const char *text);
};

struct v10_task_def {
    uint32_t struct_size;
    uint32_t flags;
    const char *name;
    int32_t (*fn)(struct v10_call *call, struct v10_view input);
    struct v10_retry retry;
    const struct v10_record_def *input;
    const struct v10_record_def *output;
    const char *summary;
};

struct v10_task_options {
    uint32_t struct_size;
    uint32_t reserved;
    const struct v10_retry *retry;
};

struct v10_run {
    const struct v10_run_api *api;
};

struct v10_run_api {
    uint32_t struct_size;
    uint32_t reserved;
    const char *(*id)(const struct v10_run *run);
    void *(*alloc)(struct v10_run *run, uint64_t size_bytes);
    int32_t (*output)(struct v10_run *run, struct v10_view value);
    int32_t (*fail)(struct v10_run *run, const struct v10_error *error);
    int32_t (*task_start)(struct v10_run *run, const char *name, struct v10_view input,
                          const struct v10_task_options *options, uint32_t *ret_future,
                          struct v10_error *err);
    int32_t (*sleep_start)(struct v10_run *run, const char *name, int64_t duration_ms,
                           uint32_t *ret_future, struct v10_error *err);
    int32_t (*signal_start)(struct v10_run *run, const char *name, int64_t timeout_ms,
                            uint32_t *ret_future, struct v10_error *err);
    int32_t (*await)(struct v10_run *run, const uint32_t *futures, uint32_t count, uint32_t needed,
                     struct v10_error *err);
    int32_t (*result)(struct v10_run *run, uint32_t future, struct v10_view *ret_output,
                      struct v10_error *err);
    int32_t (*now)(struct v10_run *run, int64_t *ret_at_ms, struct v10_error *err);
    int32_t (*random)(struct v10_run *run, uint64_t *ret_value, struct v10_error *err);
    int32_t (*uuid)(struct v10_run *run, char ret_text[37], struct v10_error *err);
    int32_t (*record_once)(struct v10_run *run, const char *name,
                           int32_t (*fn)(void *arg, struct v10_writer *output), void *arg,
                           struct v10_view *ret_value, struct v10_error *err);
    bool (*replaying)(const struct v10_run *run);
    void (*log)(struct v10_run *run, int32_t level, const char *text);
};

struct v10_workflow_def {
    uint32_t struct_size;
    uint32_t flags;
    const char *name;
    const char *version;
    int32_t (*fn)(struct v10_run *run, struct v10_view input, struct v10_error *err);
    const struct v10_record_def *input;
    const struct v10_record_def *output;
    const char *summary;
};

struct v10_field_def {
    const char *name;
    uint32_t offset;
    uint32_t count_offset;
    uint8_t type, element, required, pii, has_min, has_max, has_length, has_default;
    int64_t min, max;
    double real_min, real_max;
    uint64_t length_min, length_max;
    const char *one_of;
    int64_t default_int;
    double default_real;
    const char *default_text;
    const struct v10_record_def *record;
};

struct v10_record_def {
    uint32_t struct_size;
    uint32_t size_bytes;
    const char *name;
    const struct v10_field_def *fields;
    uint32_t field_count;
    uint32_t field_stride;
};

struct v10_plugin_def {
    uint32_t struct_size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t reserved;
    const char *name;
    const char *version;
    const char *language;
    const char *toolchain;
    const struct v10_workflow_def *workflows;
    uint32_t workflow_count;
    uint32_t workflow_stride;
    const struct v10_task_def *tasks;
    uint32_t task_count;
    uint32_t task_stride;
};

#endif
