/* base/log.h - one line per fact to stderr: time level component message. [any]
 *
 *   2026-11-21T07:31:02.114Z INFO  intake: plugin orders build 1f3a9c serves 3 workflows
 *
 * One write call a line, so lines of several threads and processes never mix. Control characters
 * and broken UTF-8 in the message are written as \xNN, whoever they came from. Limit:
 * LOG_LINE_BYTES_MAX, a longer line ends in "...".
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <aiki/status.h>

enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum { LOG_LINE_BYTES_MAX = 4096 };
/* name goes before the component, e.g. "server"; level from a flag. Before threads start. */
void log_init(const char *name, int level);
/* At any time. */
void log_set_level(int level);
bool log_level_parse(const char *text, int *ret_level);
void log_at(int level, const char *component, const char *format, ...) AIKI_PRINTF(3, 4);
bool log_enabled(int level);
/* User text made harmless for a terminal: control characters and broken UTF-8 as \xNN, cut to fit.
 * Always NUL-terminated; returns buffer, so that it can stand among printf arguments. */
const char *log_clean(aiki_view text, char *buffer, size_t size_bytes);
#define log_debug(...) do { if (log_enabled(LOG_DEBUG)) log_at(LOG_DEBUG, __VA_ARGS__); } while (0)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

#endif
