/* aiki/record.h - the typed layer: a record is declared once, and everything follows from it.
 *
 *   #define RECEIPT(F, R)                                               \
 *       F(R, str, reference, AIKI_REQUIRED, AIKI_LENGTH(1, 64))         \
 *       F(R, i64, amount_cents, AIKI_REQUIRED, AIKI_MIN(1))             \
 *       F(R, str, note, AIKI_OPTIONAL)
 *   AIKI_RECORD(receipt, RECEIPT);
 *
 * gives `struct receipt`, receipt_encode, receipt_decode and the table receipt_record, from which
 * the host knows the schema. Types and the members they become:
 *
 *   i64 u64 f64 bool   int64_t uint64_t double bool   absent reads as the default, or zero;
 *                                                     optional, without default and zero = absent
 *   str                const char *                   UTF-8, NUL-terminated; NULL = absent
 *   bytes              aiki_view                      data NULL = absent
 *   record(x)          const struct x *               NULL = absent
 *   list(t)            const T *f; uint64_t f_count;  t: any type above
 *
 * Tasks and workflows that take and give records:
 *
 *   static aiki_status charge(aiki_call *call, const struct order *in, struct receipt *out);
 *   AIKI_TASK_TYPED(charge, "charge", order, receipt);            declares charge_task, charge_call
 *   AIKI_WORKFLOW_TYPED(sell, "sell", "1.0.0", order, receipt);   declares sell_workflow
 *
 * and in workflow code: AIKI_TRY(charge_call(run, in, &receipt, err)). since 1.0
 */
#ifndef AIKI_RECORD_H
#define AIKI_RECORD_H

#include <aiki/plugin.h>
#include <aiki/schema.h>

/* The promise of typed calls: the wrong struct and a misspelt name do not compile, whatever the flags.
 * C++ refuses both by itself. */
#ifndef __cplusplus
#pragma GCC diagnostic error "-Wincompatible-pointer-types"
#pragma GCC diagnostic error "-Wimplicit-function-declaration"
#endif

/* ---- rules of a field: presence first, then any of the others ---------------------------- */

#define AIKI_REQUIRED AIKI_SET_(required) = 1
#define AIKI_OPTIONAL AIKI_SET_(required) = 0
/* i64, u64 and lists of them. */
#define AIKI_MIN(low) AIKI_SET_(has_min) = 1, AIKI_SET_(min) = (low)
#define AIKI_MAX(high) AIKI_SET_(has_max) = 1, AIKI_SET_(max) = (high)
#define AIKI_RANGE(low, high) AIKI_MIN(low), AIKI_MAX(high)
/* f64 and lists of it. */
#define AIKI_REAL_RANGE(low, high)                         \
    AIKI_SET_(has_min) = 1, AIKI_SET_(real_min) = (low),   \
    AIKI_SET_(has_max) = 1, AIKI_SET_(real_max) = (high)
/* str: characters, bytes: bytes, list: elements. */
#define AIKI_LENGTH(low, high)                                \
    AIKI_SET_(has_length) = 1, AIKI_SET_(length_min) = (low), \
    AIKI_SET_(length_max) = (high)
/* str and lists of it: AIKI_ONE_OF("card|cash"). */
#define AIKI_ONE_OF(texts) AIKI_SET_(one_of) = (texts)
/* What an absent optional field reads as; the first one serves i64, u64 and bool. */
#define AIKI_DEFAULT(value) AIKI_SET_(has_default) = 1, AIKI_SET_(default_int) = (value)
#define AIKI_DEFAULT_REAL(value) AIKI_SET_(has_default) = 1, AIKI_SET_(default_real) = (value)
#define AIKI_DEFAULT_TEXT(text) AIKI_SET_(has_default) = 1, AIKI_SET_(default_text) = (text)
/* Personal data: the value stays out of messages and logs. */
#define AIKI_PII AIKI_SET_(pii) = 1

/* Options of AIKI_TASK and AIKI_WORKFLOW: the schema of a raw function's payload. */
#define AIKI_INPUT(R) AIKI_SET_(input) = &R##_record
#define AIKI_OUTPUT(R) AIKI_SET_(output) = &R##_record

