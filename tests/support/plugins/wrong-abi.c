/* wrong-abi.c - a plugin of an aiki that does not exist yet: it must be refused by name. */
#include <aiki/plugin.h>

static aiki_status nothing(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input;
    (void)err;
    return aiki_run_fail(run, "UNREACHABLE", "a plugin of another ABI was run");
}

#undef AIKI_ABI_MAJOR
#define AIKI_ABI_MAJOR 99

static const aiki_workflow_def workflows[] = {
    {.struct_size = (uint32_t)sizeof(aiki_workflow_def),
     .name = "future",
     .version = "1.0.0",
     .fn = nothing}};
static const aiki_plugin_def plugin = {
    (uint32_t)sizeof(aiki_plugin_def), AIKI_ABI_MAJOR, 0, 0, "wrong-abi", "1.0.0", "c", NULL,
    workflows, 1, (uint32_t)sizeof(workflows[0]), NULL, 0, (uint32_t)sizeof(aiki_task_def)};

AIKI_EXPORT const aiki_plugin_def *aiki_plugin_v1(uint32_t host_abi_major, uint32_t host_abi_minor);

const aiki_plugin_def *aiki_plugin_v1(uint32_t host_abi_major, uint32_t host_abi_minor)
{
    (void)host_abi_major;
    (void)host_abi_minor;
    return &plugin;
}
