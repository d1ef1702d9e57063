/* commands.h - the commands of `aiki`, one or a few per cmd_*.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "cli.h"

extern const struct command cmd_dev, cmd_bench;
extern const struct command cmd_workflows_list, cmd_workflows_show, cmd_workflows_trigger;
extern const struct command cmd_runs_list, cmd_runs_inspect, cmd_runs_watch, cmd_runs_wait,
    cmd_runs_result, cmd_runs_signal;
extern const struct command cmd_workers_list, cmd_plugins_list, cmd_plugins_check;

#endif
