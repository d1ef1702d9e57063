#!/bin/sh
# Symbols that an archive that is to be pure takes from elsewhere: string.h and what compilers put in.
# usage: pure.sh ARCHIVE
defined=$(nm --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort -u)
found=$(nm -u "$1" | awk '$1 == "U" { print $2 }' | sort -u | grep -vxF "$defined" |
    grep -vE '^(mem(cpy|cmp|set|move|chr)|str(len|cmp|ncmp|chr))$' |
    grep -vE '^(__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer)_.*|__gcov_.*)$')
[ -z "$found" ] && exit 0
echo "$1 calls what is not pure:"
echo "$found"
exit 1
