/* cmd_inspect.c - `aiki runs inspect | watch`: a run's row and its history.
 *
 * The protocol tells when a run has ended (WAIT) but not when its history grew, so watching asks
 * for new events after each short WAIT while the run is open.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "head.h"
#include "report.h"
#include "text.h"
#include "timeline.h"

enum { PAGE_EVENTS_MAX = 500, LOOK_EVERY_MS = 200 };

/* Called for each event; events are borrowed. */
typedef void (*event_fn)(void *arg, aiki_view event);

/* All events after *after, which moves along. */
static int read_history(struct cli *cli, const char *run_id, int64_t *after, event_fn fn, void *arg)
{
    for (bool more = true; more;) {
        AUTO(buf) aiki_writer args;
        aiki_view document;
        buf_init(&args);
        aiki_mp_map(&args, 3);
        aiki_mp_str(&args, "id");
        aiki_mp_str(&args, run_id);
        aiki_mp_str(&args, "after");
        aiki_mp_int(&args, *after);
        aiki_mp_str(&args, "limit");
        aiki_mp_int(&args, PAGE_EVENTS_MAX);
        int code = cli_query(cli, "runs.history", &args, &document);
        if (code != EXIT_OK)
            return code;
        for (struct doc_list l = doc_list(document, "events"); doc_next(&l);) {
            *after = doc_int(l.item, "seq");
            fn(arg, l.item);
        }
        more = doc_int(document, "next") > 0;
        aiki_client_free(document.data);
    }
    return EXIT_OK;
}

static void print_event(void *arg, aiki_view event)
{
    timeline_print(arg, event);
}

/* ---- inspect ------------------------------------------------------------------------------ */

struct events {
    aiki_writer bytes;
    uint64_t count;
};

static void keep_event(void *arg, aiki_view event)
{
    struct events *e = arg;
    aiki_mp_raw(&e->bytes, event.data, event.size_bytes);
    e->count++;
}

static int print_inspection(struct cli *cli, aiki_view run, const struct events *e)
{
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "run");
    aiki_mp_raw(&w, run.data, run.size_bytes);
    aiki_mp_str(&w, "events");
    aiki_mp_array(&w, e->count);
    aiki_mp_raw(&w, e->bytes.data, e->bytes.size_bytes);
    aiki_status st = print_json(aiki_writer_view(&w), 0, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int run_inspect(struct cli *cli)
{
    const char *run_id = cli->args.operands[0];
    struct events e = {.count = 0};
    struct timeline t = {.brief = args_has(&cli->args, "brief")};
    int64_t after = 0;
    aiki_view run;
    int code = cli_query_one(cli, "runs.get", "id", run_id, &run);
    if (code != EXIT_OK)
        return code;
    buf_init(&e.bytes);
    if (!cli->json)
        head_print(run, clock_wall_ms());
    code = read_history(cli, run_id, &after, cli->json ? keep_event : print_event,
                        cli->json ? (void *)&e : (void *)&t);
    if (code == EXIT_OK && cli->json)
        code = print_inspection(cli, run, &e);
    else if (code == EXIT_OK)
        steps_draw(&t.steps);
    timeline_deinit(&t);
    buf_deinit(&e.bytes);
    aiki_client_free(run.data);
    return code;
}

/* clang-format off */
static const struct arg brief_args[] = {
    {ARG_FLAG, "brief", NULL, NULL, NULL, "without inputs and outputs", 0, 0}, {.type = ARG_END}};

const struct command cmd_runs_inspect = {
    .group = "runs", .name = "inspect", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = brief_args, .summary = "one run: where it stands and all that happened to it",
    .examples = "aiki runs inspect 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs inspect 01JD2V7Q8X3M5N7P9R1S3T5V7W --json | jq .events",
    .run = run_inspect};
/* clang-format on */

/* ---- watch -------------------------------------------------------------------------------- */

static void print_event_json(void *arg, aiki_view event)
{
    (void)arg;
    (void)print_json(event, 0, NULL); /* it came from our own reader */
}

/* 0 while the run is open, else its exit code plus one. */
static int watch_once(struct cli *cli, const char *run_id, int64_t *after, struct timeline *t)
{
    aiki_status st = aiki_client_wait(cli->client, run_id, LOOK_EVERY_MS, NULL, &cli->err);
    if (st != AIKI_OK && st != AIKI_FAILED && st != AIKI_TIMEDOUT)
        return cli_fail(cli, st, &cli->err) + 1;
    int code = read_history(cli, run_id, after, cli->json ? print_event_json : print_event, t);
    fflush(stdout);
    if (code != EXIT_OK)
        return code + 1;
    if (st == AIKI_TIMEDOUT)
        return 0;
    return (st == AIKI_OK ? EXIT_OK : EXIT_INCOMPLETE) + 1;
}

static int run_watch(struct cli *cli)
{
    struct timeline t = {.brief = args_has(&cli->args, "brief")};
    int64_t after = 0;
    int code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    do
        code = watch_once(cli, cli->args.operands[0], &after, &t);
    while (code == 0);
    timeline_deinit(&t);
    return code - 1;
}

/* clang-format off */
const struct command cmd_runs_watch = {
    .group = "runs", .name = "watch", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = brief_args, .summary = "print what happens to a run until it ends",
    .examples = "aiki runs watch 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs watch 01JD2V7Q8X3M5N7P9R1S3T5V7W --json   # one event a line",
    .run = run_watch};
/* clang-format on */