/* ---- from a type word to C ----------------------------------------------------------------
 * Type words are only ever pasted, never expanded, so `bool` and the like mean themselves. */

#define AIKI_CTYPE_i64 int64_t
#define AIKI_CTYPE_u64 uint64_t
#define AIKI_CTYPE_f64 double
#define AIKI_CTYPE_bool bool
#define AIKI_CTYPE_str const char *
#define AIKI_CTYPE_bytes aiki_view
#define AIKI_CTYPE_record(x) const struct x *
#define AIKI_CTYPE_list(t) AIKI_ELEMENTS_##t
#define AIKI_ELEMENTS_i64 const int64_t *
#define AIKI_ELEMENTS_u64 const uint64_t *
#define AIKI_ELEMENTS_f64 const double *
#define AIKI_ELEMENTS_bool const bool *
#define AIKI_ELEMENTS_str const char *const *
#define AIKI_ELEMENTS_bytes const aiki_view *
#define AIKI_ELEMENTS_record(x) const struct x *

#define AIKI_TYPE_i64 AIKI_FIELD_I64
#define AIKI_TYPE_u64 AIKI_FIELD_U64
#define AIKI_TYPE_f64 AIKI_FIELD_F64
#define AIKI_TYPE_bool AIKI_FIELD_BOOL
#define AIKI_TYPE_str AIKI_FIELD_STR
#define AIKI_TYPE_bytes AIKI_FIELD_BYTES
#define AIKI_TYPE_record(x) AIKI_FIELD_RECORD
#define AIKI_TYPE_list(t) AIKI_FIELD_LIST

/* What only lists and records have: element type, count member, table of the record. */
#define AIKI_EXTRA_i64 AIKI_EXTRA_NONE_
#define AIKI_EXTRA_u64 AIKI_EXTRA_NONE_
#define AIKI_EXTRA_f64 AIKI_EXTRA_NONE_
#define AIKI_EXTRA_bool AIKI_EXTRA_NONE_
#define AIKI_EXTRA_str AIKI_EXTRA_NONE_
#define AIKI_EXTRA_bytes AIKI_EXTRA_NONE_
#define AIKI_EXTRA_record(x) AIKI_SET_(record) = &x##_record, AIKI_EXTRA_NONE_
#define AIKI_EXTRA_list(t)                                                            \
    AIKI_SET_(element) = AIKI_TYPE_##t, AIKI_SET_(record) = AIKI_ELEMENT_RECORD_##t,  \
    AIKI_EXTRA_COUNT_
#define AIKI_EXTRA_NONE_(R, f) AIKI_SET_(count_offset) = 0
#define AIKI_EXTRA_COUNT_(R, f) AIKI_SET_(count_offset) = (uint32_t)offsetof(struct R, f##_count)
#define AIKI_ELEMENT_RECORD_i64 NULL
#define AIKI_ELEMENT_RECORD_u64 NULL
#define AIKI_ELEMENT_RECORD_f64 NULL
#define AIKI_ELEMENT_RECORD_bool NULL
#define AIKI_ELEMENT_RECORD_str NULL
#define AIKI_ELEMENT_RECORD_bytes NULL
#define AIKI_ELEMENT_RECORD_record(x) &x##_record

#define AIKI_COUNT_i64 AIKI_COUNT_NONE_
#define AIKI_COUNT_u64 AIKI_COUNT_NONE_
#define AIKI_COUNT_f64 AIKI_COUNT_NONE_
#define AIKI_COUNT_bool AIKI_COUNT_NONE_
#define AIKI_COUNT_str AIKI_COUNT_NONE_
#define AIKI_COUNT_bytes AIKI_COUNT_NONE_
#define AIKI_COUNT_record(x) AIKI_COUNT_NONE_
#define AIKI_COUNT_list(t) AIKI_COUNT_MEMBER_
#define AIKI_COUNT_NONE_(f)
#define AIKI_COUNT_MEMBER_(f) uint64_t f##_count;

/* ---- the record -------------------------------------------------------------------------- */

