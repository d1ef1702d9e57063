/* test_registry.c - which workflows there are, who serves them, and which one a start means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "registry.h"

struct fixture {
    struct registry registry;
    struct session *session;
};

static int setup(void **state)
{
    struct session_open open = {.name = "rt"};
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    log_init("test", LOG_ERROR + 1);
    registry_init(&f->registry, "test");
    f->session = session_create(&f->registry, 1, &open, 5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    registry_deinit(&f->registry);
    free(f);
    return 0;
}

/* A plugin with these versions of workflow "order". */
static void put_descriptor(aiki_writer *w, const char *const *versions, size_t count)
{
    static const char *const texts[][2] = {
        {"name", "plug"}, {"version", "1.0.0"}, {"language", "c"}, {"toolchain", "cc"}};
    aiki_mp_map(w, 7);
    for (size_t i = 0; i < 4; i++) {
        aiki_mp_str(w, texts[i][0]);
        aiki_mp_str(w, texts[i][1]);
    }
    aiki_mp_str(w, "abi");
    aiki_mp_array(w, 2);
    aiki_mp_uint(w, 1);
    aiki_mp_uint(w, 0);
    aiki_mp_str(w, "tasks");
    aiki_mp_array(w, 0);
    aiki_mp_str(w, "workflows");
    aiki_mp_array(w, count);
    for (size_t i = 0; i < count; i++) {
        aiki_mp_map(w, 5);
        aiki_mp_str(w, "name");
        aiki_mp_str(w, "order");
        aiki_mp_str(w, "version");
        aiki_mp_str(w, versions[i]);
        aiki_mp_str(w, "summary");
        aiki_mp_str(w, "");
        aiki_mp_str(w, "input");
        aiki_mp_nil(w);
        aiki_mp_str(w, "output");
        aiki_mp_nil(w);
    }
}

/* recorded: or else the rows could not be written. */
static aiki_status try_to_serve(struct fixture *f, uint8_t build_no, const char *const *versions,
                                size_t count, bool recorded, size_t *ret_changed)
{
    uint8_t build[HASH_BYTES] = {build_no};
    struct registration r;
    aiki_writer d;
    buf_init(&d);
    put_descriptor(&d, versions, count);
    const struct msg_REGISTER m = {.build = {build, sizeof(build)},
                                   .file = view_of("plug.so"),
                                   .descriptor = aiki_writer_view(&d)};
    aiki_status status = registry_serve(&f->registry, f->session, &m, 6 + build_no, &r, NULL);
    if (status == AIKI_OK) {
        *ret_changed = r.changed_count;
        if (recorded)
            registry_recorded(&r);
        else
            registry_take_back(&r);
    }
    buf_deinit(&d);
    return status;
}

static aiki_status serve(struct fixture *f, uint8_t build_no, const char *const *versions,
                         size_t count, size_t *ret_changed)
{
    return try_to_serve(f, build_no, versions, count, true, ret_changed);
}

static const char *resolved(struct fixture *f, const char *version)
{
    struct flow *flow;
    aiki_status status =
        registry_resolve(&f->registry, view_of("order"), view_of(version), &flow, NULL);
    return status == AIKI_OK ? flow->version : aiki_status_name(status);
}

/* Without a version: the newest that somebody serves, by number and not by text; when nobody
 * serves any, the newest there ever was. */
static void the_newest_served_is_meant(void **state)
{
    struct fixture *f = *state;
    static const char *const old[] = {"1.9.0", "1.10.0"}, *const new[] = {"2.0.0"};
    uint8_t build[HASH_BYTES] = {2};
    size_t changed;
    assert_string_equal(resolved(f, ""), "NOT_FOUND");
    assert_int_equal(serve(f, 1, old, 2, &changed), AIKI_OK);
    assert_int_equal(changed, 2);
    assert_string_equal(resolved(f, ""), "1.10.0");
    assert_int_equal(serve(f, 2, new, 1, &changed), AIKI_OK);
    assert_string_equal(resolved(f, ""), "2.0.0");
    assert_string_equal(resolved(f, "1.9.0"), "1.9.0");
    assert_string_equal(resolved(f, "3.0.0"), "NOT_FOUND");
    assert_true(registry_withdraw(&f->registry, f->session, (aiki_view){build, HASH_BYTES}));
    assert_string_equal(resolved(f, ""), "1.10.0");
    session_destroy(&f->registry, f->session);
    assert_string_equal(resolved(f, ""), "2.0.0");
}

