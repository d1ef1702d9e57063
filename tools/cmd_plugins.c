/* cmd_plugins.c - `aiki plugins list | show | unquarantine | check | gate`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "text.h"
#include "wire/error.h"

/* ---- list --------------------------------------------------------------------------------- */

/* What its file declares, in short; `plugins show` has all of it. */
static void table_needs(struct table *t, aiki_view plugin)
{
    enum { SHOWN_BYTES = 32 };
    aiki_view needs = doc_text(plugin, "needs");
    bool cut = needs.size_bytes > SHOWN_BYTES;
    if (needs.size_bytes == 0)
        table_cell(t, "-");
    else
        table_cell(t, "%.*s%s", cut ? SHOWN_BYTES : (int)needs.size_bytes, (const char *)needs.data,
                   cut ? "..." : "");
}

/* "no", since when it is, or nothing where nobody says. */
static void loaded_cell(struct table *t, aiki_view plugin, int64_t now_ms)
{
    char age[HUMAN_SIZE];
    aiki_view process = doc_get(plugin, "process");
    if (doc_get(process, "pid").size_bytes == 0)
        table_cell(t, "%s", "");
    else if (!doc_bool(plugin, "loaded"))
        table_cell(t, "no");
    else
        table_cell(t, "%s", human_age(age, doc_time_ms(process, "since"), now_ms));
}

static void plugin_row(struct table *t, aiki_view plugin)
{
    aiki_view error = doc_get(plugin, "error"), build = doc_text(plugin, "build");
    enum { SHORT_BUILD = 12 };
    if (build.size_bytes > SHORT_BUILD)
        build.size_bytes = SHORT_BUILD;
    table_view(t, doc_text(plugin, "name"));
    table_view(t, doc_text(plugin, "version"));
    table_view(t, doc_text(plugin, "state"));
    loaded_cell(t, plugin, clock_wall_ms());
    table_view(t, build);
    table_view(t, doc_text(plugin, "worker"));
    table_view(t, doc_text(plugin, "file"));
    table_needs(t, plugin);
    if (error.size_bytes > 0) {
        aiki_view code = doc_text(error, "code"), message = doc_text(error, "message");
        table_cell(t, "%.*s: %.*s", (int)code.size_bytes, (const char *)code.data,
                   (int)message.size_bytes, (const char *)message.data);
        return;
    }
    struct doc_list warnings = doc_list(plugin, "warnings");
    bool any = doc_next(&warnings);
    aiki_view message = any ? doc_text(warnings.item, "message") : (aiki_view){NULL, 0};
    table_cell(t, "%s%.*s%s", any ? "warning: " : "", (int)message.size_bytes,
               any ? (const char *)message.data : "", any && doc_next(&warnings) ? ", and more" : "");
}

