package aiki

import (
	"encoding/binary"
	"sort"
)

// Record is a payload: one msgpack map of text to text.
type Record map[string]string

var errPayload = &Error{Code: "BAD_PAYLOAD", Message: "the payload is not a map of texts", Final: true}

// pack writes keys in order: the same record is the same bytes.
func pack(record Record) []byte {
	keys := make([]string, 0, len(record))
	for key := range record {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	bytes := binary.BigEndian.AppendUint16([]byte{0xde}, uint16(len(keys)))
	for _, key := range keys {
		bytes = packText(packText(bytes, key), record[key])
	}
	return bytes
}

func packText(bytes []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(append(bytes, 0xdb), uint32(len(text))), text...)
}

// reader takes bytes from the front; once there are too few it stays broken.
type reader struct {
	bytes  []byte
	broken bool
}

func (r *reader) take(count int) []byte {
	if r.broken || count > len(r.bytes) {
		r.broken = true
		return nil
	}
	taken := r.bytes[:count]
	r.bytes = r.bytes[count:]
	return taken
}

func (r *reader) number(width int) (n int) {
	for _, b := range r.take(width) {
		n = n<<8 | int(b)
	}
	return n
}

func (r *reader) text() string {
	switch marker := r.number(1); {
	case marker&0xe0 == 0xa0:
		return string(r.take(marker & 0x1f))
	case marker >= 0xd9 && marker <= 0xdb:
		return string(r.take(r.number(1 << (marker - 0xd9))))
	}
	r.broken = true
	return ""
}

func unpack(bytes []byte) (Record, error) {
	r := reader{bytes: bytes}
	count := 0
	switch marker := r.number(1); {
	case marker&0xf0 == 0x80:
		count = marker & 0x0f
	case marker == 0xde:
		count = r.number(2)
	default:
		r.broken = true
	}
	record := Record{}
	for ; count > 0 && !r.broken; count-- {
		key := r.text()
		record[key] = r.text()
	}
	if r.broken {
		return nil, errPayload
	}
	return record, nil
}
