/* head.h - what `aiki runs inspect` says about a run before its history. [main thread] */
#ifndef TOOLS_HEAD_H
#define TOOLS_HEAD_H

#include <aiki/msgpack.h>

/* run: the document of "runs.get". */
void head_print(aiki_view run, int64_t now_ms);

#endif
