/* local.c - what is answered without the core: the page, health, readiness, metrics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dashboard/dashboard.h"
#include "http/http_impl.h"
#include "wire/error.h"

static void answer_status(struct answer *a, const char *status)
{
    char text[40];
    int n = snprintf(text, sizeof(text), "{\"status\":\"%s\"}\n", status);
    a->status = 200;
    aiki_mp_raw(&a->body, text, (uint64_t)n);
}

static void answer_ready(const struct http *h, struct answer *a)
{
    const char *why_not = "";
    aiki_error err = AIKI_ERROR_INIT;
    if (core_is_ready(h->core, &why_not)) {
        answer_status(a, "ready");
        return;
    }
    (void)error_code(&err, AIKI_UNAVAILABLE, "NOT_READY", "%s", why_not);
    answer_error(a, 503, &err);
}

static void put_metric(aiki_writer *w, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    char text[300];
    int n = snprintf(text, sizeof(text), "# HELP aiki_%s %s\n# TYPE aiki_%s %s\naiki_%s %llu\n",
                     name, help, name, type, name, (unsigned long long)value);
    aiki_mp_raw(w, text, (uint64_t)n);
}

static void answer_metrics(const struct http *h, struct answer *a)
{
    aiki_writer *w = &a->body;
    a->status = 200;
    a->type = "text/plain; version=0.0.4; charset=utf-8";
    core_metrics(h->core, w);
    put_metric(w, "http_requests_total", "counter", "HTTP requests", h->requests);
    put_metric(w, "http_refused_total", "counter", "HTTP requests answered with an error",
               h->refused);
    if (h->tokens != NULL)
        put_metric(w, "tokens_refused_total", "counter", "Connections and requests without a token",
                   tokens_refused(h->tokens));
    put_metric(w, "http_connections", "gauge", "Open HTTP connections", h->peers.count);
    put_metric(w, "http_waiting", "gauge", "HTTP requests that wait for a run", h->waiting);
    put_metric(w, "http_streams", "gauge", "HTTP streams of events", h->streams);
    put_metric(w, "http_held_bytes", "gauge", "Bodies and answers in memory", h->held_bytes);
}

static void answer_page(const char *path, struct answer *a)
{
    for (size_t i = 0; i < dashboard_asset_count; i++) {
        const struct asset *asset = &dashboard_assets[i];
        if (strcmp(asset->path, path) != 0)
            continue;
        a->status = 200;
        a->type = asset->type;
        aiki_mp_raw(&a->body, asset->bytes, asset->size_bytes);
        return;
    }
    abort(); /* a route for a file that is not compiled in */
}

void answer_here(const struct http *h, const struct call *call, struct answer *ret)
{
    switch (call_local(call)) {
    case LOCAL_HEALTH: answer_status(ret, "ok"); break;
    case LOCAL_READY: answer_ready(h, ret); break;
    case LOCAL_PAGE: answer_page(call_path(call), ret); break;
    case LOCAL_METRICS: answer_metrics(h, ret); break;
    case LOCAL_NONE: abort();
    }
}
