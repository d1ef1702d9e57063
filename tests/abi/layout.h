/* layout.h - the binary layout on 64-bit machines, since release 1.0, for layout.c.
 *
 * Lines of members and constants are added and never changed or removed: plugins built with each
 * release are out there. FIXED types are passed or contained by value, or have no struct_size; they
 * never grow. GROWING types name their last member; a later release may put one behind it.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

/* X(type, bytes) */
#define LAYOUT_FIXED(X) \
    X(aiki_view, 16)    \
    X(aiki_writer, 48)  \
    X(aiki_mp_item, 32) \
    X(aiki_reader, 24)  \
    X(aiki_retry, 64)   \
    X(aiki_call, 8)     \
    X(aiki_run, 8)      \
    X(aiki_memory, 16)

/* X(type, last member): nothing may lie behind a member that has no line. */
#define LAYOUT_GROWING(X) \
    X(aiki_error, cause)                       \
    X(aiki_task_api, schema_mode)              \
    X(aiki_task_def, schema_mode)              \
    X(aiki_task_options, reserved)             \
    X(aiki_run_api, kept_output)               \
    X(aiki_child_options, schedule_to_start_ms) \
    X(aiki_workflow_def, wait_timeout_ms)      \
    X(aiki_plugin_def, task_stride)            \
    X(aiki_field_def, record)                  \
    X(aiki_record_def, field_stride)           \
    X(aiki_client_options, tls_key)            \
    X(aiki_start, reserved_2)                  \
    X(aiki_control, ref)                       \
    X(aiki_outcome, error)                     \
    X(aiki_started, created)

/* X(type, member, offset, bytes) */
#define LAYOUT_VIEW(X) \
    X(aiki_view, data, 0, 8)       \
    X(aiki_view, size_bytes, 8, 8)
#define LAYOUT_ERROR(X) \
    X(aiki_error, struct_size, 0, 4)     \
    X(aiki_error, status, 4, 4)          \
    X(aiki_error, category, 8, 4)        \
    X(aiki_error, flags, 12, 4)          \
    X(aiki_error, retry_after_ms, 16, 8) \
    X(aiki_error, code, 24, 64)          \
    X(aiki_error, message, 88, 248)      \
    X(aiki_error, details, 336, 16)      \
    X(aiki_error, cause, 352, 8)
#define LAYOUT_WRITER(X) \
    X(aiki_writer, data, 0, 8)            \
    X(aiki_writer, size_bytes, 8, 8)      \
    X(aiki_writer, capacity_bytes, 16, 8) \
    X(aiki_writer, grow, 24, 8)           \
    X(aiki_writer, arg, 32, 8)            \
    X(aiki_writer, status, 40, 4)         \
    X(aiki_writer, reserved, 44, 4)
#define LAYOUT_MP_ITEM(X) \
    X(aiki_mp_item, type, 0, 4)     \
    X(aiki_mp_item, ext_type, 4, 4) \
    X(aiki_mp_item, as, 8, 8)       \
    X(aiki_mp_item, bytes, 16, 16)
#define LAYOUT_READER(X) \
    X(aiki_reader, at, 0, 8)        \
    X(aiki_reader, end, 8, 8)       \
    X(aiki_reader, status, 16, 4)   \
    X(aiki_reader, reserved, 20, 4)
#define LAYOUT_RETRY(X) \
    X(aiki_retry, struct_size, 0, 4)     \
    X(aiki_retry, kind, 4, 4)            \
    X(aiki_retry, attempts_max, 8, 4)    \
    X(aiki_retry, factor_percent, 12, 4) \
    X(aiki_retry, delay_ms, 16, 8)       \
    X(aiki_retry, delay_ms_max, 24, 8)   \
    X(aiki_retry, jitter_percent, 32, 4) \
    X(aiki_retry, delay_count, 36, 4)    \
    X(aiki_retry, final_code_count, 40, 4) \
    X(aiki_retry, reserved, 44, 4)       \
    X(aiki_retry, delays_ms, 48, 8)      \
    X(aiki_retry, final_codes, 56, 8)
#define LAYOUT_CALL(X) \
    X(aiki_call, api, 0, 8)
#define LAYOUT_TASK_API(X) \
    X(aiki_task_api, struct_size, 0, 4)      \
    X(aiki_task_api, reserved, 4, 4)         \
    X(aiki_task_api, attempt, 8, 8)          \
    X(aiki_task_api, idempotency_key, 16, 8) \
    X(aiki_task_api, run_id, 24, 8)          \
    X(aiki_task_api, task_name, 32, 8)       \
    X(aiki_task_api, cancelled, 40, 8)       \
    X(aiki_task_api, alloc, 48, 8)           \
    X(aiki_task_api, output, 56, 8)          \
    X(aiki_task_api, fail, 64, 8)            \
    X(aiki_task_api, log, 72, 8)             \
    X(aiki_task_api, heartbeat, 80, 8)       \
    X(aiki_task_api, last_details, 88, 8)    \
    X(aiki_task_api, deadline_ms, 96, 8)     \
    X(aiki_task_api, schema_mode, 104, 8)
