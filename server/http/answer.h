/* http/answer.h - what is sent back: status, headers, body. [any] */
#ifndef SERVER_HTTP_ANSWER_H
#define SERVER_HTTP_ANSWER_H

#include <aiki/msgpack.h>

enum { ANSWER_LOCATION_SIZE = 64, ANSWER_ALLOW_SIZE = 32 };

struct answer {
    unsigned status;                     /* of HTTP; 0 = none yet */
    const char *type;                    /* static; NULL = application/json */
    aiki_writer body;                    /* owned */
    char location[ANSWER_LOCATION_SIZE]; /* "" = no such header, as below */
    char allow[ANSWER_ALLOW_SIZE];
    bool close; /* the connection ends with it */
};

void answer_init(struct answer *a);
void answer_deinit(struct answer *a);
/* Status and body {"error": {...}}, in place of what was there. */
void answer_error(struct answer *a, unsigned status, const aiki_error *err);
/* The same from an error's map as the core sent it. */
void answer_fault(struct answer *a, aiki_status status, aiki_view error_map);
/* A msgpack value as JSON; an error instead when it has no JSON form. */
void answer_value(struct answer *a, unsigned status, aiki_view value);
/* 400 for AIKI_INVALID, 404 for AIKI_NOT_FOUND, ... */
unsigned http_status_of(aiki_status status);

#endif
