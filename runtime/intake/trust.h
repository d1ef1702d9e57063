/* intake/trust.h - open what nobody but root and this user could have changed. [any, blocks]
 *
 *   /srv/aiki/current/hello.so     each directory and link on the way, then the file: whose is it, who
 *   |    |    |-> releases/7       may write to it? Walked by descriptors, so that what was looked at is
 *   v    v    v                    what is opened; links are followed here, not by the system.
 *
 * The rule of sudo and sshd: owned by root or this user; writable by nobody else. Group-writable is
 * fine for a group of this user alone, and a directory that all may write to when it is sticky.
 */
#ifndef INTAKE_TRUST_H
#define INTAKE_TRUST_H

#include <aiki/status.h>
#include <sys/stat.h>

enum { TRUST_LINKS_MAX = 40 };

/* Open a regular file for reading. What speaks against trusting it goes to *ret_doubt (status AIKI_OK:
 * nothing), the first finding alone: code UNTRUSTED_OWNER or UNTRUSTED_MODE. Refused, whatever the
 * rule: UNREADABLE, BROKEN_LINK, NOT_A_FILE. AIKI_STALE: gone, or replaced meanwhile. */
aiki_status trust_open(const char *path, int *ret_fd, struct stat *ret_stat,
                       aiki_error *ret_doubt, aiki_error *err);
/* UNREADABLE, for errno: AIKI_DENIED when permission is missing, AIKI_UNAVAILABLE otherwise. */
aiki_status trust_unreadable(aiki_error *err);
/* Whether a directory, as far as it exists, can be trusted: AIKI_DENIED, UNREADABLE. */
aiki_status trust_directory(const char *path, aiki_error *err);

#endif