#define LAYOUT_TASK_DEF(X) \
    X(aiki_task_def, struct_size, 0, 4) \
    X(aiki_task_def, flags, 4, 4)       \
    X(aiki_task_def, name, 8, 8)        \
    X(aiki_task_def, fn, 16, 8)         \
    X(aiki_task_def, retry, 24, 64)     \
    X(aiki_task_def, input, 88, 8)      \
    X(aiki_task_def, output, 96, 8)     \
    X(aiki_task_def, summary, 104, 8)   \
    X(aiki_task_def, start_to_close_ms, 112, 8) \
    X(aiki_task_def, schedule_to_start_ms, 120, 8) \
    X(aiki_task_def, schedule_to_close_ms, 128, 8) \
    X(aiki_task_def, heartbeat_ms, 136, 8)      \
    X(aiki_task_def, crashes_max, 144, 4)       \
    X(aiki_task_def, schema_mode, 148, 4)
#define LAYOUT_RUN(X) \
    X(aiki_run, api, 0, 8)
#define LAYOUT_TASK_OPTIONS(X) \
    X(aiki_task_options, struct_size, 0, 4) \
    X(aiki_task_options, flags, 4, 4)       \
    X(aiki_task_options, retry, 8, 8)       \
    X(aiki_task_options, start_to_close_ms, 16, 8) \
    X(aiki_task_options, schedule_to_start_ms, 24, 8) \
    X(aiki_task_options, schedule_to_close_ms, 32, 8) \
    X(aiki_task_options, heartbeat_ms, 40, 8) \
    X(aiki_task_options, key, 48, 8)        \
    X(aiki_task_options, crashes_max, 56, 4) \
    X(aiki_task_options, reserved, 60, 4)
#define LAYOUT_RUN_API(X) \
    X(aiki_run_api, struct_size, 0, 4)   \
    X(aiki_run_api, reserved, 4, 4)      \
    X(aiki_run_api, id, 8, 8)            \
    X(aiki_run_api, alloc, 16, 8)        \
    X(aiki_run_api, output, 24, 8)       \
    X(aiki_run_api, fail, 32, 8)         \
    X(aiki_run_api, task_start, 40, 8)   \
    X(aiki_run_api, sleep_start, 48, 8)  \
    X(aiki_run_api, signal_start, 56, 8) \
    X(aiki_run_api, await, 64, 8)        \
    X(aiki_run_api, result, 72, 8)       \
    X(aiki_run_api, now, 80, 8)          \
    X(aiki_run_api, random, 88, 8)       \
    X(aiki_run_api, uuid, 96, 8)         \
    X(aiki_run_api, record_once, 104, 8) \
    X(aiki_run_api, replaying, 112, 8)   \
    X(aiki_run_api, log, 120, 8)         \
    X(aiki_run_api, child_start, 128, 8)       \
    X(aiki_run_api, sleep_until_start, 136, 8) \
    X(aiki_run_api, future_cancel, 144, 8)     \
    X(aiki_run_api, cancelled, 152, 8)         \
    X(aiki_run_api, protect, 160, 8)           \
    X(aiki_run_api, schema_mode, 168, 8)       \
    X(aiki_run_api, result_as, 176, 8)         \
    X(aiki_run_api, signal_start_as, 184, 8)   \
    X(aiki_run_api, kept_output, 192, 8)
#define LAYOUT_CHILD_OPTIONS(X) \
    X(aiki_child_options, struct_size, 0, 4)  \
    X(aiki_child_options, close_policy, 4, 4) \
    X(aiki_child_options, detached, 8, 4)     \
    X(aiki_child_options, shared, 12, 4)    \
    X(aiki_child_options, key, 16, 8)         \
    X(aiki_child_options, schedule_to_start_ms, 24, 8)