/* The same build said again changes no row; another build of the same workflow does. */
static void only_changes_are_written(void **state)
{
    struct fixture *f = *state;
    static const char *const versions[] = {"1.0.0"};
    size_t changed;
    assert_int_equal(serve(f, 1, versions, 1, &changed), AIKI_OK);
    assert_int_equal(changed, 1);
    assert_int_equal(serve(f, 1, versions, 1, &changed), AIKI_OK);
    assert_int_equal(changed, 0);
    assert_int_equal(f->session->plugin_count, 1);
    assert_int_equal(serve(f, 2, versions, 1, &changed), AIKI_OK);
    assert_int_equal(changed, 1);
    assert_int_equal(f->session->plugin_count, 2);
    assert_int_equal(f->registry.flow_count, 1);
}

/* What could not be recorded leaves known workflows as they are on record, and new ones unknown; the next
 * attempt has the same to write. */
static void a_refused_registration_leaves_the_record(void **state)
{
    struct fixture *f = *state;
    static const char *const first[] = {"1.0.0"}, *const both[] = {"1.0.0", "2.0.0"};
    struct workflow_row before, after;
    size_t changed;
    assert_int_equal(serve(f, 1, first, 1, &changed), AIKI_OK);
    const struct flow *flow = f->registry.flows[0];
    flow_row(&f->registry, flow, &before);
    const struct description said = flow->said;
    for (int attempt = 0; attempt < 2; attempt++) {
        assert_int_equal(try_to_serve(f, 2, both, 2, false, &changed), AIKI_OK);
        assert_int_equal(changed, 2);
        flow_row(&f->registry, flow, &after);
        assert_ptr_equal(flow->said.input_schema, said.input_schema);
        assert_memory_equal(&after, &before, sizeof(after));
        assert_string_equal(resolved(f, ""), "1.0.0");
        assert_string_equal(resolved(f, "2.0.0"), "NOT_FOUND");
        assert_int_equal(f->session->plugin_count, 1);
        assert_int_equal(flow->serving_count, 1);
    }
    assert_int_equal(serve(f, 2, both, 2, &changed), AIKI_OK);
    assert_int_equal(changed, 2);
    assert_string_equal(resolved(f, ""), "2.0.0");
    assert_int_equal(flow->said.build[0], 2);
    assert_int_equal(flow->said.first_seen_at_ms, 7);
    assert_int_equal(flow->said.last_seen_at_ms, 8);
}

/* What the table remembers comes back, and the same build then changes nothing. */
static void a_restart_remembers(void **state)
{
    struct fixture *f = *state;
    static const char *const versions[] = {"1.0.0"};
    struct registry later;
    struct workflow_row row;
    size_t changed;
    assert_int_equal(serve(f, 1, versions, 1, &changed), AIKI_OK);
    flow_row(&f->registry, f->registry.flows[0], &row);
    registry_init(&later, "test");
    assert_int_equal(registry_restore(&later, &row, NULL), AIKI_OK);
    struct flow *flow = registry_find(&later, view_of("order"), view_of("1.0.0"));
    assert_non_null(flow);
    assert_int_equal(flow->said.first_seen_at_ms, 7);
    assert_string_equal(flow->said.plugin_name, "plug");
    assert_string_equal(flow->stream.key, f->registry.flows[0]->stream.key);
    registry_deinit(&later);
}

