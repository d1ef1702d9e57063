/* cmd_inspect.c - `aiki runs inspect | watch`: a run's row and its history.
 *
 * Watching asks for the events behind the last one seen; the server answers once there are some. */
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

enum { PAGE_EVENTS_MAX = 500, WATCH_WAIT_MS = 10000 };

/* Called for each event; events are borrowed. */
typedef void (*event_fn)(void *arg, aiki_view event);

struct final {
    bool ended, completed;
};

/* False when the document does not say where the run stands. */
static bool read_state(aiki_view document, struct final *ret)
{
    aiki_view state = doc_text(document, "state");
    *ret = (struct final){false, view_is(state, aiki_run_state_name(AIKI_RUN_COMPLETED))};
    for (int32_t i = AIKI_RUN_QUEUED; i <= AIKI_RUN_CANCELLING; i++)
        ret->ended |= aiki_run_state_is_final(i) && view_is(state, aiki_run_state_name(i));
    return state.size_bytes > 0;
}

/* All events after *after, which moves along. wait_ms: for the first of them, while the run is open.
 * ret_final (may be NULL): the run had ended and these are its last events. */
static int read_history(struct cli *cli, const char *run_id, int64_t *after, int64_t wait_ms,
                        event_fn fn, void *arg, struct final *ret_final)
{
    for (bool more = true; more;) {
        AUTO(buf) aiki_writer args;
        aiki_view document;
        buf_init(&args);
        aiki_mp_map(&args, 4 + CLI_SHOWN_PAIRS);
        cli_put_shown(cli, &args);
        aiki_mp_str(&args, "id");
        aiki_mp_str(&args, run_id);
        aiki_mp_str(&args, "after");
        aiki_mp_int(&args, *after);
        aiki_mp_str(&args, "limit");
        aiki_mp_int(&args, PAGE_EVENTS_MAX);
        aiki_mp_str(&args, "wait_ms");
        aiki_mp_int(&args, wait_ms);
        int code = cli_query(cli, "runs.history", &args, &document);
        if (code != EXIT_OK)
            return code;
        for (struct doc_list l = doc_list(document, "events"); doc_next(&l);) {
            *after = doc_int(l.item, "seq");
            fn(arg, l.item);
        }
        more = doc_int(document, "next") > 0;
        if (ret_final != NULL && !read_state(document, ret_final))
            code = cli_usage(cli, "the server is older than this program and cannot be watched");
        aiki_client_free(document.data);
        if (code != EXIT_OK)
            return code;
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
    int code = cli_query_shown(cli, "runs.get", run_id, &run);
    if (code != EXIT_OK)
        return code;
    buf_init(&e.bytes);
    if (!cli->json)
        head_print(run, clock_wall_ms());
    code = read_history(cli, run_id, &after, 0, cli->json ? keep_event : print_event,
                        cli->json ? (void *)&e : (void *)&t, NULL);
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
    {ARG_FLAG, "brief", NULL, NULL, NULL, "without inputs and outputs", 0, 0},
    SHOWN_ARGS, {.type = ARG_END}};

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

static int run_watch(struct cli *cli)
{
    struct timeline t = {.brief = args_has(&cli->args, "brief")};
    int64_t after = 0;
    struct final final = {false, false};
    int code = cli_connect(cli);
    while (code == EXIT_OK && !final.ended) {
        code = read_history(cli, cli->args.operands[0], &after, WATCH_WAIT_MS,
                            cli->json ? print_event_json : print_event, &t, &final);
        fflush(stdout);
    }
    timeline_deinit(&t);
    return code != EXIT_OK || final.completed ? code : EXIT_INCOMPLETE;
}

/* clang-format off */
const struct command cmd_runs_watch = {
    .group = "runs", .name = "watch", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = brief_args, .summary = "print what happens to a run until it ends",
    .examples = "aiki runs watch 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs watch 01JD2V7Q8X3M5N7P9R1S3T5V7W --json   # one event a line",
    .run = run_watch};
/* clang-format on */