#define LAYOUT_WORKFLOW_DEF(X) \
    X(aiki_workflow_def, struct_size, 0, 4) \
    X(aiki_workflow_def, flags, 4, 4)       \
    X(aiki_workflow_def, name, 8, 8)        \
    X(aiki_workflow_def, version, 16, 8)    \
    X(aiki_workflow_def, fn, 24, 8)         \
    X(aiki_workflow_def, input, 32, 8)      \
    X(aiki_workflow_def, output, 40, 8)     \
    X(aiki_workflow_def, summary, 48, 8)    \
    X(aiki_workflow_def, retry, 56, 64)     \
    X(aiki_workflow_def, run_timeout_ms, 120, 8) \
    X(aiki_workflow_def, task_start_to_close_ms, 128, 8) \
    X(aiki_workflow_def, schema_mode, 136, 4)   \
    X(aiki_workflow_def, reserved, 140, 4) \
    X(aiki_workflow_def, wait_timeout_ms, 144, 8)
#define LAYOUT_PLUGIN_DEF(X) \
    X(aiki_plugin_def, struct_size, 0, 4)      \
    X(aiki_plugin_def, abi_major, 4, 4)        \
    X(aiki_plugin_def, abi_minor, 8, 4)        \
    X(aiki_plugin_def, reserved, 12, 4)        \
    X(aiki_plugin_def, name, 16, 8)            \
    X(aiki_plugin_def, version, 24, 8)         \
    X(aiki_plugin_def, language, 32, 8)        \
    X(aiki_plugin_def, toolchain, 40, 8)       \
    X(aiki_plugin_def, workflows, 48, 8)       \
    X(aiki_plugin_def, workflow_count, 56, 4)  \
    X(aiki_plugin_def, workflow_stride, 60, 4) \
    X(aiki_plugin_def, tasks, 64, 8)           \
    X(aiki_plugin_def, task_count, 72, 4)      \
    X(aiki_plugin_def, task_stride, 76, 4)
#define LAYOUT_FIELD_DEF(X) \
    X(aiki_field_def, name, 0, 8)          \
    X(aiki_field_def, offset, 8, 4)        \
    X(aiki_field_def, count_offset, 12, 4) \
    X(aiki_field_def, type, 16, 1)         \
    X(aiki_field_def, element, 17, 1)      \
    X(aiki_field_def, required, 18, 1)     \
    X(aiki_field_def, pii, 19, 1)          \
    X(aiki_field_def, has_min, 20, 1)      \
    X(aiki_field_def, has_max, 21, 1)      \
    X(aiki_field_def, has_length, 22, 1)   \
    X(aiki_field_def, has_default, 23, 1)  \
    X(aiki_field_def, min, 24, 8)          \
    X(aiki_field_def, max, 32, 8)          \
    X(aiki_field_def, real_min, 40, 8)     \
    X(aiki_field_def, real_max, 48, 8)     \
    X(aiki_field_def, length_min, 56, 8)   \
    X(aiki_field_def, length_max, 64, 8)   \
    X(aiki_field_def, one_of, 72, 8)       \
    X(aiki_field_def, default_int, 80, 8)  \
    X(aiki_field_def, default_real, 88, 8) \
    X(aiki_field_def, default_text, 96, 8) \
    X(aiki_field_def, record, 104, 8)
#define LAYOUT_RECORD_DEF(X) \
    X(aiki_record_def, struct_size, 0, 4)   \
    X(aiki_record_def, size_bytes, 4, 4)    \
    X(aiki_record_def, name, 8, 8)          \
    X(aiki_record_def, fields, 16, 8)       \
    X(aiki_record_def, field_count, 24, 4)  \
    X(aiki_record_def, field_stride, 28, 4)
#define LAYOUT_MEMORY(X) \
    X(aiki_memory, alloc, 0, 8) \
    X(aiki_memory, arg, 8, 8)
#define LAYOUT_CLIENT_OPTIONS(X) \
    X(aiki_client_options, struct_size, 0, 4)         \
    X(aiki_client_options, reserved, 4, 4)            \
    X(aiki_client_options, name, 8, 8)                \
    X(aiki_client_options, token, 16, 8)              \
    X(aiki_client_options, space, 24, 8)              \
    X(aiki_client_options, connect_timeout_ms, 32, 8) \
    X(aiki_client_options, request_timeout_ms, 40, 8) \
    X(aiki_client_options, token_file, 48, 8) \
    X(aiki_client_options, tls_ca, 56, 8) \
    X(aiki_client_options, tls_cert, 64, 8) \
    X(aiki_client_options, tls_key, 72, 8)
#define LAYOUT_START(X) \
    X(aiki_start, struct_size, 0, 4) \
    X(aiki_start, reserved, 4, 4)    \
    X(aiki_start, workflow, 8, 8)    \
    X(aiki_start, version, 16, 8)    \
    X(aiki_start, input, 24, 16)     \
    X(aiki_start, key, 40, 8)        \
    X(aiki_start, run_id, 48, 8)     \
    X(aiki_start, actor, 56, 8)      \
    X(aiki_start, delay_ms, 64, 8)       \
    X(aiki_start, start_at_ms, 72, 8)    \
    X(aiki_start, run_timeout_ms, 80, 8) \
    X(aiki_start, retry, 88, 16)         \
    X(aiki_start, key_policy, 104, 4)    \
    X(aiki_start, reserved_2, 108, 4)
