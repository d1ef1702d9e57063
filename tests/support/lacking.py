"""Runs a program on a kernel that lacks some system calls: they answer ENOSYS, as they do where they do not exist.

    lacking.py landlock|seccomp PROGRAM ARGUMENT...
"""
import ctypes
import os
import platform
import struct
import sys

# landlock_create_ruleset; seccomp(2), which is how a program asks what filters there are
NUMBERS = {"landlock": {"x86_64": 444, "aarch64": 444}, "seccomp": {"x86_64": 317, "aarch64": 277}}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ENOSYS = 0x7fff0000, 0x00050000 | 38
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2


def main():
    number = NUMBERS[sys.argv[1]][platform.machine()]
    code = struct.pack("=HBBIHBBIHBBIHBBI", LOAD, 0, 0, 0, EQUAL, 0, 1, number, RETURN, 0, 0, ENOSYS, RETURN, 0, 0, ALLOW)
    memory = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, ctypes.addressof(memory))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program)) == 0, os.strerror(ctypes.get_errno())
    os.execv(sys.argv[2], sys.argv[2:])


main()