/* A queued run that nobody serves is shown as stalled. */
static void nobody_serving_means_stalled(void **state)
{
    struct fixture *f = *state;
    static const char *const versions[] = {"1.0.0"};
    uint8_t build[HASH_BYTES] = {1};
    size_t changed;
    assert_int_equal(serve(f, 1, versions, 1, &changed), AIKI_OK);
    const struct flow *flow = f->registry.flows[0];
    assert_int_equal(flow_display_state(flow, RUN_QUEUED), RUN_QUEUED);
    assert_true(registry_withdraw(&f->registry, f->session, (aiki_view){build, HASH_BYTES}));
    assert_false(registry_withdraw(&f->registry, f->session, (aiki_view){build, HASH_BYTES}));
    assert_int_equal(flow_display_state(flow, RUN_QUEUED), RUN_STALLED);
    assert_int_equal(flow_display_state(flow, RUN_RUNNING), RUN_RUNNING);
}

/* A refusal is shown until the file loads, or is gone. */
static void refusals_end_with_the_file(void **state)
{
    struct fixture *f = *state;
    static const char *const versions[] = {"1.0.0"};
    static const uint8_t error[] = {0x80};
    struct msg_REFUSAL m = {.file = view_of("plug.so"), .error = {error, 1}};
    size_t changed;
    assert_int_equal(registry_refused(&f->registry, f->session, &m, NULL), AIKI_OK);
    assert_int_equal(registry_refused(&f->registry, f->session, &m, NULL), AIKI_OK);
    assert_int_equal(f->session->plugin_count, 1);
    assert_int_equal(serve(f, 1, versions, 1, &changed), AIKI_OK);
    assert_int_equal(f->session->plugin_count, 1);
    assert_int_equal(registry_refused(&f->registry, f->session, &m, NULL), AIKI_OK);
    m.error.size_bytes = 0;
    assert_int_equal(registry_refused(&f->registry, f->session, &m, NULL), AIKI_OK);
    assert_int_equal(f->session->plugin_count, 1);
}

/* Names outside the grammar never become stream keys; junk is no descriptor. */
static void bad_names_and_descriptors_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "a b", "a:b", "{x}", "\x01"};
    struct flow *flow;
    struct registration r;
    uint8_t build[HASH_BYTES] = {1};
    aiki_error err = {.struct_size = sizeof(err)};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(registry_intern(&f->registry, view_of(bad[i]), view_of("1.0.0"), &flow,
                                         &err), AIKI_INVALID);
        assert_int_equal(registry_resolve(&f->registry, view_of(bad[i]), view_of(""), &flow,
                                          &err), AIKI_INVALID);
    }
    struct msg_REGISTER m = {.build = {build, 5}, .descriptor = {build, 1}};
    assert_int_equal(registry_serve(&f->registry, f->session, &m, 1, &r, &err), AIKI_INVALID);
    m.build.size_bytes = HASH_BYTES;
    assert_true(registry_serve(&f->registry, f->session, &m, 1, &r, &err) != AIKI_OK);
    assert_int_equal(f->registry.flow_count, 0);
    assert_int_equal(f->session->plugin_count, 0);
}

/* The counters follow a run through its states and forget it at the end. */
static void counts_follow_the_states(void **state)
{
    struct fixture *f = *state;
    struct flow *flow;
    assert_int_equal(registry_intern(&f->registry, view_of("order"), view_of("1.0.0"), &flow,
                                     NULL), AIKI_OK);
    flow_count(flow, 0, RUN_QUEUED, 10);
    flow_count(flow, 0, RUN_QUEUED, 20);
    assert_int_equal(flow->queued_since_ms, 10);
    flow_count(flow, RUN_QUEUED, RUN_RUNNING, 30);
    assert_int_equal(flow->counts[RUN_QUEUED], 1);
    flow_count(flow, RUN_RUNNING, RUN_COMPLETED, 40);
    flow_count(flow, RUN_QUEUED, RUN_FAILED, 40);
    for (uint32_t s = 0; s <= RUN_CANCELLING; s++)
        assert_int_equal(flow->counts[s], 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_newest_served_is_meant),
        CASE(only_changes_are_written),
        CASE(a_refused_registration_leaves_the_record),
        CASE(a_restart_remembers),
        CASE(nobody_serving_means_stalled),
        CASE(refusals_end_with_the_file),
        CASE(bad_names_and_descriptors_are_refused),
        CASE(counts_follow_the_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