static void print_quarantined(aiki_view document)
{
    static const char *const headers[] = {"QUARANTINED", "NAME", "BUILD", NULL};
    struct table t;
    bool any = false;
    table_init(&t, headers, 0);
    for (struct doc_list l = doc_list(document, "quarantined"); doc_next(&l);) {
        table_view(&t, doc_text(l.item, "of"));
        table_view(&t, doc_text(l.item, "name"));
        table_view(&t, doc_text(l.item, "build"));
        any = true;
    }
    if (any)
        printf("\n");
    if (any)
        table_print(&t, "");
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"PLUGIN", "VERSION", "STATE", "LOADED", "BUILD",
                                          "WORKER", "FILE",    "NEEDS", "ERROR",  NULL};
    aiki_view document;
    int code = cli_query(cli, "plugins.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "plugins"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 0);
        for (struct doc_list l = doc_list(document, "plugins"); doc_next(&l);)
            plugin_row(&t, l.item);
        table_print(&t, "no plugins; drop .so files into a runtime's plugins folder");
        print_quarantined(document);
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_plugins_list = {
    .group = "plugins", .name = "list", .operands = "",
    .summary = "builds that are served, and files that were refused and why",
    .examples = "aiki plugins list\naiki plugins list --json", .run = run_list};
/* clang-format on */

/* ---- show --------------------------------------------------------------------------------- */

static void print_numbers(aiki_view gate)
{
    static const char *const names[] = {"open", "replayed", "move", "stay", "crashed", "unknown"};
    printf("  gate:");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        printf("%s %lld %s", i > 0 ? "," : "", (long long)doc_int(gate, names[i]), names[i]);
    printf("\n");
}

static void print_findings(aiki_view gate)
{
    for (struct doc_list l = doc_list(gate, "findings"); doc_next(&l);) {
        aiki_view error = doc_get(l.item, "error");
        printf("    run ");
        print_clean(doc_text(l.item, "run"));
        printf(": ");
        print_clean(doc_text(error, "code"));
        printf(": ");
        print_clean(doc_text(error, "message"));
        printf("\n");
    }
}

/* A gate's report, of a build that serves or of one that was refused for it. */
static void print_gate(aiki_view build)
{
    aiki_view gate = doc_get(build, "gate"), build_id = doc_text(build, "build");
    if (gate.size_bytes <= 1) /* nil */
        gate = doc_get(doc_get(build, "error"), "details");
    if (doc_get(gate, "findings").size_bytes == 0)
        return;
    printf("\nbuild %.12s on ", build_id.size_bytes >= 12 ? (const char *)build_id.data : "?");
    print_clean(doc_text(build, "worker"));
    printf("\n");
    print_numbers(gate);
    print_findings(gate);
}

static void build_row(struct table *t, aiki_view build, int64_t now_ms)
{
    char age[HUMAN_SIZE];
    aiki_view id = doc_text(build, "build");
    if (id.size_bytes > 12)
        id.size_bytes = 12;
    table_view(t, id);
    table_view(t, doc_text(build, "version"));
    table_view(t, doc_text(build, "state"));
    table_cell(t, "%s", human_age(age, doc_time_ms(build, "since"), now_ms));
    loaded_cell(t, build, now_ms);
    table_cell(t, "%lld", (long long)doc_int(build, "open"));
    table_view(t, doc_text(build, "worker"));
    table_view(t, doc_text(build, "file"));
}

/* What its process uses, and why there were others before. */
static void print_process(aiki_view build)
{
    aiki_view process = doc_get(build, "process"), id = doc_text(build, "build");
    long long replaced = (long long)doc_int(process, "replaced");
    long long loads = (long long)doc_int(process, "loads");
    if (doc_get(process, "pid").size_bytes == 0)
        return;
    printf("\nprocess of %.12s on ", id.size_bytes >= 12 ? (const char *)id.data : "?");
    print_clean(doc_text(build, "worker"));
    if (doc_int(process, "pid") == 0)
        printf(": not loaded\n");
    else
        printf(": pid %lld, %.1f MiB, %lld descriptors, %lld threads, %.1f s of processor time\n",
           (long long)doc_int(process, "pid"),
           (double)doc_int(process, "memory_bytes") / (1024 * 1024),
           (long long)doc_int(process, "files"), (long long)doc_int(process, "threads"),
           (double)doc_int(process, "cpu_ms") / 1000);
    if (loads > 0)
        printf("  loaded on demand %lld time%s, the last in %lld ms\n", loads, loads == 1 ? "" : "s",
               (long long)doc_int(process, "load_ms"));
    if (replaced == 0)
        return;
    printf("  replaced %lld time%s, the last: ", replaced, replaced == 1 ? "" : "s");
    print_clean(doc_text(process, "why"));
    printf("\n");
}

/* What its file declares: whether that is in force is the setting's to say. */
static void print_needs(aiki_view build)
{
    aiki_view needs = doc_text(build, "needs"), id = doc_text(build, "build");
    if (needs.size_bytes == 0)
        return;
    printf("\nneeds of %.12s on ", id.size_bytes >= 12 ? (const char *)id.data : "?");
    print_clean(doc_text(build, "worker"));
    printf(": ");
    print_clean(needs);
    printf("\n");
}

static int run_show(struct cli *cli)
{
    static const char *const headers[] = {"BUILD",  "VERSION",   "STATE",  "SINCE",
                                          "LOADED", "OPEN RUNS", "WORKER", "FILE", NULL};
    aiki_view document;
    int code = cli_query_one(cli, "plugins.get", "name", cli->args.operands[0], &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "builds"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 1u << 5);
        for (struct doc_list l = doc_list(document, "builds"); doc_next(&l);)
            build_row(&t, l.item, clock_wall_ms());
        table_print(&t, "no builds");
        for (struct doc_list l = doc_list(document, "builds"); doc_next(&l);)
            print_needs(l.item);
        for (struct doc_list l = doc_list(document, "builds"); doc_next(&l);)
            print_gate(l.item);
        for (struct doc_list l = doc_list(document, "builds"); doc_next(&l);)
            print_process(l.item);
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_plugins_show = {
    .group = "plugins", .name = "show", .operands = "NAME", .operand_min = 1, .operand_max = 1,
    .summary = "builds of a plugin: who holds them, open runs, needs, what the gate found, what their process uses",
    .examples = "aiki plugins show hello\naiki plugins show hello.so --json", .run = run_show};
/* clang-format on */

/* ---- unquarantine ------------------------------------------------------------------------- */

static void print_lifted(int64_t lifted)
{
    if (lifted > 0)
        printf("%lld quarantines and blocked runs of that build may go on\n", (long long)lifted);
    else
        puts("it was lifted before: nothing of that build is quarantined, no run is blocked by it");
}

/* BUILD[:NAME] */
static int run_unquarantine(struct cli *cli)
{
    AUTO(buf) aiki_writer args;
    const char *text = cli->args.operands[0], *colon = strchr(text, ':');
    size_t build_bytes = colon != NULL ? (size_t)(colon - text) : strlen(text);
    aiki_view document;
    buf_init(&args);
    aiki_mp_map(&args, colon != NULL ? 2 : 1);
    aiki_mp_str(&args, "build");
    aiki_mp_strn(&args, text, build_bytes);
    if (colon != NULL) {
        aiki_mp_str(&args, "name");
        aiki_mp_str(&args, colon + 1);
    }
    int code = cli_query(cli, "plugins.unquarantine", &args, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json)
        (void)print_json(document, 0, &cli->err); /* a map of a number: it prints */
    else
        print_lifted(doc_int(document, "lifted"));
    aiki_client_free(document.data);
    return EXIT_OK;
}

/* clang-format off */
const struct command cmd_plugins_unquarantine = {
    .group = "plugins", .name = "unquarantine", .operands = "BUILD[:NAME]", .operand_min = 1,
    .operand_max = 1, .summary = "let a build execute code again that crashed too often",
    .examples = "aiki plugins unquarantine 1f3a9c12\naiki plugins unquarantine 1f3a9c12:charge",
    .run = run_unquarantine};
/* clang-format on */

/* ---- check -------------------------------------------------------------------------------- */

/* The runtime does this itself, in a process of its own: this program never loads plugins. */
static int run_runtime(struct cli *cli, const char *const argv[])
{
    char path[CLI_PATH_SIZE];
    const char *runtime = cli_sibling("aiki-runtime", "runtime", path);
    if (runtime[0] != '\0')
        execv(runtime, (char *const *)(uintptr_t)argv);
    else
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    aiki_status st =
        error_set(&cli->err, AIKI_UNSUPPORTED,
                  "cannot run aiki-runtime: %s; install it beside this program", strerror(errno));
    return cli_fail(cli, st, &cli->err);
}

static int run_check(struct cli *cli)
{
    const char *argv[16] = {"aiki-runtime", "--check", cli->args.operands[0]};
    unsigned count = 3;
    if (cli->json)
        argv[count++] = "--json";
    if (args_has(&cli->args, "strict")) {
        argv[count++] = "--determinism";
        argv[count++] = "strict";
    }
    if (args_has(&cli->args, "any-owner")) {
        argv[count++] = "--plugin-owner-check";
        argv[count++] = "off";
    }
    if (args_has(&cli->args, "keys")) {
        argv[count++] = "--plugin-keys";
        argv[count++] = args_text(&cli->args, "keys");
    }
    if (args_has(&cli->args, "sandbox")) {
        argv[count++] = "--sandbox";
        argv[count++] = args_text(&cli->args, "sandbox");
    }
    return run_runtime(cli, argv);
}

/* clang-format off */
static const struct arg check_args[] = {
    {ARG_FLAG, "strict", .help = "refuse what workflow code must not call (determinism = strict)"},
    {ARG_FLAG, "any-owner", .help = "do not look whose file it is (plugin-owner-check = off)"},
    {ARG_TEXT, "keys", "DIR", .help = "ask for a signature by one of these keys (plugin-keys)"},
    {ARG_TEXT, "sandbox", "SETTING", .help = "whether what it declares to need is allowed there (sandbox)"},
    {.type = ARG_END}};
const struct command cmd_plugins_check = {
    .group = "plugins", .name = "check", .operands = "FILE", .operand_min = 1, .operand_max = 1,
    .is_local = true, .args = check_args,
    .summary = "whether a runtime would serve this file, what it offers, what speaks against it",
    .examples = "aiki plugins check ./hello.so\naiki plugins check ./hello.so --strict --json",
    .run = run_check};
/* clang-format on */

/* ---- gate --------------------------------------------------------------------------------- */

static int run_gate(struct cli *cli)
{
    static const char *const passed_on[] = {"tls-ca", "tls-cert", "tls-key", "token", "token-file"};
    static const char *const flags[] = {"--tls-ca", "--tls-cert", "--tls-key", "--token",
                                        "--token-file"};
    const struct args *a = &cli->args;
    const char *server = args_has(a, "against") ? args_text(a, "against") : args_text(a, "server");
    const char *argv[24] = {"aiki-runtime", "--replay",    a->operands[0], "--server",
                            server,         "--namespace", args_text(a, "namespace")};
    size_t count = 7;
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        if (!args_is_given(a, passed_on[i]))
            continue; /* from the environment it comes by itself */
        argv[count++] = flags[i];
        argv[count++] = args_text(a, passed_on[i]);
    }
    if (cli->json)
        argv[count++] = "--json";
    return run_runtime(cli, argv);
}

/* clang-format off */
static const struct arg gate_args[] = {
    {ARG_TEXT, "against", "HOST:PORT", NULL, NULL, "the server whose open runs are asked; as --server", 0, 0},
    {.type = ARG_END}};
const struct command cmd_plugins_gate = {
    .group = "plugins", .name = "gate", .operands = "FILE", .operand_min = 1, .operand_max = 1,
    .args = gate_args,
    .summary = "replay the open runs of a server against this file, before it is deployed",
    .examples = "aiki plugins gate ./hello.so\naiki plugins gate ./hello.so --against 10.0.0.5:9090 --json",
    .run = run_gate};
/* clang-format on */