#define LAYOUT_CONTROL(X) \
    X(aiki_control, struct_size, 0, 4) \
    X(aiki_control, action, 4, 4)      \
    X(aiki_control, reason, 8, 8)      \
    X(aiki_control, actor, 16, 8)      \
    X(aiki_control, from_step, 24, 8)  \
    X(aiki_control, ref, 32, 8)
#define LAYOUT_OUTCOME(X) \
    X(aiki_outcome, struct_size, 0, 4) \
    X(aiki_outcome, state, 4, 4)       \
    X(aiki_outcome, output, 8, 16)     \
    X(aiki_outcome, error, 24, 8)
#define LAYOUT_STARTED(X) \
    X(aiki_started, struct_size, 0, 4) \
    X(aiki_started, state, 4, 4)       \
    X(aiki_started, run_id, 8, 8)      \
    X(aiki_started, version, 16, 16)   \
    X(aiki_started, created, 32, 1)

#define LAYOUT_MEMBERS(X) \
    LAYOUT_VIEW(X)           \
    LAYOUT_ERROR(X)          \
    LAYOUT_WRITER(X)         \
    LAYOUT_MP_ITEM(X)        \
    LAYOUT_READER(X)         \
    LAYOUT_RETRY(X)          \
    LAYOUT_CALL(X)           \
    LAYOUT_TASK_API(X)       \
    LAYOUT_TASK_DEF(X)       \
    LAYOUT_RUN(X)            \
    LAYOUT_TASK_OPTIONS(X)   \
    LAYOUT_RUN_API(X)        \
    LAYOUT_CHILD_OPTIONS(X)  \
    LAYOUT_WORKFLOW_DEF(X)   \
    LAYOUT_PLUGIN_DEF(X)     \
    LAYOUT_FIELD_DEF(X)      \
    LAYOUT_RECORD_DEF(X)     \
    LAYOUT_MEMORY(X)         \
    LAYOUT_CLIENT_OPTIONS(X) \
    LAYOUT_START(X)          \
    LAYOUT_CONTROL(X)        \
    LAYOUT_OUTCOME(X)        \
    LAYOUT_STARTED(X)

