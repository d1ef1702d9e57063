/* aiki/client_record.h - typed starts and results for applications, from the records of record.h.
 *
 *   AIKI_CLIENT_WORKFLOW(hello, "hello", hello_input, hello_output);
 *
 *   hello_start(client, &input, NULL, run_id, NULL, &err);
 *   hello_result(client, run_id, 60000, &output, &kept, &err);
 *   printf("%s\n", output.greeting);
 *   aiki_kept_free(&kept);
 *
 * The wrong struct does not compile, and an input that breaks a rule of its record is refused
 * before anything is sent. Put the records into a header that plugin and application share.
 * [any thread] since 1.0
 */
#ifndef AIKI_CLIENT_RECORD_H
#define AIKI_CLIENT_RECORD_H

#include <aiki/client.h>
#include <aiki/record.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aiki_kept_block_ {
    struct aiki_kept_block_ *next;
    uint64_t reserved; /* what follows is 16-aligned */
};

/* The texts and lists that decoded records point to. Begins as zeros, serves any number of
 * records, and is freed at once. */
typedef struct aiki_kept {
    struct aiki_kept_block_ *last;
} aiki_kept;

static inline void *aiki_kept_alloc_(void *arg, uint64_t size_bytes)
{
    aiki_kept *kept = (aiki_kept *)arg;
    struct aiki_kept_block_ *block;
    if (size_bytes > SIZE_MAX - sizeof(*block))
        return NULL;
    block = (struct aiki_kept_block_ *)calloc(1, sizeof(*block) + (size_t)size_bytes);
    if (block == NULL)
        return NULL;
    block->next = kept->last;
    kept->last = block;
    return block + 1;
}

static inline void aiki_kept_free(aiki_kept *kept)
{
    while (kept->last != NULL) {
        struct aiki_kept_block_ *block = kept->last;
        kept->last = block->next;
        free(block);
    }
}

static inline bool aiki_client_grow_(aiki_writer *w, uint64_t capacity_min_bytes)
{
    const uint64_t capacity = capacity_min_bytes < 512 ? 512 : 2 * capacity_min_bytes;
    uint8_t *data = (uint8_t *)realloc(w->data, (size_t)capacity);
    if (data == NULL)
        return false;
    w->data = data;
    w->capacity_bytes = capacity;
    return true;
}

static inline aiki_status aiki_client_start_record_(aiki_client *client, const char *workflow,
                                                    const aiki_record_def *def, const void *input,
                                                    const aiki_start *options, char *ret_run_id,
                                                    bool *ret_created, aiki_error *err)
{
    aiki_start start;
    aiki_writer w;
    aiki_status st;
    __builtin_memset(&start, 0, sizeof(start));
    if (options != NULL)
        __builtin_memcpy(&start, options,
                         options->struct_size < sizeof(start) ? options->struct_size
                                                              : sizeof(start));
    aiki_writer_init_fixed(&w, NULL, 0);
    w.grow = aiki_client_grow_;
    st = aiki_record_write(def, input, &w, err);
    start.struct_size = (uint32_t)sizeof(start);
    start.workflow = workflow;
    start.input = aiki_writer_view(&w);
    if (st == AIKI_OK)
        st = aiki_client_start(client, &start, ret_run_id, ret_created, err);
    free(w.data);
    return st;
}

static inline aiki_status aiki_client_result_record_(aiki_client *client, const char *run_id,
                                                     int64_t timeout_ms, const aiki_record_def *def,
                                                     void *ret_output, aiki_kept *kept,
                                                     aiki_error *err)
{
    const aiki_memory memory = {aiki_kept_alloc_, kept};
    const aiki_outcome *outcome = NULL;
    aiki_view output;
    uint8_t *copy = NULL;
    aiki_status st = aiki_client_wait(client, run_id, timeout_ms, &outcome, err);
    if (st == AIKI_OK) { /* fields of bytes borrow from what is decoded, so that is kept too */
        copy = (uint8_t *)aiki_kept_alloc_(kept, outcome->output.size_bytes);
        if (copy == NULL)
            st = aiki_error_set(err, AIKI_NOMEM, "NOMEM", "no memory for the output of a run");
    }
    if (st == AIKI_OK) {
        if (outcome->output.size_bytes > 0)
            __builtin_memcpy(copy, outcome->output.data, (size_t)outcome->output.size_bytes);
        output.data = copy;
        output.size_bytes = outcome->output.size_bytes;
        __builtin_memset(ret_output, 0, def->size_bytes);
        st = aiki_record_read(def, output, &memory, ret_output, err);
    } else if (err != NULL) { /* these point into the outcome */
        err->details.data = NULL;
        err->details.size_bytes = 0;
        err->cause = NULL;
    }
    aiki_client_free(outcome);
    return st;
}

/* Declares, for a workflow that takes record IN and gives record OUT:
 *
 * NAME_start   as aiki_client_start. options: NULL, or an aiki_start whose workflow and input do
 *              not matter, for version, key, run id and actor. AIKI_SCHEMA: the input breaks a
 *              rule; nothing was sent.
 * NAME_result  as aiki_client_wait. On AIKI_OK *ret_output is set; what it points to lives in
 *              *kept. Otherwise it must not be used. AIKI_SCHEMA: the output is not an OUT. */
#define AIKI_CLIENT_WORKFLOW(NAME, workflow_name, IN, OUT)                                     \
    AIKI_UNUSED_ static inline aiki_status NAME##_start(                                       \
        aiki_client *client, const struct IN *input, const aiki_start *options,                \
        char ret_run_id[AIKI_RUN_ID_SIZE], bool *ret_created, aiki_error *err)                 \
    {                                                                                          \
        return aiki_client_start_record_(client, workflow_name, &IN##_record, input, options,  \
                                         ret_run_id, ret_created, err);                        \
    }                                                                                          \
    AIKI_UNUSED_ static inline aiki_status NAME##_result(                                      \
        aiki_client *client, const char *run_id, int64_t timeout_ms, struct OUT *ret_output,   \
        aiki_kept *kept, aiki_error *err)                                                      \
    {                                                                                          \
        return aiki_client_result_record_(client, run_id, timeout_ms, &OUT##_record,           \
                                          ret_output, kept, err);                              \
    }                                                                                          \
    struct OUT

#ifdef __cplusplus
}
#endif
#endif
