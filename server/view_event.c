/* view_event.c - one event of a history as a map. What an event does not have is left out. */
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "views.h"
#include "wire/child.h"

static const char *outcome_name(uint64_t outcome)
{
    static const char *const names[] = {[OUTCOME_OK] = "ok",
                                        [OUTCOME_FAILED] = "failed",
                                        [OUTCOME_TIMEDOUT] = "timed_out",
                                        [OUTCOME_CANCELLED] = "cancelled"};
    return outcome < ARRAY_COUNT(names) ? names[outcome] : "unknown";
}

static const char *close_policy_name(uint64_t policy)
{
    static const char *const names[] = {
        [CLOSE_CANCEL] = "cancel", [CLOSE_TERMINATE] = "terminate", [CLOSE_ABANDON] = "abandon"};
    return policy < ARRAY_COUNT(names) ? names[policy] : "unknown";
}

static void put_hex(struct view_map *m, const char *name, const uint8_t *bytes, size_t size_bytes)
{
    view_name(m, name);
    view_hex(m->w, bytes, size_bytes);
}

/* In or out of what the event is about. */
static void put_value(struct view_map *m, const struct view_scene *scene, const struct event *e,
                      const char *name, bool output, aiki_view value)
{
    struct value_of of = {.kind = 0};
    if (scene->steps != NULL)
        of = steps_value(scene->steps, e, output);
    view_put_payload(m, name, scene->how, &of, value);
}

/* Of what no schema speaks. */
static struct value_of free_value(const struct view_scene *scene, const struct event *e)
{
    struct value_of of = {.kind = VALUE_FREE};
    if (scene->steps == NULL)
        return of;
    of = steps_value(scene->steps, e, false);
    if (of.kind == STEP_CHILD)
        of.home = of.name; /* of a child, perhaps of another plugin */
    of.kind = VALUE_FREE;
    return of;
}

static void put_free(struct view_map *m, const struct view_scene *scene, const struct event *e,
                     const char *name, aiki_view value)
{
    const struct value_of of = free_value(scene, e);
    view_put_payload(m, name, scene->how, &of, value);
}

static void put_error(struct view_map *m, const struct view_scene *scene, const struct event *e,
                      aiki_view error)
{
    const struct value_of of = free_value(scene, e);
    view_put_error(m, "error", scene->how, &of, error);
}

static void put_started(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    view_put_text(m, "workflow", e->as.started.workflow);
    view_put_text(m, "version", e->as.started.version);
    put_value(m, scene, e, "input", false, e->as.started.input);
    view_put_text(m, "key", e->as.started.key);
    view_put_text(m, "actor", e->as.started.actor);
    if (!id_is_zero(&e->as.started.parent)) {
        view_put_id(m, "parent", &e->as.started.parent);
        put_hex(m, "parent_address", e->as.started.parent_address.bytes, ADDRESS_BYTES);
        view_put_uint(m, "parent_nth", e->as.started.parent_nth);
        view_put_text(m, "close_policy", view_of(close_policy_name(e->as.started.close_policy)));
    }
    if (e->as.started.start_at_ms > 0)
        view_put_time(m, "start_at", e->as.started.start_at_ms);
    if (e->as.started.deadline_ms > 0)
        view_put_time(m, "deadline_at", e->as.started.deadline_ms);
    if (e->as.started.retry.size_bytes > 0)
        view_put_retry(m, "retry", e->as.started.retry);
}

/* The first event that speaks of a step says what it is. */
static void put_step(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    put_hex(m, "address", e->as.step.address.bytes, ADDRESS_BYTES);
    view_put_uint(m, "nth", e->as.step.nth);
    bool named = e->as.step.identity_kind != 0;
    view_put_text(m, "step",
                  named ? view_of(step_kind_name(e->as.step.identity_kind)) : (aiki_view){NULL, 0});
    view_put_text(m, "name", e->as.step.name);
    put_value(m, scene, e, "input", false, e->as.step.input);
}

