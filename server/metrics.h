/* metrics.h - counters by name. [any] The one thing that threads share: each is only added to. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <aiki/msgpack.h>
#include <stdatomic.h>

/* name, help */
#define METRICS(X)                                                                            \
    X(runs_started, "Runs started")                                                           \
    X(runs_completed, "Runs that completed")                                                  \
    X(runs_failed, "Runs that failed")                                                        \
    X(runs_stopped, "Runs that ended cancelled, terminated or timed out")                     \
    X(runs_blocked, "Times a run was blocked by diverging code")                              \
    X(crashes, "Processes that plugin code took down, charged to a run")                      \
    X(quarantines, "Tasks and workflows of a build that were quarantined")                    \
    X(children_started, "Runs started by other runs as their children")                       \
    X(starts_deduplicated, "Starts answered with an existing run")                            \
    X(appends, "Appends recorded")                                                            \
    X(appends_repeated, "Appends seen before and answered as then")                           \
    X(events, "Events recorded")                                                              \
    X(signals, "Signals recorded")                                                            \
    X(signals_deduplicated, "Signals whose reference had been seen")                          \
    X(controls, "Requests that changed a run: cancel, terminate, pause, resume, wake, retry, drop") \
    X(timers_fired, "Runs woken or ended by their timer")                                     \
    X(claims, "Claims granted")                                                               \
    X(claims_refused, "Claims of tickets that were no longer valid")                          \
    X(fenced_writes, "Writes of former owners that were refused")                             \
    X(sessions_opened, "Runtimes that connected")                                             \
    X(sessions_expired, "Runtimes that fell silent for a whole lease")                        \
    X(connections, "Connections accepted")                                                    \
    X(connections_refused, "Connections over CONNECTIONS_MAX")                                \
    X(frames_damaged, "Connections cut because of damaged frames")                            \
    X(plugins_refused, "Plugin files that runtimes refused, as they reported it")             \
    X(requests_refused, "Requests answered with FAULT")                                       \
    X(tickets_published, "Tickets added to Redis streams")                                    \
    X(tickets_reoffered, "Offers repeated after Redis or a runtime lost tickets")             \
    X(tickets_failed, "Tickets that Redis did not take; they are offered again")              \
    X(store_commits, "Commits, one fsync each")                                               \
    X(store_commits_refused, "Commits the store refused; their requests were answered so")    \
    X(batches, "Batches taken by the store thread")                                           \
    X(commands, "Commands decided by the store thread")                                       \
    X(runs_loaded, "Runs read from the store because they were not in memory")

struct metrics {
#define METRIC_FIELD(name, help) _Atomic uint64_t name;
    METRICS(METRIC_FIELD)
#undef METRIC_FIELD
};
extern struct metrics metrics;

#define metric_add(name, n) \
    ((void)atomic_fetch_add_explicit(&metrics.name, (n), memory_order_relaxed))
#define metric_read(name) atomic_load_explicit(&metrics.name, memory_order_relaxed)

/* Prometheus text: aiki_NAME_total each. */
void metrics_write(aiki_writer *w);
/* The same as a msgpack map of name to number. */
void metrics_write_map(aiki_writer *w);

#endif
