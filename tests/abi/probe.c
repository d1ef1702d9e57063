/* probe.c - uses every public type once, so that abidiff finds all of them in the debug
 * information of a library made of nothing else.
 */
#include <aiki/client.h>
#include <aiki/record.h>

/* One exported function per type: its signature is what abidiff compares. */
#define PROBE(name, type)                  \
    AIKI_EXPORT void probe_##name(type *p); \
    void probe_##name(type *p) { (void)p; }

PROBE(view, aiki_view)
PROBE(error, aiki_error)
PROBE(writer, aiki_writer)
PROBE(item, aiki_mp_item)
PROBE(reader, aiki_reader)
PROBE(memory, aiki_memory)
PROBE(plugin_def, aiki_plugin_def)
PROBE(plugin_fn, aiki_plugin_fn)
PROBE(record_def, aiki_record_def)
PROBE(task_options, aiki_task_options)
PROBE(call, aiki_call)
PROBE(run, aiki_run)
PROBE(options, aiki_client_options)
PROBE(start, aiki_start)
PROBE(outcome, aiki_outcome)
PROBE(started, aiki_started)
PROBE(on_started, aiki_on_started)
PROBE(on_outcome, aiki_on_outcome)
PROBE(on_signalled, aiki_on_signalled)
PROBE(on_document, aiki_on_document)
