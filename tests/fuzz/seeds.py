"""Write seed inputs for the fuzz targets: seeds.py GOLDEN_WIRE_H OUTPUT_DIRECTORY

Most come from the golden bytes of the releases; the rest are small values made here. Inputs that
once broke something are kept as files beside this script, in findings/TARGET/.
"""
import pathlib
import platform
import re
import struct
import sys


def pack(value):
    """A few lines of msgpack, so that the build needs no module for it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value) if value < 0 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BH", 0xDA, len(data)) + data
    if isinstance(value, bytes):
        return struct.pack(">BH", 0xC5, len(value)) + value
    if isinstance(value, list):
        return struct.pack(">BH", 0xDC, len(value)) + b"".join(map(pack, value))
    pairs = [pack(k) + pack(v) for k, v in value.items()]
    return struct.pack(">BH", 0xDE, len(pairs)) + b"".join(pairs)


def golden(path):
    text = path.read_text().replace("\\\n", "")
    for name, parts in re.findall(r'#define GOLDEN_(\w+)((?:\s*"[0-9a-f]*")+)', text):
        yield name, bytes.fromhex("".join(re.findall(r'"(\w*)"', parts)))


INNER = {"record": "item", "fields": [
    {"name": "sku", "type": "str", "required": True, "length": [1, 20]},
    {"name": "count", "type": "i64", "min": 1, "max": 99, "default": 1}]}
SCHEMA = {"record": "order", "fields": [
    {"name": "id", "type": "u64", "required": True},
    {"name": "state", "type": "str", "one_of": "open|paid|sent"},
    {"name": "amount", "type": "f64", "min": 0.5, "max": 1e6},
    {"name": "gift", "type": "bool", "default": False},
    {"name": "note", "type": "bytes", "pii": True, "length": [0, 16]},
    {"name": "ship", "type": "record", "record": INNER},
    {"name": "items", "type": "list", "element": "record", "record": INNER, "length": [1, 3]},
    {"name": "tags", "type": "list", "element": "str"}]}
VALUES = [
    {"id": 7, "state": "paid", "amount": 12.5, "gift": True, "note": b"hi",
     "items": [{"sku": "a", "count": 2}], "tags": ["x", "y"]},
    {"id": -1, "items": []}, {"state": "gone"}, [1], None]
CARTS = [  # of tests/support/shop_records.h
    {"id": -7, "serial": 9, "rate": 0.25, "express": True, "method": "cash", "token": b"abc",
     "address": {"city": "Rome", "street": "Via", "country": "IT"},
     "items": [{"sku": "tea", "price": 450}, {"sku": "pot", "price": 1, "gift": False}],
     "tags": ["red", "green"], "counts": [-5, 9], "serials": [0], "rates": [0.5], "flags": [True, False],
     "blobs": [b"", b"x"]},
    {"id": 1, "items": [{"sku": "tea", "price": 2}], "rate": 1, "later": [None, {"a": 1}]},
    {"id": 1, "items": []}, {"items": 5}, None]
DESCRIPTOR = {
    "name": "orders", "version": "1.0.0", "language": "c", "toolchain": "gcc 12", "abi": [1, 0],
    "workflows": [{"name": "order", "version": "1.2.3", "summary": "s", "input": SCHEMA,
                   "output": None}],
    "tasks": [{"name": "charge", "flags": 0, "summary": "", "retry": {
        "kind": "list", "attempts_max": 5, "factor_percent": 200, "delay_ms": 100,
        "delay_ms_max": 5000, "jitter_percent": 10, "delays_ms": [1, 300], "final_codes": ["NO"]},
        "input": INNER, "output": None, "heartbeat_ms": 500}]}
CANON = [
    {"b": 1, "a": {"z": [1, 2.5, None], "y": b"\x01"}, "aa": "text", 5: -1}, [], {}, "x" * 40,
    [[[[{"k": {"k": {"k": []}}}]]]], {i: str(i) for i in reversed(range(40))}, -300, 2**63]
JSON = ['{"a": [1, -2, 3.5e10, true, null, "\\u00e4\\ud83d\\ude00\\n"], "b": {"$bin": "AQI="}}',
        '{"$ext": [5, "qg=="]}', "[[[[[[]]]]]]", '"text"', "-0.0", "9223372036854775807", " 1 ",
        '{"a": 1, "a": 2}', '{"$bin": 5}']

BODIES = ['{"n": 5, "s": "text"}', '{"n": "five"}', '{"n": 1e400}', '{"n": 1, "n": 2}', "[1, 2", '{"s": null}']
SETTINGS = ["# comment\nlisten = unix:/run/a\n\nlease-ms = 100\nverbose = yes\n", "lease-ms = 99999999999999999999\n",
            "no equals", "unknown = 1\n", " verbose=maybe"]
TARGETS = ["/v1/runs/01JD6T3BV2041061050R3GG28A/history?after=10&limit=5", "/a%2Fb/%c3%a4?x=%20+y&x=", "/%zz", "*", "/?=&&"]
WORDS = ["--lease-ms\n70\nrest", "--verbose\n--\n--listen", "--lease-ms=-6", "--nothing", "--listen", "-x"]


WRITTEN = 1 << 40


def elf(packed=()):
    """The smallest shared object that the intake takes: one segment, a stack that is none, a dynamic table,
    strings, one symbol and its hash table, two sections. packed: words of a table of packed relocations (RELR); its
    segment may be written to then, and an address in it begins at WRITTEN."""
    machine = {"x86_64": 62, "aarch64": 183}[platform.machine()]
    dynamic_at, strings, symbol = 64 + 3 * 56, b"\0libc.so.6\0", bytes(24)
    dynamic_bytes = (9 if packed else 6) * 16
    strings_at = dynamic_at + dynamic_bytes
    symbols_at = strings_at + 16
    hash_at = symbols_at + len(symbol)
    hashes = struct.pack("<IIII", 1, 1, 0, 0)
    packed_at = hash_at + len(hashes)
    words = b"".join(struct.pack("<Q", symbols_at + word - WRITTEN if word >= WRITTEN else word) for word in packed)
    sections_at = packed_at + len(words)
    size = sections_at + 3 * 64
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in [
        (1, 1), (4, hash_at), (5, strings_at), (10, len(strings)), (6, symbols_at),
        *([(36, packed_at), (35, len(words)), (37, 8)] if packed else []), (0, 0)])
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, sections_at, 0, 64, 56, 3, 64, 3, 0)
    segments = (struct.pack("<IIQQQQQQ", 1, 6 if packed else 5, 0, 0, 0, size, size, 4096) +
                struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, dynamic_bytes, dynamic_bytes, 8) +
                struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16))
    section = "<IIQQQQIIQQ"
    sections = bytes(64) + struct.pack(section, 0, 6, 3, dynamic_at, dynamic_at, dynamic_bytes, 2, 0, 8, 16) + \
        struct.pack(section, 0, 3, 0, strings_at, strings_at, len(strings), 0, 0, 1, 0)
    return header + segments + dynamic + strings.ljust(16, b"\0") + symbol + hashes + words + sections


def text_reply(text):
    return bytes([0, len(text)]) + text


def array_reply(*items):
    return bytes([1, len(items)]) + b"".join(items)


def entry_replies():
    """XREADGROUP answers as fuzz_entry.c builds them."""
    good = array_reply(text_reply(b"170-0"), array_reply(text_reply(b"t"), b"\x04\x07\x09"))
    for name, entry in {
            "good": good, "no_id": array_reply(text_reply(b"x"), array_reply()), "nil": b"\x03",
            "odd": array_reply(text_reply(b"1-1"), array_reply(text_reply(b"t"))),
            "no_ticket": array_reply(text_reply(b"1-1"), array_reply(text_reply(b"t"), text_reply(b"junk"))),
            "other_field": array_reply(text_reply(b"1-1"), array_reply(text_reply(b"u"), b"\x04\x01\x02"))}.items():
        yield name, array_reply(array_reply(text_reply(b"s"), array_reply(good, entry)))


def seeds(golden_path):
    messages = 0
    for name, data in golden(golden_path):
        if name.startswith("EVENT_"):
            yield "event", name, b"\x01" + data
        elif name == "STORED":
            yield "event", name, b"\x00" + data
        elif name == "WAIT_ENTRY":
            yield "event", name, b"\x02" + data + data
        elif name == "ERROR":
            yield "error", name, data
        elif name == "TICKET":
            yield "ticket", name, data
        elif name == "FRAME":
            yield "frame", name, data + data
        elif not name.startswith("ADDRESS") and name != "CHAIN":
            yield "message", name, bytes([messages]) + data
            messages += 1
    yield "ticket", "id", b"01JD6T3BV2041061050R3GG28A"
    yield "ticket", "name", b"order-processing"
    for index, value in enumerate(CARTS):
        yield "record", f"cart{index}", pack(value)
    for index, value in enumerate(CANON + VALUES):
        yield "canon", f"value{index}", pack(value)
        yield "json", f"value{index}", b"\x01" + pack(value)
    for index, text in enumerate(JSON):
        yield "json", f"text{index}", b"\x00" + text.encode()
    for index, value in enumerate(VALUES):
        schema = pack(SCHEMA)
        yield "schema", f"value{index}", struct.pack(">H", len(schema)) + schema + pack(value)
    yield "descriptor", "orders", pack(DESCRIPTOR)
    for key in DESCRIPTOR:
        rest = {k: v for k, v in DESCRIPTOR.items() if k != key}
        yield "descriptor", f"without_{key}", pack(rest)
    for index, text in enumerate(BODIES + JSON):
        yield "body", f"text{index}", text.encode()
    for index, text in enumerate(SETTINGS):
        yield "config", f"file{index}", b"\x00" + text.encode()
    for index, text in enumerate(WORDS):
        yield "config", f"words{index}", b"\x01" + text.encode()
    yield "elf", "sound", elf()
    yield "elf", "cut", elf()[:-40]
    yield "elf", "packed", elf([WRITTEN, 3])
    yield "elf", "packed_maps", elf([WRITTEN, 3, 1, WRITTEN + 16, 1])
    yield "elf", "packed_code", elf([8, (1 << 64) - 1])
    yield "elf", "packed_endless", elf([WRITTEN] + 64 * [(1 << 64) - 1])
    yield "elf", "text", b"#!/bin/sh\n"
    for index, text in enumerate(TARGETS):
        yield "target", f"text{index}", text.encode()
    for name, reply in entry_replies():
        yield "entry", name, reply


def main():
    output = pathlib.Path(sys.argv[2])
    for target, name, data in seeds(pathlib.Path(sys.argv[1])):
        folder = output / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name.lower()).write_bytes(data)


main()
