/* old_plugin.c - a plugin as it was built for release 1.0, which uses every member of its tables.
 *
 *   old {"n": N}   N = 0 fails with code ZERO; otherwise answers [attempts, captured, timed out]
 */
#include <string.h>

#include "abi.h"

enum { CAPTURED = 5, SECOND_ATTEMPT = 2, UUID_LENGTH = 36 };
static const struct v10_view nil = {(const uint8_t *)"\xc0", 1};

static struct v10_error error_of(const char *code, const char *message)
{
    struct v10_error e = {.struct_size = sizeof(e), .status = V10_FAILED};
    strcpy(e.code, code);
    strcpy(e.message, message);
    return e;
}

/* Fails once, then answers the number of its attempt. */
static int32_t twice(struct v10_call *call, struct v10_view input)
{
    const struct v10_task_api *api = call->api;
    struct v10_error first = error_of("FIRST", "the first attempt fails");
    uint8_t *number = api->alloc(call, 1);
    struct v10_view output = {number, 1};

    if (input.size_bytes != 1 || number == NULL || api->cancelled(call) ||
        strcmp(api->task_name(call), "twice") != 0 || api->run_id(call)[0] == '\0' ||
        api->idempotency_key(call)[0] == '\0')
        return V10_INVALID;
    number[0] = (uint8_t)api->attempt(call);
    api->log(call, V10_LOG_INFO, "an attempt of the old plugin");
    return number[0] < SECOND_ATTEMPT ? api->fail(call, &first) : api->output(call, output);
}

static int32_t capture(void *arg, struct v10_writer *output)
{
    const uint8_t *value = arg;
    if (output->capacity_bytes == output->size_bytes &&
        (output->grow == NULL || !output->grow(output, output->size_bytes + 1)))
        return V10_INVALID;
    output->data[output->size_bytes++] = *value;
    return V10_OK;
}

static int32_t side_values(struct v10_run *run, uint8_t *ret_captured, struct v10_error *err)
{
    const struct v10_run_api *api = run->api;
    uint8_t value = CAPTURED;
    struct v10_view captured;
    int64_t at_ms = 0;
    uint64_t number = 0;
    char uuid[UUID_LENGTH + 1] = "";
    int32_t st = api->now(run, &at_ms, err);

    if (st == V10_OK)
        st = api->random(run, &number, err);
    if (st == V10_OK)
        st = api->uuid(run, uuid, err);
    if (st == V10_OK)
        st = api->record_once(run, "captured", capture, &value, &captured, err);
    if (st != V10_OK)
        return st;
    *ret_captured = captured.data[0];
    return at_ms > 0 && strlen(uuid) == UUID_LENGTH && captured.size_bytes == 1 ? V10_OK
                                                                                : V10_INVALID;
}

static int32_t start_all(struct v10_run *run, uint32_t futures[3], struct v10_error *err)
{
    static const struct v10_retry retry = {
        .struct_size = sizeof(retry), .kind = V10_RETRY_FIXED, .attempts_max = 3, .delay_ms = 10};
    static const struct v10_task_options options = {sizeof(options), 0, &retry};
    int32_t st = run->api->task_start(run, "twice", nil, &options, &futures[0], err);

    if (st == V10_OK)
        st = run->api->sleep_start(run, "nap", 10, &futures[1], err);
    if (st == V10_OK)
        st = run->api->signal_start(run, "go", 20, &futures[2], err);
    return st;
}

static int32_t old(struct v10_run *run, struct v10_view input, struct v10_error *err)
{
    const struct v10_run_api *api = run->api;
    const struct v10_error zero = error_of("ZERO", "n must not be 0");
    uint8_t *bytes = api->alloc(run, 4);
    struct v10_view output = {bytes, 4}, attempts, none;
    uint32_t futures[3];
    uint8_t captured = 0;
    int32_t st;

    if (bytes == NULL || api->id(run)[0] == '\0')
        return V10_INVALID;
    if (input.data[input.size_bytes - 1] == 0)
        return api->fail(run, &zero);
    api->log(run, V10_LOG_INFO, api->replaying(run) ? "replaying" : "live");
    st = side_values(run, &captured, err);
    if (st == V10_OK)
        st = start_all(run, futures, err);
    if (st == V10_OK)
        st = api->await(run, futures, 3, 3, err);
    if (st == V10_OK)
        st = api->result(run, futures[0], &attempts, err);
    if (st == V10_OK)
        st = api->result(run, futures[1], &none, err);
    if (st != V10_OK)
        return st;
    bytes[0] = 0x93; /* a list of three */
    bytes[1] = attempts.data[0];
    bytes[2] = captured;
    bytes[3] = api->result(run, futures[2], &none, NULL) == V10_TIMEDOUT ? 0xc3 : 0xc2;
    return api->output(run, output);
}

static const struct v10_field_def fields[] = {
    {.name = "n", .type = V10_FIELD_I64, .required = 1, .has_min = 1, .has_max = 1, .max = 100}};
static const struct v10_record_def input_record = {
    sizeof(input_record), sizeof(int64_t), "old_input", fields, 1, sizeof(fields[0])};
static const struct v10_workflow_def workflows[] = {
    {sizeof(workflows[0]), 0, "old", "1.0.0", old, &input_record, NULL, "built for release 1.0"}};
static const struct v10_task_def tasks[] = {
    {.struct_size = sizeof(tasks[0]), .name = "twice", .fn = twice, .summary = "fails once"}};
static const struct v10_plugin_def plugin = {
    sizeof(plugin), 1, 0, 0, "old", "1.0.0", "c", NULL, workflows, 1, sizeof(workflows[0]),
    tasks, 1, sizeof(tasks[0])};

__attribute__((visibility("default"))) const struct v10_plugin_def *
aiki_plugin_v1(uint32_t host_abi_major, uint32_t host_abi_minor);

const struct v10_plugin_def *aiki_plugin_v1(uint32_t host_abi_major, uint32_t host_abi_minor)
{
    (void)host_abi_minor;
    return host_abi_major == 1 ? &plugin : NULL;
}
