/* base/notify.h - tell the service manager how it goes, as sd_notify(3) does. [any] */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

/* state: "READY=1", "STATUS=..." and so on, lines of sd_notify(3). Without $NOTIFY_SOCKET nobody
 * asked, and nothing is done; a manager that does not listen is no reason to fail. */
void notify_manager(const char *state);

#endif
