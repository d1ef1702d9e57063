/* broker/exporter.h - GET /metrics of a runtime, for Prometheus; off unless asked for. [loop]
 *
 * Says numbers and codes only, but to everybody who reaches the address: keep it local or in a network
 * that is trusted. Limits: EXPORTER_CONNECTIONS_MAX, EXPORTER_IDLE_S.
 */
#ifndef BROKER_EXPORTER_H
#define BROKER_EXPORTER_H

#include <aiki/msgpack.h>
#include <aiki/status.h>
#include <uv.h>

enum { EXPORTER_CONNECTIONS_MAX = 16, EXPORTER_IDLE_S = 10 };

struct exporter;

/* address: IP:PORT, port 0 for any. write: appends the text, for each request. AIKI_INVALID,
 * AIKI_CONFLICT: the address cannot be listened on. */
aiki_status exporter_start(struct exporter **ret, uv_loop_t *loop, const char *address,
                           void (*write)(aiki_writer *w, void *arg), void *arg, aiki_error *err);
/* "127.0.0.1:9095" */
const char *exporter_address(const struct exporter *e);
void exporter_close(struct exporter *e, void (*on_closed)(void *arg), void *arg);

#endif
