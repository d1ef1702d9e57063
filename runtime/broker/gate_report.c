/* gate_report.c - see gate_report.h; and what the settings say about gates. */
#include "broker/gate_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"

enum { LOGGED_FINDINGS_MAX = 5 };

/* ---- policy -------------------------------------------------------------------------------- */

static const char *const policy_names[] = {"safe", "strict", "off"};

const char *gate_policy_name(enum gate_policy policy)
{
    return policy_names[policy];
}

static bool parse_policy(const char *text, size_t size, enum gate_policy *ret)
{
    for (unsigned i = 0; i < ARRAY_COUNT(policy_names); i++) {
        if (strlen(policy_names[i]) != size || strncmp(policy_names[i], text, size) != 0)
            continue;
        *ret = (enum gate_policy)i;
        return true;
    }
    return false;
}

/* "FILE=POLICY" or "POLICY". *ret_file: size 0 when it is about all files. */
static bool parse_entry(const char *entry, size_t size, aiki_view *ret_file, enum gate_policy *ret)
{
    const char *equals = memchr(entry, '=', size);
    size_t name = equals != NULL ? (size_t)(equals - entry) : 0;
    *ret_file = (aiki_view){(const uint8_t *)entry, name};
    if (equals == NULL)
        return parse_policy(entry, size, ret);
    return name > 0 && parse_policy(equals + 1, size - name - 1, ret);
}

aiki_status gate_policy_check(const char *setting, aiki_error *err)
{
    for (const char *at = setting; *at != '\0';) {
        size_t size = strcspn(at, ",");
        aiki_view file;
        enum gate_policy policy;
        if (!parse_entry(at, size, &file, &policy))
            return error_set(err, AIKI_INVALID,
                             "gate must be safe, strict or off, and FILE=POLICY for some files, with "
                             "commas between, found \"%.*s\"",
                             (int)(size < 60 ? size : 60), at);
        at += size + (at[size] == ',');
    }
    return AIKI_OK;
}

enum gate_policy gate_policy_of(const char *setting, const char *file)
{
    enum gate_policy policy = GATE_SAFE, of_entry = GATE_SAFE;
    for (const char *at = setting; *at != '\0';) {
        size_t size = strcspn(at, ",");
        aiki_view name;
        if (parse_entry(at, size, &name, &of_entry)) {
            if (view_is(name, file))
                return of_entry;
            if (name.size_bytes == 0)
                policy = of_entry;
        }
        at += size + (at[size] == ',');
    }
    return policy;
}

/* ---- report -------------------------------------------------------------------------------- */

static void put_view(aiki_writer *w, const char *key, aiki_view text)
{
    aiki_mp_str(w, key);
    aiki_mp_strn(w, text.data, text.size_bytes);
}

static void put_number(aiki_writer *w, const char *key, uint64_t value)
{
    aiki_mp_str(w, key);
    aiki_mp_uint(w, value);
}

void finding_write(aiki_writer *w, const struct finding *f)
{
    char id[AIKI_ID_TEXT_SIZE], hex[BUILD_HEX_SIZE];
    id_text(&f->run, id);
    build_hex(f->last_build, hex);
    aiki_mp_map(w, 6);
    put_view(w, "run", view_of(id));
    put_view(w, "workflow", f->workflow);
    put_view(w, "version", f->version);
    put_view(w, "build", view_of(hex));
    put_number(w, "steps", f->steps);
    aiki_mp_str(w, "error");
    aiki_mp_raw(w, f->error.data, f->error.size_bytes);
}

void gate_report_write(aiki_writer *w, enum gate_policy policy, const struct gate_result *result,
                       aiki_view findings, uint64_t finding_count)
{
    aiki_mp_map(w, 9);
    put_view(w, "policy", view_of(gate_policy_name(policy)));
    put_number(w, "open", result->open);
    put_number(w, "replayed", result->replayed);
    put_number(w, "move", result->move);
    put_number(w, "stay", result->stay);
    put_number(w, "crashed", result->crashed);
    put_number(w, "unknown", result->unknown);
    put_number(w, "took_ms", (uint64_t)result->took_ms);
    aiki_mp_str(w, "findings");
    aiki_mp_array(w, finding_count);
    aiki_mp_raw(w, findings.data, findings.size_bytes);
}

/* The value of a key of a map of ours; empty when it is not there. */
static aiki_view get(aiki_view map, const char *key)
{
    aiki_reader r;
    aiki_reader_init(&r, map);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        bool found = view_is(aiki_mp_read_str(&r), key);
        aiki_view value = aiki_mp_value(&r);
        if (found && r.status == AIKI_OK)
            return value;
    }
    return (aiki_view){NULL, 0};
}

static aiki_view get_text(aiki_view map, const char *key)
{
    aiki_reader r;
    aiki_reader_init(&r, get(map, key));
    return aiki_mp_read_str(&r);
}

static unsigned long long get_number(aiki_view map, const char *key)
{
    aiki_reader r;
    aiki_reader_init(&r, get(map, key));
    return aiki_mp_read_uint(&r);
}

/* fn with each finding, at most `count`. */
static void each_finding(aiki_view report, uint64_t count,
                         void (*fn)(const char *label, aiki_view finding), const char *label)
{
    aiki_reader r;
    aiki_reader_init(&r, get(report, "findings"));
    for (uint64_t left = aiki_mp_read_array(&r); left > 0 && count > 0 && r.status == AIKI_OK;
         left--, count--)
        fn(label, aiki_mp_value(&r));
}

static void print_finding(const char *label, aiki_view finding)
{
    aiki_view run = get_text(finding, "run"), workflow = get_text(finding, "workflow");
    aiki_view version = get_text(finding, "version"), build = get_text(finding, "build");
    aiki_error err = {.struct_size = sizeof(err)};
    (void)label;
    (void)error_read(get(finding, "error"), &err, NULL, NULL);
    printf("  run %.*s of %.*s@%.*s, last executed by build %.12s, after %llu recorded results\n"
           "    %s: %s\n",
           (int)run.size_bytes, (const char *)run.data, (int)workflow.size_bytes,
           (const char *)workflow.data, (int)version.size_bytes, (const char *)version.data,
           build.size_bytes >= 12 ? (const char *)build.data : "?", get_number(finding, "steps"),
           err.code, err.message);
}

void gate_report_print(aiki_view report)
{
    printf("%llu open runs, %llu replayed: %llu move, %llu stay with older builds, %llu crash it, "
           "%llu not known\n",
           get_number(report, "open"), get_number(report, "replayed"), get_number(report, "move"),
           get_number(report, "stay"), get_number(report, "crashed"),
           get_number(report, "unknown"));
    each_finding(report, GATE_FINDINGS_MAX, print_finding, NULL);
}

static void log_finding(const char *label, aiki_view finding)
{
    aiki_view run = get_text(finding, "run");
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_read(get(finding, "error"), &err, NULL, NULL);
    log_warn("gate", "%s: run %.*s: %s: %s", label, (int)run.size_bytes, (const char *)run.data,
             err.code, err.message);
}

void gate_report_log(const char *label, const struct gate_result *result)
{
    if (result->open == 0)
        return;
    log_info("gate",
             "%s: %" PRIu64 " of %" PRIu64 " open runs replayed in %" PRId64 " ms: %" PRIu64
             " move, %" PRIu64 " stay with older builds, %" PRIu64 " crash it, %" PRIu64 " unknown",
             label, result->replayed, result->open, result->took_ms, result->move, result->stay,
             result->crashed, result->unknown);
    each_finding(result->report, LOGGED_FINDINGS_MAX, log_finding, label);
}
