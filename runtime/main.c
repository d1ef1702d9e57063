/* main.c - the runtime's program, a broker. Plugins are loaded by another one (child/main.c).
 *
 *   aiki-runtime --plugins DIR ...      serve until told to stop
 *   aiki-runtime --check FILE           would this file be served?
 *   aiki-runtime --replay FILE          what would the open runs do with it?
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/reload.h"
#include "base/sandbox.h"
#include "base/sibling.h"
#include "broker/broker.h"
#include "broker/check.h"
#include "broker/gate.h"
#include "broker/rehearse.h"
#include "child/sandbox.h"
#include "intake/cache.h"
#include "intake/watch.h"
#include "wire/error.h"
#include "wire/hash.h"

enum {
    EXIT_USAGE = 2,
    CHILD_PROGRAM_FD_MIN = 16 /* below are those that children get theirs in place of */
};

#define CHILD_PROGRAM "aiki-child"

/* How it is executed. */
static char child_program[sizeof("/proc/self/fd/2147483647")];

static const struct config_key keys[] = {
    {"plugins", CONFIG_TEXT, NULL, 0, 0, "directory of plugins (.so) to serve; watched"},
    {"plugins-ignore", CONFIG_TEXT, "", 0, 0,
     "files and directories there that are none, as patterns: *-test.so,old-*"},
    {"server", CONFIG_TEXT, "127.0.0.1:9090", 0, 0, "aiki-server: HOST:PORT, tls:HOST:PORT or unix:PATH"},
    {"redis", CONFIG_TEXT, "redis://127.0.0.1:6379", 0, 0,
     "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:PATH"},
    {"state", CONFIG_TEXT, NULL, 0, 0,
     "private directory for copies of plugins (default /var/lib/aiki, ~/.local/state/aiki)"},
    {"name", CONFIG_TEXT, NULL, 0, 0, "how this worker is shown (default the host's name)"},
    {"namespace", CONFIG_TEXT, "default", 0, 0, "whose runs to serve"},
    {"token", CONFIG_TEXT, NULL, 0, 0, "for servers that ask for one; everybody sees arguments"},
    {"token-file", CONFIG_TEXT, NULL, 0, 0, "the file it is in, read at each connection"},
    {"tls-ca", CONFIG_TEXT, NULL, 0, 0,
     "whose certificate the server must have (default what the system trusts)"},
    {"tls-cert", CONFIG_TEXT, NULL, 0, 0, "own certificate, for servers that ask for one"},
    {"tls-key", CONFIG_TEXT, NULL, 0, 0, "its key, in a file that others cannot read"},
    {"slots", CONFIG_INT, "512", 1, 100000, "runs resident at a time"},
    {"plugin-keys", CONFIG_TEXT, NULL, 0, 0,
     "only plugins signed by one of the keys (NAME.pub) in this directory (default: no signatures)"},
    {"plugin-owner-check", CONFIG_TEXT, "on", 0, 0,
     "off: plugins that other users could change are served with a warning"},
    {"determinism", CONFIG_TEXT, "warn", 0, 0,
     "strict: plugins whose workflow code calls clocks, chance, files... are refused"},
    {"sandbox", CONFIG_TEXT, "off", 0, 0,
     "keep plugins from files, network and processes: on, try (what the kernel has), declared (but for what "
     "they declare) or off, with needs behind it; also for some files: try,billing.so=on network "
     "write:/var/lib/billing"},
    {"task-threads", CONFIG_INT, "64", 1, 1024, "tasks at a time, for each plugin"},
    {"wait-timeout-ms", CONFIG_INT, "604800000", 0, INT64_C(3660) * 24 * 3600 * 1000,
     "of waits for signals without a limit by call or workflow; 0 = none"},
    {"oom-events", CONFIG_TEXT, "", 0, 0,
     "file with the kernel's count of processes it killed for want of memory (default: found)"},
    {"stopped-ms", CONFIG_INT, "15000", 0, 86400000,
     "how long a signal (SIGSTOP) may stop a plugin's process until it is ended; 0 = for ever"},
    {"drain-ms", CONFIG_INT, "30000", 0, 86400000,
     "how long resident runs may go on when their process is to end"},
    {"keep-previous-ms", CONFIG_INT, "3600000", 0, INT64_C(30) * 86400000,
     "how long the build before is kept for runs that crash the one that serves"},
    {"gate", CONFIG_TEXT, "safe", 0, 0,
     "new builds that open runs do not fit: safe serves them, strict refuses, off does not look; "
     "also for some files: safe,billing.so=strict"},
#define LIMIT_KEY(name, setting, unit, least, most, fallback) \
    {setting, CONFIG_TEXT, fallback, 0, 0,                    \
     unit " of a plugin's process; 0 = no limit; also for some files: 0,billing.so=1000"},
    LIMITS(LIMIT_KEY)
#undef LIMIT_KEY
    {IDLE_SETTING, CONFIG_TEXT, IDLE_DEFAULT, 0, 0,
     "seconds that a plugin's process stays when no run needs it, the first start waits for a run, too; "
     "always: it is there as long as the plugin is; also for some files: 300,billing.so=always"},
    {ALONE_SETTING, CONFIG_TEXT, ALONE_DEFAULT, 0, 0,
     "processes with one run in them, of a plugin at a time: isolated tasks, and who may have crashed; 0 = no limit; "
     "also for some files: 4,billing.so=32"},
    {"log", CONFIG_TEXT, "info", 0, 0, "debug, info, warn or error"},
    {"metrics", CONFIG_TEXT, "", 0, 0,
     "IP:PORT where GET /metrics is answered, such as 127.0.0.1:9095; empty: nowhere"},
    {"ready-fd", CONFIG_INT, "-1", -1, INT_MAX,
     "write one line of JSON to this descriptor once the plugins found at start serve"},
    {"show-config", CONFIG_TEXT, NULL, 0, 0,
     "only print the settings: values, origins with where each comes from, or json"},
    {"check", CONFIG_TEXT, NULL, 0, 0, "only tell whether this file would be served, and why not"},
    {"replay", CONFIG_TEXT, NULL, 0, 0,
     "only tell what the open runs of the server would do with this file"},
    {"json", CONFIG_FLAG, NULL, 0, 0, "the answer of --check or --replay as JSON"},
};

