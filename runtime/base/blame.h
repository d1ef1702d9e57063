/* blame.h - which code of which run every thread of a child is executing, for its broker to read
 * once the child has died.
 *
 *   broker: a memfd of fixed size --inherited--> child: one slot a thread, filled on entering code
 *   child dies --> broker looks at its own mapping: busy slots, and what the dying threads left
 *
 * Several threads may crash in the same instant. Each says so before anything else; the first of them
 * ends the process, when every other thread has left its own account or stands still:
 *
 *   crash --> blame_dying --> stack --> blame_settle: the first stops the others with BLAME_STOP_SIGNAL,
 *             (its account)             waits for them and returns; everybody else stays in there
 *
 * Once the first has heard everybody the process is closed: who crashes after that leaves no account and
 * waits for the end. So an account that is there is complete, unless something else ended the process:
 * _exit(), SIGKILL, a signal whose handler the plugin took away, or the alarm.
 *
 * So whoever stands still did not crash, and whoever neither crashed nor stood still (a process that
 * was killed, a thread that blocks the signal) may have.
 * Written by one process while the other may look: a slot counts only while it is busy, and is
 * filled before. Plugin code may have written all over it: the reader believes no size and no text, and of a page
 * with a broken seal nothing at all. Around the page there is memory that nobody may touch; and in a process that
 * has one run the slots can only be read while its code is executed (blame_protect), so that whoever did that is
 * found by being executed alone: at the instruction that does it.
 * Limits: BLAME_DEATHS_MAX accounts; BLAME_STOP_MS_MAX until a thread stands still.
 */
#ifndef BASE_BLAME_H
#define BASE_BLAME_H

#include <aiki/status.h>
#include <signal.h>
#include <stdatomic.h>

#include "wire/event.h"

enum {
    BLAME_SLOTS = 1 + 1024, /* the loop thread's is 0; TASK_THREADS_MAX others */
    BLAME_NAME_SIZE = 104,
    BLAME_STACK_BYTES_MAX = 4000,
    BLAME_DEATHS_MAX = 64, /* whoever else crashes in the same instant stays a suspect */
    BLAME_STOP_MS_MAX = 250,
    BLAME_FOREIGN = BLAME_SLOTS, /* a thread that the plugin itself made */
    BLAME_EXIT_COPY = 72, /* of a forked process that came back from plugin code */
    BLAME_SEALED = 64, /* slots, from the first: so much of a page is looked at to see whether it is ours */
    BLAME_GAP = 64 * 1024, /* nothing that is protected by itself is nearer: a page of memory at most */
    BLAME_SEAL = 0x626c616d,
    BLAME_TAG_SIZE = 192
};
/* Not one that plugins, or the runtimes of their languages, are likely to use. */
#define BLAME_STOP_SIGNAL (SIGRTMAX - 3)

struct blame_slot {
    atomic_uint busy;
    uint32_t seal;       /* BLAME_SEAL, of the first slots; nobody writes it again */
    uint32_t attempt;    /* 0: the workflow's own code */
    struct aiki_id run;
    struct address address; /* of the step; zero without one */
    uint64_t nth;
    _Atomic int64_t left_mono_ms; /* when it was last left; 0 = never */
    char name[BLAME_NAME_SIZE];   /* of task or workflow */
    _Atomic uint64_t attempts;    /* begun by this thread */
};

/* What a thread that takes the process down says of it. */
struct blame_death {
    atomic_uint thread; /* its slot + 1; 0: nothing was left */
    uint32_t signal;    /* 0: it called exit() */
    uint32_t overflow;  /* its stack was used up */
    uint32_t has_fault_address;
    uint64_t fault_address;
    uint32_t no_memory;      /* what failed last in its code did so for want of memory */
    uint32_t refused;        /* 1 + the system call that its sandbox refused; 0: none */
    atomic_uint told;        /* nothing more will come; 0: the end came first */
    atomic_uint stack_bytes; /* a msgpack array of texts; 0: there was no time for it */
    uint8_t stack[BLAME_STACK_BYTES_MAX];
};

enum { BLAME_SLOTS_BYTES = BLAME_SLOTS * sizeof(struct blame_slot) };

struct blame_page {
    struct blame_slot slots[BLAME_SLOTS];
    uint8_t gap[BLAME_GAP - BLAME_SLOTS_BYTES % BLAME_GAP]; /* what follows is written by threads that die */
    atomic_uint deaths_taken; /* may be more than there are */
    atomic_uint stopped[BLAME_SLOTS]; /* another thread takes the process down, and this one stood still first */
    struct blame_death deaths[BLAME_DEATHS_MAX];
};

/* ---- the broker's side [loop] ---- */

/* *ret_fd: to be inherited and then closed; its size cannot be changed by whoever has it. NULL with
 * errno set. */
struct blame_page *blame_create(int *ret_fd);
void blame_destroy(struct blame_page *page); /* NULL is fine */
/* False: something has written over it, and nothing on it counts. */
bool blame_is_sound(const struct blame_page *page);
/* The tag at the front of a line. The text in it is the child's: not cleaned. */
struct blame_said {
    aiki_view run, name; /* as text; borrowed from the line */
    uint32_t attempt;    /* 0: the workflow's own code */
    size_t size_bytes;   /* of the tag; 0 = there is none */
};
struct blame_said blame_read_tag(aiki_view line);

/* ---- the child's side ---- */

/* Before there are threads; closes fd. AIKI_INTERNAL: it is no such page. Without one (in tests)
 * everything below does nothing. */
aiki_status blame_attach(int fd);
/* From now on the slots can be written in blame_enter and blame_leave alone, which costs system calls: for a process with
 * one run, before its code is executed. Without memory for it the page stays as it is. */
void blame_protect(void);
/* This thread has a slot from now on; the first to come, the loop thread, has slot 0. [any] */
void blame_thread(void);
/* step: NULL for the workflow's own code. errno is 0 behind it: what a crash finds there is of this code. [any] */
struct blame_code {
    struct aiki_id run;
    const struct address *address;
    uint64_t nth;
    uint32_t attempt;
    const char *name;
};
void blame_enter(const struct blame_code *code);
/* Does not return in a process that plugin code forked. */
void blame_leave(int64_t mono_ms);
/* What this thread is executing, to go before a line that it prints: a byte 1, run, attempt, name, a byte
 * 2. 0 bytes: nothing. Answers the length. [any] */
size_t blame_tag(char text[BLAME_TAG_SIZE]);
/* This thread takes the process down, by that signal, or 0: by exit(). Its account, the rest of which
 * it fills itself; NULL: there is no page, or no room on it, or this thread ends the process already. Does
 * not return to others once the process is closed. Safe in a signal handler. [any] */
struct blame_death *blame_dying(int signal);
/* Account given. Returns when the process may end, and to the thread that came first only. Safe in a
 * signal handler that has all signals blocked. death: of blame_dying, NULL included. [any] */
void blame_settle(struct blame_death *death);

#endif
