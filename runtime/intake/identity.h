/* intake/identity.h - is a plugin's file there, and is it the one that was there before? [any] */
#ifndef INTAKE_IDENTITY_H
#define INTAKE_IDENTITY_H

#include <stdbool.h>
#include <sys/stat.h>

/* What tells two states of a file apart without reading it. */
struct identity {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
    mode_t mode;
    uid_t owner;
    bool leads; /* false: a link that leads nowhere, and all of this is of the link itself */
};

/* UNSURE: its directory cannot be entered, or the one it is looked for in is gone, or the disk does not answer. */
enum presence { GONE, THERE, UNSURE };

/* text: its path relative to dir. ret: if it is THERE; errno says why it is UNSURE. */
enum presence identity_look(const char *dir, const char *text, struct identity *ret);
/* The entry itself, which may be a link. */
bool identity_entry(const char *dir, const char *text, struct stat *ret);
bool identity_equal(const struct identity *a, const struct identity *b);
/* Owner or mode changed, not the bytes. */
bool identity_changed_hands(const struct identity *before, const struct identity *now);

#endif