static void put_child(struct view_map *m, const struct aiki_id *run, const struct event *e)
{
    struct child_options o;
    if (child_options_read(e->as.step.options, &o) != AIKI_OK)
        return;
    struct aiki_id child = child_id(run, &e->as.step.address, e->as.step.nth, o.pass);
    view_put_id(m, "child", &child);
    view_put_text(m, "child_version", o.version);
    view_put_text(m, "child_key", o.key);
    view_put_text(m, "close_policy", view_of(close_policy_name(o.close_policy)));
    view_put_bool(m, "detached", o.detached);
    if (o.shared)
        view_put_bool(m, "shared", true);
    view_put_uint(m, "schedule_to_start_ms", (uint64_t)o.schedule_to_start_ms);
}

static void put_step_begun(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    put_step(m, scene, e);
    view_put_time(m, "due_at", e->as.step.due_at_ms);
    if (e->as.step.identity_kind == STEP_CHILD)
        put_child(m, scene->run, e);
}

static void put_attempt(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    put_error(m, scene, e, e->as.step.error);
    view_put_uint(m, "duration_us", (uint64_t)e->as.step.duration_us);
    if (e->as.step.options.size_bytes > 0)
        view_put_retry(m, "retry", e->as.step.options);
}

static void put_attempt_failed(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    put_step(m, scene, e);
    view_put_uint(m, "attempt", e->as.step.attempt);
    view_put_time(m, "next_at", e->as.step.next_at_ms);
    put_attempt(m, scene, e);
}

static void put_step_done(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    put_step(m, scene, e);
    view_put_uint(m, "attempt", e->as.step.attempt);
    view_put_text(m, "outcome", view_of(outcome_name(e->as.step.outcome)));
    put_value(m, scene, e, "output", true, e->as.step.value);
    put_attempt(m, scene, e);
}

static void put_warned(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    static const struct address whole_run;
    if (memcmp(&e->as.step.address, &whole_run, sizeof(whole_run)) != 0)
        put_step(m, scene, e);
    view_put_text(m, "value", view_of(e->as.step.warned == WARNED_INPUT    ? "input"
                                      : e->as.step.warned == WARNED_OUTPUT ? "output"
                                                                           : "recorded"));
    put_error(m, scene, e, e->as.step.error);
}

static void put_control(struct view_map *m, const struct event *e)
{
    view_put_text(m, "reason", e->as.control.reason);
    view_put_text(m, "actor", e->as.control.actor);
    view_put_text(m, "ref", e->as.control.ref);
}

static void put_child_done(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    if (!id_is_zero(&e->as.child_done.by))
        view_put_id(m, "by", &e->as.child_done.by);
    view_put_id(m, "child", &e->as.child_done.child);
    view_put_text(m, "state", view_of(run_state_name(e->as.child_done.state)));
    put_value(m, scene, e, "output", true, e->as.child_done.output);
    put_error(m, scene, e, e->as.child_done.error);
}

static void put_run_retried(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    view_put_uint(m, "from_seq", e->as.run_retried.from_seq);
    view_put_uint(m, "attempt", e->as.run_retried.attempt);
    view_put_time(m, "next_at", e->as.run_retried.next_at_ms);
    put_error(m, scene, e, e->as.run_retried.error);
    view_put_text(m, "reason", e->as.run_retried.reason);
    view_put_text(m, "actor", e->as.run_retried.actor);
    view_put_text(m, "ref", e->as.run_retried.ref);
}

