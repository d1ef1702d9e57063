/* layout.c - every public struct and number is where its release put it. Compiling is the test, in C
 * and in C++.
 */
#include <assert.h>
#include <stddef.h>

#include <aiki/client.h>
#include <aiki/record.h>

#include "layout.h"

/* All growing types hold a pointer or an int64_t, so their size is a multiple of this. */
enum { GROWING_ALIGNMENT = 8 };
#define ROUND_UP(n) (((n) + GROWING_ALIGNMENT - 1) / GROWING_ALIGNMENT * GROWING_ALIGNMENT)
#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

#define PIN_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " has another size");
#define PIN_END(type, last) \
    static_assert(sizeof(type) == ROUND_UP(END_OF(type, last)), #type " has a member without a pin");
#define PIN_MEMBER(type, member, at, bytes)                                            \
    static_assert(offsetof(type, member) == (at), #type "." #member " moved");         \
    static_assert(sizeof(((type *)0)->member) == (bytes), #type "." #member " changed");
#define PIN_CONSTANT(name, value) static_assert((name) == (value), #name " has another value");

static_assert(sizeof(void *) == 8, "these are the numbers of 64-bit machines");
LAYOUT_FIXED(PIN_SIZE)
LAYOUT_GROWING(PIN_END)
LAYOUT_MEMBERS(PIN_MEMBER)
LAYOUT_CONSTANTS(PIN_CONSTANT)

/* What both sides find before they know anything else about each other. */
static_assert(AIKI_ABI_MAJOR == 1, "another major is another entry symbol and another table here");
static_assert(sizeof(AIKI_PLUGIN_SYMBOL) == sizeof("aiki_plugin_v1"), "the entry symbol changed");
static_assert(sizeof(AIKI_NEEDS_SYMBOL) == sizeof("aiki_needs_v1"), "the symbol of needs changed");