static void print_help(void)
{
    printf("aiki-runtime " AIKI_VERSION " - serves the plugins of a directory\n\n"
           "usage: aiki-runtime --plugins DIR [settings]\n"
           "       aiki-runtime --check FILE [--json]\n"
           "       aiki-runtime --replay FILE --server HOST:PORT [--json]\n\n"
           "Settings, also as AIKI_PLUGINS and so on, or lines of a file (--config):\n");
    config_print_help(keys, ARRAY_COUNT(keys));
    printf("  %-26s %s\n  %-26s %s\n", "--help", "this text", "--version", "the release");
    printf("\nSIGTERM: takes no new runs, lets resident ones finish within drain-ms, gives the\n"
           "others back, ends. A second one ends it at once. kill -9 loses nothing either.\n"
           "SIGHUP, with --config: reads the file again; slots, drain-ms, child-idle, child-alone, log and\n"
           "what is said of plugins change at once, and signatures are checked anew.\n\n"
           "examples:\n"
           "  aiki-runtime --plugins ./plugins\n"
           "  aiki-runtime --plugins /srv/aiki/plugins --server 10.0.0.5:9090 "
           "--redis redis://10.0.0.5:6379\n"
           "  AIKI_SLOTS=64 aiki-runtime --config /etc/aiki/runtime.conf\n"
           "  aiki-runtime --check ./hello.so\n");
}

/* The program that loads plugins stays open, so that it is of this release also after the files of both were
 * replaced by those of a newer one. */
static aiki_status open_child_program(aiki_error *err)
{
    char path[PATH_MAX];
    if (!sibling_path(CHILD_PROGRAM, path, sizeof(path)))
        return error_code(err, AIKI_INVALID, "CHILD_PROGRAM", "where is this program? " CHILD_PROGRAM
                          " is looked for beside it: %s", strerror(errno));
    AUTO(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    int kept = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CHILD_PROGRAM_FD_MIN);
    if (kept < 0)
        return error_code(err, AIKI_INVALID, "CHILD_PROGRAM", "%s: %s; it loads the plugins, install it with "
                          "this program", path, strerror(errno));
    (void)snprintf(child_program, sizeof(child_program), "/proc/self/fd/%d", kept);
    return AIKI_OK;
}

static aiki_status check_choice(const struct config *c, const char *key, const char *one,
                                const char *other, aiki_error *err)
{
    const char *found = config_text(c, key);
    if (strcmp(found, one) == 0 || strcmp(found, other) == 0)
        return AIKI_OK;
    return error_set(err, AIKI_INVALID, "%s must be %s or %s, found \"%.60s\" (%s)", key, one, other,
                     found, config_origin(c, key));
}

static struct limits_settings limits_settings_of(const struct config *c)
{
    struct limits_settings s;
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        s.of[i] = config_text(c, limit_setting((enum limit)i));
    return s;
}

