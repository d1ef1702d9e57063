/* notify.c - tell the service manager how it goes: one datagram, no library. */
#include "base/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"

void notify_manager(const char *state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path != NULL ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(to.sun_path, path, size);
    if (path[0] == '@') /* sd_notify(3): an abstract socket */
        to.sun_path[0] = '\0';
    socklen_t address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    if (fd >= 0)
        (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                     address_bytes); /* there is nobody else to tell */
}
