/* cmd_control.c - `aiki runs cancel | terminate | pause | resume | wake | retry`, and what is done about
 * a dead letter: `aiki dead-letters redrive | drop`. */
#include <stdio.h>

#include "commands.h"

/* done: what it says when something changed, and when it was so already. */
static int control(struct cli *cli, int32_t action, const char *from_step, const char *done,
                   const char *already)
{
    bool changed = false;
    int code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    const aiki_control control = {.struct_size = sizeof(control),
                                  .action = action,
                                  .reason = args_text(&cli->args, "reason"),
                                  .from_step = from_step,
                                  .ref = args_text(&cli->args, "ref")};
    aiki_status st =
        aiki_client_control(cli->client, cli->args.operands[0], &control, &changed, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (cli->json)
        printf("{\"changed\":%s}\n", changed ? "true" : "false");
    else
        printf("%s\n", changed ? done : already);
    return EXIT_OK;
}

static int run_cancel(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_CANCEL, NULL, "cancelling", "it is being cancelled already");
}

static int run_terminate(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_TERMINATE, NULL, "terminated", "it is terminated already");
}

static int run_pause(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_PAUSE, NULL, "paused", "it is paused already");
}

static int run_resume(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_RESUME, NULL, "resumed", "it is not paused");
}

static int run_wake(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_WAKE, NULL, "woken", "nothing was to be woken");
}

static int run_retry(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_RETRY, args_text(&cli->args, "from"), "goes on",
                   "it goes on already");
}

static int letter_drop(struct cli *cli)
{
    return control(cli, AIKI_CONTROL_DROP, NULL, "dropped", "it is dropped already");
}

/* clang-format off */
#define ASKED_ARGS                                                                                 \
    {ARG_TEXT, "reason", "TEXT", NULL, NULL, "why, for the record", 0, 0},                         \
    {ARG_TEXT, "ref", "TEXT", NULL, NULL, "a repeat with the same reference counts once", 0, 0},    \
    {.type = ARG_END}
static const struct arg reason_args[] = {ASKED_ARGS};

static const struct arg retry_args[] = {
    {ARG_TEXT, "from", "STEP", NULL, NULL,
     "execute everything from this step on again, not only what failed", 0, 0},
    ASKED_ARGS};

const struct command cmd_runs_cancel = {
    .group = "runs", .name = "cancel", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "ask a run to clean up and end, its children too",
    .examples = "aiki runs cancel 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs cancel 01JD2V7Q8X3M5N7P9R1S3T5V7W --reason 'ordered twice'",
    .run = run_cancel};
const struct command cmd_runs_terminate = {
    .group = "runs", .name = "terminate", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "end a run now, without executing any more of its code",
    .examples = "aiki runs terminate 01JD2V7Q8X3M5N7P9R1S3T5V7W --reason 'test data'",
    .run = run_terminate};
const struct command cmd_runs_pause = {
    .group = "runs", .name = "pause", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "start nothing new of a run until it is resumed",
    .examples = "aiki runs pause 01JD2V7Q8X3M5N7P9R1S3T5V7W --reason 'bank is down'",
    .run = run_pause};
const struct command cmd_runs_resume = {
    .group = "runs", .name = "resume", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "let a paused run go on",
    .examples = "aiki runs resume 01JD2V7Q8X3M5N7P9R1S3T5V7W", .run = run_resume};
const struct command cmd_runs_wake = {
    .group = "runs", .name = "wake", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "end the sleeps and retry delays of a run now",
    .examples = "aiki runs wake 01JD2V7Q8X3M5N7P9R1S3T5V7W", .run = run_wake};
const struct command cmd_runs_retry = {
    .group = "runs", .name = "retry", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = retry_args, .summary = "let a failed, cancelled or timed out run go on from its record",
    .examples = "aiki runs retry 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs retry 01JD2V7Q8X3M5N7P9R1S3T5V7W --from charge-payment",
    .run = run_retry};
const struct command cmd_letters_redrive = {
    .group = "dead-letters", .name = "redrive", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = retry_args, .summary = "execute what failed again; as `aiki runs retry`",
    .examples = "aiki dead-letters redrive 01JD2V7Q8X3M5N7P9R1S3T5V7W --reason 'bank is back'",
    .run = run_retry};
const struct command cmd_letters_drop = {
    .group = "dead-letters", .name = "drop", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = reason_args, .summary = "list a failed run no more; the run stays as it is",
    .examples = "aiki dead-letters drop 01JD2V7Q8X3M5N7P9R1S3T5V7W --reason 'paid by hand'",
    .run = letter_drop};
/* clang-format on */