/* What the kernel does not give it does not say. */
static void warn_of_files(const struct config *c)
{
    const struct limits_settings limits = limits_settings_of(c);
    uint64_t asked, most;
    if (limits_files_lack(&limits, &asked, &most))
        log_warn("settings", "child-files is %" PRIu64 " (%s), and plugins get %" PRIu64 " descriptors at "
                 "most, the hard limit of this process; raise that (LimitNOFILE=, ulimit -Hn), or say less",
                 asked, config_origin(c, "child-files"), most);
}

static aiki_status check_settings(const struct config *c, aiki_error *err)
{
    int level;
    if (!log_level_parse(config_text(c, "log"), &level))
        return error_set(err, AIKI_INVALID,
                         "log must be debug, info, warn or error, found \"%.60s\" (%s)",
                         config_text(c, "log"), config_origin(c, "log"));
    const struct limits_settings limits = limits_settings_of(c);
    aiki_status st = gate_policy_check(config_text(c, "gate"), err);
    if (st == AIKI_OK)
        st = limits_check(&limits, (uint64_t)config_int(c, "task-threads"), err);
    if (st == AIKI_OK)
        st = idle_check(config_text(c, IDLE_SETTING), err);
    if (st == AIKI_OK)
        st = alone_check(config_text(c, ALONE_SETTING), err);
    if (st == AIKI_OK)
        st = name_check_patterns(config_text(c, "plugins-ignore"), err);
    if (st == AIKI_OK)
        st = check_choice(c, "plugin-owner-check", "on", "off", err);
    if (st == AIKI_OK)
        st = sandbox_check(config_text(c, "sandbox"), err);
    return st == AIKI_OK ? check_choice(c, "determinism", "warn", "strict", err) : st;
}

/* Of a file that is only looked at, wherever it is. */
static struct limits limits_of_file(const struct config *c, const char *path)
{
    const struct limits_settings settings = limits_settings_of(c);
    const char *slash = strrchr(path, '/');
    return limits_for(&settings, slash != NULL ? slash + 1 : path);
}

static struct admit_options admit_options_of(const struct config *c)
{
    struct admit_options o = {.executable = child_program,
                              .keys_dir = config_text(c, "plugin-keys"),
                              .sandbox = config_text(c, "sandbox"),
                              .any_owner = strcmp(config_text(c, "plugin-owner-check"), "off") == 0,
                              .strict = strcmp(config_text(c, "determinism"), "strict") == 0};
    if (o.any_owner)
        log_warn("intake", "plugin-owner-check is off (%s): whoever may write to a plugin, or to a "
                 "directory on the way to it, decides what runs here",
                 config_origin(c, "plugin-owner-check"));
    return o;
}

/* On is a promise: a runtime that cannot keep it does not start. */
static aiki_status check_sandbox(const struct config *c, aiki_error *err)
{
    enum sandbox_mode most = sandbox_strictest(config_text(c, "sandbox"));
    aiki_error lacks = AIKI_ERROR_INIT;
    if (most == SANDBOX_OFF || sandbox_support(&lacks) == AIKI_OK)
        return AIKI_OK;
    if (most == SANDBOX_ON)
        return error_code(err, AIKI_UNSUPPORTED, "SANDBOX_UNAVAILABLE",
                          "sandbox is on (%s), but %s; say try to go without that, or off",
                          config_origin(c, "sandbox"), lacks.message);
    log_warn("sandbox", "%s; sandboxes go without that (%s)", lacks.message,
             config_origin(c, "sandbox"));
    return AIKI_OK;
}

static void set_log_level(const struct config *c)
{
    int level;
    if (log_level_parse(config_text(c, "log"), &level))
        log_set_level(level);
}

static struct broker_limits limits_of(const struct config *c)
{
    return (struct broker_limits){.slots = (uint64_t)config_int(c, "slots"),
                                  .drain_ms = (uint64_t)config_int(c, "drain-ms"),
                                  .gate = config_text(c, "gate"),
                                  .idle = config_text(c, IDLE_SETTING),
                                  .alone = config_text(c, ALONE_SETTING),
                                  .admit = admit_options_of(c)};
}

static aiki_status check_all(const struct config *c, aiki_error *err)
{
    aiki_status st = check_settings(c, err);
    return st == AIKI_OK ? check_sandbox(c, err) : st;
}

static bool on_hangup(struct broker_limits *ret_limits, void *arg)
{
    static const char *const live[] = {"slots",       "drain-ms",    "log",
                                        "gate",        "determinism", "plugin-keys",
                                        "plugin-owner-check", "sandbox", IDLE_SETTING, ALONE_SETTING, NULL};
    static const struct reload_rules rules = {keys, ARRAY_COUNT(keys), live, check_all};
    struct config *c = arg;
    if (!reload_settings(c, &rules))
        return false;
    set_log_level(c);
    *ret_limits = limits_of(c);
    return true;
}

