/* chain.h - intrusive doubly linked lists. A zeroed or removed member is in no list. */
#ifndef SERVER_CHAIN_H
#define SERVER_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

struct chain {
    struct chain *next, *prev;
};

/* A list's head; members are linked to it. */
static inline void chain_init(struct chain *head) { head->next = head->prev = head; }
static inline bool chain_is_empty(const struct chain *head) { return head->next == head; }
static inline bool chain_is_linked(const struct chain *member) { return member->next != NULL; }

static inline void chain_append(struct chain *head, struct chain *member)
{
    member->prev = head->prev;
    member->next = head;
    head->prev->next = member;
    head->prev = member;
}

static inline void chain_remove(struct chain *member)
{
    if (member->next == NULL)
        return;
    member->prev->next = member->next;
    member->next->prev = member->prev;
    member->next = member->prev = NULL;
}

#endif
