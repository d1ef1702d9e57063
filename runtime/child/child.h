/* child.h - the process that has a plugin in it: one build, its runs, its task threads.
 *
 *   broker ==socketpair== loop thread: fibers, replay, frames
 *                           | queue        ^ mailbox
 *                           v              |
 *                         task threads: one attempt each
 *
 * It holds no credential and no address: all it can do is answer the broker. When the socket ends
 * so does the process; nothing here matters that is not on record.
 */
#ifndef CHILD_CHILD_H
#define CHILD_CHILD_H

/* Serve the broker on fd until it ends the connection; ends the process with status 0 then. */
int child_main(int fd);

#endif
