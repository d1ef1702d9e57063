/* print.h - what plugin code prints with stdio says which run printed it. [any]
 *
 *   printf --> a stream of our own --> tag, line --> descriptor 1 --> the broker's log
 *
 * stdout and stderr are replaced by streams whose lines begin with what their thread executes
 * (base/blame.h). What code writes to the descriptors 1 and 2 by itself has no such tag. Limit:
 * PRINT_LINE_BYTES_MAX a line, longer ones are broken up.
 */
#ifndef CHILD_PRINT_H
#define CHILD_PRINT_H

enum { PRINT_LINE_BYTES_MAX = 2048 };

/* Before any plugin code. Without memory for it things stay as they are. */
void print_tagged(void);
/* A line of ours about what this thread executes, with its tag. */
void print_note(const char *text);

#endif
