"""Write seed inputs for the fuzz targets: seeds.py GOLDEN_WIRE_H OUTPUT_DIRECTORY

Most come from the golden bytes of the releases; the rest are small values made here. Inputs that
once broke something are kept as files beside this script, in findings/TARGET/.
"""
import pathlib
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
DESCRIPTOR = {
    "name": "orders", "version": "1.0.0", "language": "c", "toolchain": "gcc 12", "abi": [1, 0],
    "workflows": [{"name": "order", "version": "1.2.3", "summary": "s", "input": SCHEMA,
                   "output": None}],
    "tasks": [{"name": "charge", "flags": 0, "summary": "", "retry": {
        "kind": 2, "attempts_max": 5, "factor_percent": 200, "delay_ms": 100,
        "delay_ms_max": 5000}, "input": INNER, "output": None}]}
CANON = [
    {"b": 1, "a": {"z": [1, 2.5, None], "y": b"\x01"}, "aa": "text", 5: -1}, [], {}, "x" * 40,
    [[[[{"k": {"k": {"k": []}}}]]]], {i: str(i) for i in reversed(range(40))}, -300, 2**63]
JSON = ['{"a": [1, -2, 3.5e10, true, null, "\\u00e4\\ud83d\\ude00\\n"], "b": {"$bin": "AQI="}}',
        '{"$ext": [5, "qg=="]}', "[[[[[[]]]]]]", '"text"', "-0.0", "9223372036854775807", " 1 ",
        '{"a": 1, "a": 2}', '{"$bin": 5}']


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


def main():
    output = pathlib.Path(sys.argv[2])
    for target, name, data in seeds(pathlib.Path(sys.argv[1])):
        folder = output / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name.lower()).write_bytes(data)


main()
