/* child/stack.h - where in the plugin an error came from, as texts. [any]
 *
 *   "book_transfer+0x4f (ledger.so build 1f3a9c12) ledger/ledger.c:57"
 *
 * Only when a task fails: the calling thread's frames that lie in the plugin, innermost first, and
 * the task's own function last. Names come from the file's symbol table, also those of static
 * functions; without one (a stripped plugin) it is the offset in the file, for addr2line. The source line is that of the
 * call, where the plugin has debug information (child/lines.h).
 * Limits: STACK_DEPTH_MAX frames are looked at, STACK_FRAMES_MAX of the plugin kept, and
 * STACK_TEXT_BYTES_MAX of each text; longer names are cut.
 */
#ifndef CHILD_STACK_H
#define CHILD_STACK_H

#include <aiki/msgpack.h>

enum { STACK_DEPTH_MAX = 64, STACK_FRAMES_MAX = 16, STACK_TEXT_BYTES_MAX = 224 };

/* How the plugin is called, "ledger.so@1f3a9c12"; borrowed for ever. Before there are threads. */
void stack_name_build(const char *label);
/* A msgpack array of texts for error_write_stack. task: the task's function. */
void stack_write(aiki_writer *w, void (*task)(void));
/* Of the thread that was hit by a signal, from its handler: the frames that lie in the library which
 * holds `code`. hit: the instruction; 0: not known. It takes no memory from the heap. */
void stack_write_crash(aiki_writer *w, void (*code)(void), uintptr_t hit);
/* Load what unwinding needs, so that a crash need not. Once, before there are threads. */
void stack_prepare(void);

#endif