static aiki_status serve(struct config *c, const char *state_dir, aiki_error *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    const char *name = config_text(c, "name");
    if (name[0] == '\0' && gethostname(host, sizeof(host) - 1) == 0)
        name = host;
    const struct broker_options options = {
        .plugins_dir = config_text(c, "plugins"),
        .ignore = config_text(c, "plugins-ignore"),
        .state_dir = state_dir,
        .server = config_text(c, "server"),
        .redis_url = config_text(c, "redis"),
        .name = name,
        .token = config_text(c, "token"),
        .token_file = config_text(c, "token-file"),
        .tls = {.cert = config_text(c, "tls-cert"),
                .key = config_text(c, "tls-key"),
                .ca = config_text(c, "tls-ca")},
        .space = config_text(c, "namespace"),
        .metrics = config_text(c, "metrics"),
        .executable = child_program,
        .task_threads = (uint64_t)config_int(c, "task-threads"),
        .child_limits = limits_settings_of(c),
        .wait_timeout_ms = config_int(c, "wait-timeout-ms"),
        .stopped_ms = config_int(c, "stopped-ms"),
        .keep_previous_ms = (uint64_t)config_int(c, "keep-previous-ms"),
        .oom_events = config_text(c, "oom-events"),
        .limits = limits_of(c),
        .ready_fd = (int)config_int(c, "ready-fd"),
        .on_hangup = config_file(c)[0] != '\0' ? on_hangup : NULL,
        .arg = c,
    };
    warn_of_files(c);
    /* What whoever started this process left open is not for children. */
    (void)close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    return broker_run(&options, err);
}

static int rehearse(const struct config *c, const char *file, const char *state_dir)
{
    const struct rehearse_options options = {.state_dir = state_dir,
                                             .executable = child_program,
                                             .server = config_text(c, "server"),
                                             .token = config_text(c, "token"),
                                             .token_file = config_text(c, "token-file"),
                                             .space = config_text(c, "namespace"),
                                             .tls = {.cert = config_text(c, "tls-cert"),
                                                     .key = config_text(c, "tls-key"),
                                                     .ca = config_text(c, "tls-ca")},
                                             .sandbox = config_text(c, "sandbox"),
                                             .limits = limits_of_file(c, file),
                                             .json = config_flag(c, "json")};
    return rehearse_plugin(file, &options);
}

static int run(struct config *c)
{
    char default_state[CACHE_PATH_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    const char *state_dir = config_text(c, "state");
    if (state_dir[0] == '\0') {
        cache_default_state_dir(default_state);
        state_dir = default_state;
    }
    log_init("runtime", LOG_INFO);
    if (check_settings(c, &err) != AIKI_OK) {
        log_error("settings", "%s", err.message);
        return EXIT_USAGE;
    }
    set_log_level(c);
    const char *show = config_text(c, "show-config");
    if (show[0] != '\0' && config_show(c, show, &err) == AIKI_OK)
        return EXIT_SUCCESS;
    if (show[0] != '\0') {
        log_error("settings", "%s", err.message);
        return EXIT_USAGE;
    }
    hash_setup();
    if (check_sandbox(c, &err) != AIKI_OK) {
        log_error("settings", "%s: %s", err.code, err.message);
        return EXIT_USAGE;
    }
    if (open_child_program(&err) != AIKI_OK) {
        log_error("settings", "%s: %s", err.code, err.message);
        return EXIT_FAILURE;
    }
    const char *file = config_text(c, "replay");
    if (file[0] != '\0')
        return rehearse(c, file, state_dir);
    file = config_text(c, "check");
    if (file[0] != '\0') {
        struct check_options options = {.state_dir = state_dir,
                                        .admit = admit_options_of(c),
                                        .json = config_flag(c, "json")};
        options.admit.limits = limits_of_file(c, file);
        return check_plugin(file, &options);
    }
    if (config_text(c, "plugins")[0] == '\0' || config_positional_count(c) > 0) {
        log_error("settings", "--plugins DIR is needed, and nothing but settings; see --help");
        return EXIT_USAGE;
    }
    if (serve(c, state_dir, &err) == AIKI_OK)
        return EXIT_SUCCESS;
    log_error("settings", "%s", err.message);
    return aiki_status_category(err.status) == AIKI_CATEGORY_CALLER ? EXIT_USAGE : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct config *c;
    aiki_error err = AIKI_ERROR_INIT;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("aiki-runtime " AIKI_VERSION "\n");
            return EXIT_SUCCESS;
        }
    }
    if (config_load(&c, keys, ARRAY_COUNT(keys), argc, argv, &err) != AIKI_OK) {
        log_error("settings", "%s", err.message);
        return EXIT_USAGE;
    }
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(2), as a full disk is */
    int code = run(c);
    config_destroy(c);
    return code;
}