#define AIKI_MEMBER_(R, type, f, ...) AIKI_CTYPE_##type f; AIKI_COUNT_##type(f)
#define AIKI_FIELD_(R, type_, f, ...)                                  \
    AIKI_INITIALIZER_(aiki_field_def,                                  \
        AIKI_SET_(name) = #f,                                          \
        AIKI_SET_(offset) = (uint32_t)offsetof(struct R, f),           \
        AIKI_SET_(type) = AIKI_TYPE_##type_,                           \
        AIKI_EXTRA_##type_(R, f), __VA_ARGS__),

#define AIKI_RECORD_TABLE_(R, field_table, count)                            \
    AIKI_UNUSED_ static const aiki_record_def R##_record =                   \
        AIKI_INITIALIZER_(aiki_record_def,                                   \
            AIKI_SET_(struct_size) = (uint32_t)sizeof(aiki_record_def),      \
            AIKI_SET_(size_bytes) = (uint32_t)sizeof(struct R),              \
            AIKI_SET_(name) = #R,                                            \
            AIKI_SET_(fields) = (field_table),                               \
            AIKI_SET_(field_count) = (uint32_t)(count),                      \
            AIKI_SET_(field_stride) = (uint32_t)sizeof(aiki_field_def));     \
    /* Append as a msgpack map; AIKI_SCHEMA when the value breaks a rule. */ \
    AIKI_UNUSED_ static inline aiki_status R##_encode(                       \
        const struct R *value, aiki_writer *w, aiki_error *err)              \
    {                                                                        \
        return aiki_record_write(&R##_record, value, w, err);                \
    }                                                                        \
    /* *ret is set on AIKI_OK; it borrows bytes from `bytes`. */             \
    AIKI_UNUSED_ static inline aiki_status R##_decode(                       \
        aiki_view bytes, const aiki_memory *memory, struct R *ret, aiki_error *err) \
    {                                                                        \
        struct R value;                                                      \
        __builtin_memset(&value, 0, sizeof(value));                          \
        AIKI_TRY(aiki_record_read(&R##_record, bytes, memory, &value, err)); \
        *ret = value;                                                        \
        return AIKI_OK;                                                      \
    }                                                                        \
    struct R

/* AIKI_RECORD(name, FIELDS); at file scope, after the records it contains. */
#define AIKI_RECORD(R, FIELDS)                                               \
    struct R {                                                               \
        FIELDS(AIKI_MEMBER_, R)                                              \
    };                                                                       \
    static const aiki_field_def R##_fields_[] = {FIELDS(AIKI_FIELD_, R)};    \
    AIKI_RECORD_TABLE_(R, R##_fields_, sizeof(R##_fields_) / sizeof(R##_fields_[0]))

/* The record without fields: for tasks and workflows that take or give nothing. */
struct aiki_nothing {
    uint8_t unused;
};
AIKI_RECORD_TABLE_(aiki_nothing, NULL, 0);

/* ---- typed calls from workflow code ------------------------------------------------------ */

static inline aiki_status aiki_typed_start_(aiki_run *run, const char *name,
                                            const aiki_record_def *def, const void *input,
                                            const aiki_task_options *options,
                                            aiki_future *ret_future, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(aiki_record_write(def, input, &w, err));
    return run->api->task_start(run, name, aiki_writer_view(&w), options, ret_future, err);
}

/* ret_output NULL: the output is not looked at. */
static inline aiki_status aiki_typed_result_(aiki_run *run, aiki_future future,
                                             const aiki_record_def *def, void *ret_output,
                                             aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    uint32_t mode = AIKI_SCHEMA_STRICT;
    aiki_view output;
    if (ret_output == NULL || !AIKI_HAS(run->api, result_as))
        AIKI_TRY(run->api->result(run, future, &output, err));
    else
        AIKI_TRY(run->api->result_as(run, future, def, &output, &mode, err));
    if (ret_output == NULL)
        return AIKI_OK;
    __builtin_memset(ret_output, 0, def->size_bytes);
    return aiki_record_read_as(def, mode, output, &memory, ret_output, err);
}

/* Half of the work need not fit the whole: rules may be broken, what is missing reads as zero. */
static inline aiki_status aiki_typed_kept_(aiki_run *run, aiki_future future,
                                           const aiki_record_def *def, void *ret_output,
                                           aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_view output;
    AIKI_TRY(aiki_kept_output(run, future, &output, err));
    __builtin_memset(ret_output, 0, def->size_bytes);
    return aiki_record_read_as(def, AIKI_SCHEMA_OFF, output, &memory, ret_output, err);
}

/* In a typed task that is about to fail: what of *value is there is its output so far.
 *
 *   if (aiki_keep(call, receipt, out) != AIKI_OK || ...)
 *       return aiki_fail_keep(call, "HALF_BOOKED", "the second half failed");
 * since 1.1 */
#define aiki_keep(call, R, value) aiki_typed_keep_((call), &R##_record, (value))
static inline aiki_status aiki_typed_keep_(aiki_call *call, const aiki_record_def *def,
                                           const void *value)
{
    aiki_writer w = aiki_call_writer(call);
    AIKI_TRY(aiki_record_write_as(def, AIKI_SCHEMA_OFF, value, &w, NULL));
    return call->api->output(call, aiki_writer_view(&w));
}

/* Declares NAME_start, NAME_result, NAME_kept and NAME_call for a task of this plugin. AIKI_TASK_TYPED
 * includes it; on its own it serves plugins of several files. */
#define AIKI_CALL_DECLARE(NAME, task_name, IN, OUT)                                       \
    /* Start without waiting. options: NULL, or what differs for this call. */            \
    AIKI_UNUSED_ static inline aiki_status NAME##_start(                                  \
        aiki_run *run, const struct IN *input, const aiki_task_options *options,          \
        aiki_future *ret_future, aiki_error *err)                                         \
    {                                                                                     \
        return aiki_typed_start_(run, task_name, &IN##_record, input, options, ret_future, err); \
    }                                                                                     \
    /* Outcome of a future that is done; AIKI_PENDING before. ret_output may be NULL. */  \
    AIKI_UNUSED_ static inline aiki_status NAME##_result(                                 \
        aiki_run *run, aiki_future future, struct OUT *ret_output, aiki_error *err)       \
    {                                                                                     \
        return aiki_typed_result_(run, future, &OUT##_record, ret_output, err);           \
    }                                                                                     \
    /* What the task kept when it failed, or AIKI_NOT_FOUND. since 1.1 */                 \
    AIKI_UNUSED_ static inline aiki_status NAME##_kept(                                   \
        aiki_run *run, aiki_future future, struct OUT *ret_output, aiki_error *err)       \
    {                                                                                     \
        return aiki_typed_kept_(run, future, &OUT##_record, ret_output, err);             \
    }                                                                                     \
    /* Run the task and wait for its result. ret_output may be NULL. */                   \
    AIKI_UNUSED_ static inline aiki_status NAME##_call(                                   \
        aiki_run *run, const struct IN *input, struct OUT *ret_output, aiki_error *err)   \
    {                                                                                     \
        aiki_future future;                                                               \
        AIKI_TRY(NAME##_start(run, input, NULL, &future, err));                           \
        AIKI_TRY(run->api->await(run, &future, 1, 1, err));                               \
        return NAME##_result(run, future, ret_output, err);                               \
    }                                                                                     \
    struct OUT

#define AIKI_SCOPE_NAMESPACE ""
enum { AIKI_SHARED_KEY_SIZE = 257 }; /* scope, a colon, key and NUL */

/* ---- typed children, since 1.1 ----------------------------------------------------------- */

static inline aiki_status aiki_typed_child_start_(aiki_run *run, const char *workflow,
                                                  const char *version, const aiki_record_def *def,
                                                  const void *input,
                                                  const aiki_child_options *options,
                                                  aiki_future *ret_future, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(aiki_record_write(def, input, &w, err));
    return aiki_child_start(run, workflow, version, aiki_writer_view(&w), options, ret_future, err);
}

/* Declares NAME_child_start, NAME_child_result and NAME_child for a workflow of any plugin.
 * AIKI_WORKFLOW_TYPED includes it; in a header that is shared it gives other plugins typed calls:
 *
 *   AIKI_CHILD_DECLARE(ship, "ship", "1.0.0", parcel, receipt);
 */
#define AIKI_CHILD_DECLARE(NAME, workflow_name, workflow_version, IN, OUT)                \
    /* Start without waiting. options: NULL, or how. */                                   \
    AIKI_UNUSED_ static inline aiki_status NAME##_child_start(                            \
        aiki_run *run, const struct IN *input, const aiki_child_options *options,         \
        aiki_future *ret_future, aiki_error *err)                                         \
    {                                                                                     \
        return aiki_typed_child_start_(run, workflow_name, workflow_version, &IN##_record, \
                                       input, options, ret_future, err);                  \
    }                                                                                     \
    /* Outcome of a child that has ended; AIKI_PENDING before. ret_output may be NULL. */ \
    AIKI_UNUSED_ static inline aiki_status NAME##_child_result(                           \
        aiki_run *run, aiki_future future, struct OUT *ret_output, aiki_error *err)       \
    {                                                                                     \
        return aiki_typed_result_(run, future, &OUT##_record, ret_output, err);           \
    }                                                                                     \
    /* Run the child and wait for its end. ret_output may be NULL. */                     \
    AIKI_UNUSED_ static inline aiki_status NAME##_child(                                  \
        aiki_run *run, const struct IN *input, struct OUT *ret_output, aiki_error *err)   \
    {                                                                                     \
        aiki_future future;                                                               \
        AIKI_TRY(NAME##_child_start(run, input, NULL, &future, err));                     \
        AIKI_TRY(run->api->await(run, &future, 1, 1, err));                               \
        return NAME##_child_result(run, future, ret_output, err);                         \
    }                                                                                     \
    struct OUT

/* ---- typed signals, since 1.1 ------------------------------------------------------------ */

static inline aiki_status aiki_typed_signal_start_(aiki_run *run, const char *name,
                                                   int64_t timeout_ms, const aiki_record_def *def,
                                                   aiki_future *ret_future, aiki_error *err)
{
    if (!AIKI_HAS(run->api, signal_start_as))
        return aiki_signal_start(run, name, timeout_ms, ret_future, err);
    return run->api->signal_start_as(run, name, timeout_ms, def, ret_future, err);
}

/* Declares NAME_signal_start, NAME_signal_result and NAME_wait:
 *
 *   AIKI_SIGNAL_DECLARE(decision, "decision", verdict);
 *   st = decision_wait(run, AIKI_HOURS_MS(1), &verdict, err);
 */
#define AIKI_SIGNAL_DECLARE(NAME, signal_name, PAYLOAD)                                   \
    /* Start waiting for the next signal of that name. */                                 \
    AIKI_UNUSED_ static inline aiki_status NAME##_signal_start(                           \
        aiki_run *run, int64_t timeout_ms, aiki_future *ret_future, aiki_error *err)      \
    {                                                                                     \
        return aiki_typed_signal_start_(run, signal_name, timeout_ms, &PAYLOAD##_record,  \
                                        ret_future, err);                                 \
    }                                                                                     \
    /* Outcome of a wait that is over: AIKI_TIMEDOUT when none came in time, AIKI_FAILED  \
     * with SCHEMA_MISMATCH for one that is no PAYLOAD. ret_payload may be NULL. */       \
    AIKI_UNUSED_ static inline aiki_status NAME##_signal_result(                          \
        aiki_run *run, aiki_future future, struct PAYLOAD *ret_payload, aiki_error *err)  \
    {                                                                                     \
        return aiki_typed_result_(run, future, &PAYLOAD##_record, ret_payload, err);      \
    }                                                                                     \
    /* Wait for the next signal of that name. ret_payload may be NULL. */                 \
    AIKI_UNUSED_ static inline aiki_status NAME##_wait(                                   \
        aiki_run *run, int64_t timeout_ms, struct PAYLOAD *ret_payload, aiki_error *err)  \
    {                                                                                     \
        aiki_future future;                                                               \
        AIKI_TRY(NAME##_signal_start(run, timeout_ms, &future, err));                     \
        AIKI_TRY(run->api->await(run, &future, 1, 1, err));                               \
        return NAME##_signal_result(run, future, ret_payload, err);                       \
    }                                                                                     \
    struct PAYLOAD

/* ---- typed tasks and workflows ----------------------------------------------------------- */

static inline uint32_t aiki_call_schema_mode_(const aiki_call *call)
{
    return AIKI_HAS(call->api, schema_mode) ? call->api->schema_mode(call)
                                            : (uint32_t)AIKI_SCHEMA_STRICT;
}

static inline uint32_t aiki_run_schema_mode_(const aiki_run *run)
{
    return AIKI_HAS(run->api, schema_mode) ? run->api->schema_mode(run)
                                           : (uint32_t)AIKI_SCHEMA_STRICT;
}

/* An input or output outside its schema fails the task for good: trying again cannot help. */
static inline aiki_status aiki_typed_task_input_(aiki_call *call, const aiki_record_def *def,
                                                 aiki_view input, void *ret_input)
{
    const aiki_memory memory = aiki_call_memory(call);
    aiki_error error = AIKI_ERROR_INIT;
    __builtin_memset(ret_input, 0, def->size_bytes);
    if (aiki_record_read_as(def, aiki_call_schema_mode_(call), input, &memory, ret_input,
                            &error) == AIKI_OK)
        return AIKI_OK;
    return (call->api->fail)(call, &error);
}

static inline aiki_status aiki_typed_task_output_(aiki_call *call, const aiki_record_def *def,
                                                  const void *output)
{
    aiki_writer w = aiki_call_writer(call);
    aiki_error error = AIKI_ERROR_INIT;
    if (aiki_record_write_as(def, aiki_call_schema_mode_(call), output, &w, &error) == AIKI_OK)
        return call->api->output(call, aiki_writer_view(&w));
    return (call->api->fail)(call, &error);
}

static inline aiki_status aiki_typed_workflow_input_(aiki_run *run, const aiki_record_def *def,
                                                     aiki_view input, void *ret_input,
                                                     aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    __builtin_memset(ret_input, 0, def->size_bytes);
    return aiki_record_read_as(def, aiki_run_schema_mode_(run), input, &memory, ret_input, err);
}

static inline aiki_status aiki_typed_workflow_output_(aiki_run *run, const aiki_record_def *def,
                                                      const void *output, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(aiki_record_write_as(def, aiki_run_schema_mode_(run), output, &w, err));
    return run->api->output(run, aiki_writer_view(&w));
}

/* fn: aiki_status fn(aiki_call *call, const struct IN *in, struct OUT *out). *out comes zeroed.
 * Declares FN_task for AIKI_TASKS, and FN_start, FN_result, FN_call for workflow code. */
#define AIKI_TASK_TYPED_WITH(FN, task_name, IN, OUT, ...)                                 \
    static aiki_status FN##_task_entry_(aiki_call *call, aiki_view input)                 \
    {                                                                                     \
        struct IN in;                                                                     \
        struct OUT out;                                                                   \
        __builtin_memset(&out, 0, sizeof(out));                                           \
        AIKI_TRY(aiki_typed_task_input_(call, &IN##_record, input, &in));                 \
        AIKI_TRY(FN(call, &in, &out));                                                    \
        return aiki_typed_task_output_(call, &OUT##_record, &out);                        \
    }                                                                                     \
    static const aiki_task_def FN##_task = AIKI_INITIALIZER_(aiki_task_def,               \
        AIKI_TASK_SETTINGS_(task_name, FN##_task_entry_),                                 \
        AIKI_INPUT(IN), AIKI_OUTPUT(OUT), __VA_ARGS__);                                   \
    AIKI_CALL_DECLARE(FN, task_name, IN, OUT)
#define AIKI_TASK_TYPED(FN, task_name, IN, OUT) \
    AIKI_TASK_TYPED_WITH(FN, task_name, IN, OUT, AIKI_SET_(flags) = 0)

/* ---- tasks that are executed once for a key, whatever run asks, since 1.1 ----------------- */

static inline aiki_status aiki_shared_key_(const char *scope, const char *key,
                                           char ret_text[AIKI_SHARED_KEY_SIZE], aiki_error *err)
{
    int size = __builtin_snprintf(ret_text, AIKI_SHARED_KEY_SIZE, "%s:%s", scope, key);
    /* The first colon ends the scope: one in it would make two scopes out of one text. */
    if (size > 0 && size < AIKI_SHARED_KEY_SIZE && key[0] != '\0' &&
        __builtin_strchr(scope, ':') == NULL)
        return AIKI_OK;
    return aiki_error_set(err, AIKI_INVALID, "BAD_KEY",
                          "scope and key of a shared task are not 1 to %d bytes together, or the scope "
                          "has a colon",
                          AIKI_SHARED_KEY_SIZE - 2);
}

/* Beside AIKI_TASK_TYPED(FN, ...): a workflow that executes nothing but this task, FN_alone_workflow for
 * AIKI_WORKFLOWS, and FN_shared for workflow code:
 *
 *   AIKI_TRY(charge_shared(run, AIKI_SCOPE_NAMESPACE, order_id, in, &receipt, err));
 *
 * The first call with a scope and key starts it as a run of its own, the others with that input get its
 * result, whatever run they are of and whenever they ask. With another input: AIKI_FAILED, KEY_TAKEN. When
 * it fails, those who wait get the error, and the next call executes it anew. The scope is the
 * namespace, or a name without a colon: calls with another one have nothing to do with each other,
 * so the name of a workflow keeps its calls apart. */
#define AIKI_TASK_SHARED(FN, workflow_name, workflow_version, IN, OUT)                    \
    static aiki_status FN##_alone(aiki_run *run, const struct IN *in, struct OUT *out,    \
                                  aiki_error *err)                                        \
    {                                                                                     \
        return FN##_call(run, in, out, err);                                              \
    }                                                                                     \
    AIKI_WORKFLOW_TYPED(FN##_alone, workflow_name, workflow_version, IN, OUT);            \
    /* scope: AIKI_SCOPE_NAMESPACE or a name. ret_output may be NULL. */                  \
    AIKI_UNUSED_ static inline aiki_status FN##_shared(                                   \
        aiki_run *run, const char *scope, const char *key, const struct IN *input,        \
        struct OUT *ret_output, aiki_error *err)                                          \
    {                                                                                     \
        char text[AIKI_SHARED_KEY_SIZE];                                                  \
        aiki_child_options options;                                                       \
        aiki_future future;                                                               \
        AIKI_TRY(aiki_shared_key_(scope, key, text, err));                                \
        __builtin_memset(&options, 0, sizeof(options));                                   \
        options.struct_size = (uint32_t)sizeof(options);                                  \
        options.shared = 1;                                                               \
        options.key = text;                                                               \
        AIKI_TRY(FN##_alone_child_start(run, input, &options, &future, err));             \
        AIKI_TRY(run->api->await(run, &future, 1, 1, err));                               \
        return FN##_alone_child_result(run, future, ret_output, err);                     \
    }                                                                                     \
    struct OUT

/* fn: aiki_status fn(aiki_run *run, const struct IN *in, struct OUT *out, aiki_error *err).
 * *out comes zeroed. Declares FN_workflow for AIKI_WORKFLOWS, and FN_child_start, FN_child_result,
 * FN_child for code that wants it as a child. */
#define AIKI_WORKFLOW_TYPED_WITH(FN, workflow_name, workflow_version, IN, OUT, ...)       \
    static aiki_status FN##_workflow_entry_(aiki_run *run, aiki_view input, aiki_error *err) \
    {                                                                                     \
        struct IN in;                                                                     \
        struct OUT out;                                                                   \
        __builtin_memset(&out, 0, sizeof(out));                                           \
        AIKI_TRY(aiki_typed_workflow_input_(run, &IN##_record, input, &in, err));         \
        AIKI_TRY(FN(run, &in, &out, err));                                                \
        return aiki_typed_workflow_output_(run, &OUT##_record, &out, err);                \
    }                                                                                     \
    static const aiki_workflow_def FN##_workflow = AIKI_INITIALIZER_(aiki_workflow_def,   \
        AIKI_WORKFLOW_SETTINGS_(workflow_name, workflow_version, FN##_workflow_entry_),   \
        AIKI_INPUT(IN), AIKI_OUTPUT(OUT), __VA_ARGS__);                                   \
    AIKI_CHILD_DECLARE(FN, workflow_name, workflow_version, IN, OUT)
#define AIKI_WORKFLOW_TYPED(FN, workflow_name, workflow_version, IN, OUT) \
    AIKI_WORKFLOW_TYPED_WITH(FN, workflow_name, workflow_version, IN, OUT, AIKI_SET_(flags) = 0)

#endif