/* X(constant, value): numbers that cross a boundary, and sizes that callers allocate. */
#define LAYOUT_CONSTANTS(X) \
    X(AIKI_OK, 0)                       \
    X(AIKI_INVALID, 1)                  \
    X(AIKI_STALE, 2)                    \
    X(AIKI_UNAVAILABLE, 3)              \
    X(AIKI_NOMEM, 4)                    \
    X(AIKI_NOT_FOUND, 5)                \
    X(AIKI_CONFLICT, 6)                 \
    X(AIKI_TIMEDOUT, 7)                 \
    X(AIKI_CANCELLED, 8)                \
    X(AIKI_FAILED, 9)                   \
    X(AIKI_LIMIT, 10)                   \
    X(AIKI_CORRUPT, 11)                 \
    X(AIKI_UNSUPPORTED, 12)             \
    X(AIKI_DENIED, 13)                  \
    X(AIKI_FENCED, 14)                  \
    X(AIKI_DIVERGED, 15)                \
    X(AIKI_SCHEMA, 16)                  \
    X(AIKI_CRASHED, 17)                 \
    X(AIKI_INTERNAL, 18)                \
    X(AIKI_SUSPENDED, 19)               \
    X(AIKI_PENDING, 20)                 \
    X(AIKI_CATEGORY_OK, 0)              \
    X(AIKI_CATEGORY_CALLER, 1)          \
    X(AIKI_CATEGORY_CONFLICT, 2)        \
    X(AIKI_CATEGORY_TRANSIENT, 3)       \
    X(AIKI_CATEGORY_USER, 4)            \
    X(AIKI_CATEGORY_PLUGIN, 5)          \
    X(AIKI_CATEGORY_INFRA, 6)           \
    X(AIKI_ERROR_FINAL, 1)              \
    X(AIKI_ERROR_KEEP_OUTPUT, 2)        \
    X(AIKI_CODE_SIZE, 64)               \
    X(AIKI_MESSAGE_SIZE, 248)           \
    X(AIKI_CAUSE_DEPTH_MAX, 8)          \
    X(AIKI_MP_DEPTH_MAX, 64)            \
    X(AIKI_MP_NODES_MAX, 1000000)       \
    X(AIKI_MP_END, 0)                   \
    X(AIKI_MP_NIL, 1)                   \
    X(AIKI_MP_BOOL, 2)                  \
    X(AIKI_MP_UINT, 3)                  \
    X(AIKI_MP_INT, 4)                   \
    X(AIKI_MP_DOUBLE, 5)                \
    X(AIKI_MP_STR, 6)                   \
    X(AIKI_MP_BIN, 7)                   \
    X(AIKI_MP_ARRAY, 8)                 \
    X(AIKI_MP_MAP, 9)                   \
    X(AIKI_MP_EXT, 10)                  \
    X(AIKI_MP_BAD, 11)                  \
    X(AIKI_RETRY_DEFAULT, 0)            \
    X(AIKI_RETRY_NEVER, 1)              \
    X(AIKI_RETRY_FIXED, 2)              \
    X(AIKI_RETRY_EXPONENTIAL, 3)        \
    X(AIKI_RETRY_LIST, 4)               \
    X(AIKI_RETRY_DELAYS_MAX, 64)        \
    X(AIKI_RETRY_CODES_MAX, 32)         \
    X(AIKI_LOG_DEBUG, 0)                \
    X(AIKI_LOG_INFO, 1)                 \
    X(AIKI_LOG_WARN, 2)                 \
    X(AIKI_LOG_ERROR, 3)                \
    X(AIKI_TASK_INLINE, 1)              \
    X(AIKI_TASK_AT_MOST_ONCE, 2)        \
    X(AIKI_RECORD_DEPTH_MAX, 16)        \
    X(AIKI_RECORD_FIELDS_MAX, 64)       \
    X(AIKI_RECORD_NAME_BYTES_MAX, 64)   \
    X(AIKI_FIELD_NONE, 0)               \
    X(AIKI_FIELD_I64, 1)                \
    X(AIKI_FIELD_U64, 2)                \
    X(AIKI_FIELD_F64, 3)                \
    X(AIKI_FIELD_BOOL, 4)               \
    X(AIKI_FIELD_STR, 5)                \
    X(AIKI_FIELD_BYTES, 6)              \
    X(AIKI_FIELD_RECORD, 7)             \
    X(AIKI_FIELD_LIST, 8)               \
    X(AIKI_TEXT_BYTES_MAX, 1048576)     \
    X(AIKI_LOG_LINE_SIZE, 512)          \
    X(AIKI_RUN_ID_SIZE, 27)             \
    X(AIKI_CLIENT_REQUESTS_MAX, 65536)  \
    X(AIKI_CLIENT_BYTES_MAX, 134217728) \
    X(AIKI_RUN_QUEUED, 1)               \
    X(AIKI_RUN_RUNNING, 2)              \
    X(AIKI_RUN_SLEEPING, 3)             \
    X(AIKI_RUN_AWAITING_SIGNAL, 4)      \
    X(AIKI_RUN_AWAITING_RETRY, 5)       \
    X(AIKI_RUN_BLOCKED, 6)              \
    X(AIKI_RUN_STALLED, 7)              \
    X(AIKI_RUN_COMPLETED, 8)            \
    X(AIKI_RUN_FAILED, 9)               \
    X(AIKI_RUN_CANCELLED, 10)           \
    X(AIKI_RUN_TIMED_OUT, 11)           \
    X(AIKI_RUN_TERMINATED, 12)          \
    X(AIKI_RUN_SCHEDULED, 13)           \
    X(AIKI_RUN_AWAITING_CHILD, 14)      \
    X(AIKI_RUN_PAUSED, 15)              \
    X(AIKI_RUN_CANCELLING, 16)          \
    X(AIKI_KEY_SAME, 0)                 \
    X(AIKI_KEY_EXISTING, 1)             \
    X(AIKI_KEY_REPLACE, 2)              \
    X(AIKI_CONTROL_CANCEL, 1)           \
    X(AIKI_CONTROL_TERMINATE, 2)        \
    X(AIKI_CONTROL_PAUSE, 3)            \
    X(AIKI_CONTROL_RESUME, 4)           \
    X(AIKI_CONTROL_WAKE, 5)             \
    X(AIKI_CONTROL_RETRY, 6)            \
    X(AIKI_CONTROL_DROP, 7)             \
    X(AIKI_CLOSE_CANCEL, 0)             \
    X(AIKI_CLOSE_TERMINATE, 1)          \
    X(AIKI_CLOSE_ABANDON, 2)            \
    X(AIKI_CHILD_ID_SIZE, 27)

#endif
