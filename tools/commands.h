/* commands.h - the commands of `aiki`, one or a few per cmd_*.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "cli.h"

extern const struct command cmd_dev, cmd_bench;
extern const struct command cmd_workflows_list, cmd_workflows_show, cmd_workflows_trigger;
extern const struct command cmd_runs_list, cmd_runs_inspect, cmd_runs_watch, cmd_runs_wait,
    cmd_runs_result, cmd_runs_signal, cmd_runs_tree;
extern const struct command cmd_runs_cancel, cmd_runs_terminate, cmd_runs_pause, cmd_runs_resume,
    cmd_runs_wake, cmd_runs_retry;
extern const struct command cmd_workers_list, cmd_plugins_list, cmd_plugins_check, cmd_plugins_show,
    cmd_plugins_gate, cmd_plugins_unquarantine, cmd_plugins_keygen, cmd_plugins_sign;
extern const struct command cmd_tasks_list, cmd_tasks_show;
extern const struct command cmd_letters_list, cmd_letters_show, cmd_letters_redrive, cmd_letters_drop;
extern const struct command cmd_config_show;

#endif
