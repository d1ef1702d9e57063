/* fuzz_descriptor.c - what a plugin build claims to offer, as a child or a runtime sends it. */
#include "fuzz.h"

#include "wire/descriptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct descriptor d;
    struct descriptor_workflow workflow, found;
    struct descriptor_task task;
    aiki_reader r;
    aiki_error err = AIKI_ERROR_INIT;
    uint64_t count = 0;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    if (descriptor_read((aiki_view){data, size}, &d, &err) != AIKI_OK) {
        CHECK(err.message[0] != '\0');
        return 0;
    }
    for (descriptor_workflows(&d, &r); descriptor_next_workflow(&r, &workflow); count++) {
        CHECK(descriptor_read_workflow(workflow.encoded, &found, NULL) == AIKI_OK);
        CHECK(descriptor_find_workflow(&d, workflow.name, workflow.version, &found, NULL) ==
              AIKI_OK);
        CHECK(fuzz_same(found.encoded, workflow.encoded));
    }
    CHECK(count == d.workflow_count);
    for (count = 0, descriptor_tasks(&d, &r); descriptor_next_task(&r, &task); count++)
        CHECK(task.name.size_bytes > 0);
    CHECK(count == d.task_count);
    return 0;
}