static void put_crashed(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    if (e->as.crashed.attempt > 0) {
        put_hex(m, "address", e->as.crashed.address.bytes, ADDRESS_BYTES);
        view_put_uint(m, "nth", e->as.crashed.nth);
        view_put_uint(m, "attempt", e->as.crashed.attempt);
    }
    bool is_known = !view_is(e->as.crashed.name, CRASHED_BY_UNKNOWN);
    view_put_text(m, "step", view_of(e->as.crashed.attempt > 0 ? "task" : is_known ? "workflow" : "unknown"));
    view_put_text(m, "name", e->as.crashed.name);
    view_put_bool(m, "charged", e->as.crashed.charged);
    put_hex(m, "build", e->as.crashed.build.data, (size_t)e->as.crashed.build.size_bytes);
    put_error(m, scene, e, e->as.crashed.error);
}

static void put_unblocked(struct view_map *m, const struct event *e)
{
    static const char *const why[] = {[UNBLOCKED_BY_BUILD] = "a build appeared",
                                      [UNBLOCKED_LIFTED] = "lifted",
                                      [UNBLOCKED_IN_VAIN] = "nothing came in time"};
    if (e->as.unblocked.why < ARRAY_COUNT(why))
        view_put_text(m, "why", view_of(why[e->as.unblocked.why]));
}

static void put_body(struct view_map *m, const struct view_scene *scene, const struct event *e)
{
    switch (e->kind) {
    case EVENT_STARTED: put_started(m, scene, e); break;
    case EVENT_CLAIMED:
        view_put_id(m, "session", &e->as.claimed.session);
        put_hex(m, "build", e->as.claimed.build.data, (size_t)e->as.claimed.build.size_bytes);
        view_put_text(m, "runtime", e->as.claimed.runtime);
        if (e->as.claimed.load_ms > 0)
            view_put_uint(m, "load_ms", e->as.claimed.load_ms);
        break;
    case EVENT_STEP_BEGUN: put_step_begun(m, scene, e); break;
    case EVENT_ATTEMPT_FAILED: put_attempt_failed(m, scene, e); break;
    case EVENT_STEP_DONE:
    case EVENT_ATTEMPT_DONE: put_step_done(m, scene, e); break;
    case EVENT_HEARTBEAT:
        put_step(m, scene, e);
        view_put_uint(m, "attempt", e->as.step.attempt);
        put_free(m, scene, e, "details", e->as.step.value);
        break;
    case EVENT_WARNED: put_warned(m, scene, e); break;
    case EVENT_SIGNAL:
        view_put_text(m, "name", e->as.signal.name);
        put_free(m, scene, e, "payload", e->as.signal.payload);
        view_put_text(m, "ref", e->as.signal.ref);
        break;
    case EVENT_COMPLETED: put_value(m, scene, e, "output", true, e->as.completed.output); break;
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT: put_error(m, scene, e, e->as.failed.error); break;
    case EVENT_BLOCKED: put_error(m, scene, e, e->as.blocked.error); break;
    case EVENT_CANCEL_REQUESTED:
    case EVENT_TERMINATED:
    case EVENT_PAUSED:
    case EVENT_RESUMED:
    case EVENT_DROPPED:
    case EVENT_WOKEN: put_control(m, e); break;
    case EVENT_CHILD_DONE: put_child_done(m, scene, e); break;
    case EVENT_JOINED: view_put_id(m, "run", &e->as.joined.parent); break;
    case EVENT_RUN_RETRIED: put_run_retried(m, scene, e); break;
    case EVENT_CRASHED: put_crashed(m, scene, e); break;
    case EVENT_UNBLOCKED: put_unblocked(m, e); break;
    default: break; /* CANCEL_SEEN: nothing more to say */
    }
}

void view_event(aiki_writer *w, const struct view_scene *scene, const struct event *e,
                const uint8_t hash[HASH_BYTES])
{
    struct view_map m;
    view_map_begin(&m, w);
    view_put_uint(&m, "seq", e->seq);
    view_put_time(&m, "at", e->at_ms);
    view_put_uint(&m, "epoch", e->epoch);
    view_put_text(&m, "kind", view_of(event_kind_name(e->kind)));
    put_body(&m, scene, e);
    put_hex(&m, "hash", hash, HASH_BYTES);
    view_map_end(&m);
}
