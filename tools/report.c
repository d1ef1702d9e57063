/* report.c - see report.h. */
#include "report.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "doc.h"
#include "text.h"
#include "wire/error.h"

/* The pairs that every object about a run begins with. extra: pairs the caller adds. */
static void begin_object(aiki_writer *w, const struct report *r, uint64_t extra)
{
    aiki_mp_map(w, 1 + (r->workflow != NULL ? 1u : 0u) + (r->has_created ? 1u : 0u) + extra);
    aiki_mp_str(w, "id");
    aiki_mp_str(w, r->run_id);
    if (r->workflow != NULL) {
        aiki_mp_str(w, "workflow");
        aiki_mp_str(w, r->workflow);
    }
    if (r->has_created) {
        aiki_mp_str(w, "created");
        aiki_mp_bool(w, r->created);
    }
}

static int print_object(struct cli *cli, const aiki_writer *w)
{
    aiki_status st =
        w->status == AIKI_OK ? print_json(aiki_writer_view(w), 0, &cli->err) : w->status;
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int report_started(struct cli *cli, const struct report *r)
{
    if (!cli->json) {
        printf("%s\n", r->run_id);
        if (out_is_terminal())
            fprintf(stderr, "%s; `aiki runs watch %s` follows it\n",
                    r->created ? "started" : "the key named this run, which exists", r->run_id);
        return EXIT_OK;
    }
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    begin_object(&w, r, 0);
    return print_object(cli, &w);
}

/* what: "output" or "error", as the server shows it; NULL: it has not ended. */
static int print_outcome_object(struct cli *cli, const struct report *r, int32_t state, const char *what,
                                aiki_view value)
{
    static const uint8_t nil = 0xc0;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    begin_object(&w, r, what != NULL ? 2 : 1);
    aiki_mp_str(&w, "state");
    aiki_mp_str(&w, aiki_run_state_name(state));
    if (what != NULL) {
        aiki_mp_str(&w, what);
        aiki_mp_raw(&w, value.size_bytes > 0 ? value.data : &nil,
                    value.size_bytes > 0 ? value.size_bytes : 1);
    }
    return print_object(cli, &w);
}

/* What an open run waits for, as far as its state tells. */
static const char *prospect(int32_t state)
{
    switch (state) {
    case AIKI_RUN_BLOCKED: return "waits for a build that fits; `aiki runs inspect` shows why";
    case AIKI_RUN_STALLED: return "waits for a runtime that serves its workflow";
    case AIKI_RUN_PAUSED: return "waits for `aiki runs resume`";
    case AIKI_RUN_SCHEDULED: return "waits for its time";
    case AIKI_RUN_CANCELLING: return "is cleaning up";
    default: return "goes on";
    }
}

static int report_timed_out(struct cli *cli, const struct report *r)
{
    int32_t state = 0;
    aiki_error err = cli->err;
    aiki_status st = aiki_client_status(cli->client, r->run_id, &state, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (cli->json)
        (void)print_outcome_object(cli, r, state, NULL, (aiki_view){NULL, 0}); /* the exit code says more */
    fprintf(stderr, "aiki: TIMEDOUT: run %s is still %s; it %s\n", r->run_id,
            aiki_run_state_name(state), prospect(state));
    return exit_code_of(err.status);
}

/* The outcome has what the run gave; what people see of that the server says. */
static int print_outcome(struct cli *cli, const struct report *r, const aiki_outcome *o)
{
    AUTO(buf) aiki_writer args;
    aiki_view run = {NULL, 0};
    buf_init(&args);
    aiki_mp_map(&args, 3);
    aiki_mp_str(&args, "id");
    aiki_mp_str(&args, r->run_id);
    aiki_mp_str(&args, "reveal");
    aiki_mp_bool(&args, args_is_given(&cli->args, "reveal"));
    aiki_mp_str(&args, "full");
    aiki_mp_bool(&args, true);
    int code = cli_query(cli, "runs.get", &args, &run);
    const char *what = o->error != NULL ? "error" : "output";
    if (code == EXIT_OK && cli->json)
        code = print_outcome_object(cli, r, o->state, what, doc_get(run, what));
    else if (code == EXIT_OK &&
             print_json(doc_get(run, "output"), out_is_terminal() ? 2 : 0, &cli->err) != AIKI_OK)
        code = cli_fail(cli, cli->err.status, &cli->err);
    aiki_client_free(run.data);
    return code;
}

int report_wait(struct cli *cli, const struct report *r, int64_t timeout_ms)
{
    const aiki_outcome *o = NULL;
    aiki_status st = aiki_client_wait(cli->client, r->run_id, timeout_ms, &o, &cli->err);
    if (st == AIKI_TIMEDOUT)
        return report_timed_out(cli, r);
    if (o == NULL)
        return cli_fail(cli, st, &cli->err);
    int code = EXIT_OK;
    if (st == AIKI_OK || cli->json)
        code = print_outcome(cli, r, o);
    else
        (void)cli_fail(cli, AIKI_FAILED, &cli->err);
    aiki_client_free(o);
    return st == AIKI_OK ? code : EXIT_INCOMPLETE;
}
