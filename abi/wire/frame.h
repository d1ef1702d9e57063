/* wire/frame.h - how messages are cut on a byte stream. [any]
 *
 *   0        4          8       10         12            16
 *   | size u32 | crc32c u32 | type u16 | 0 u16 | correlation u32 | payload: size bytes |
 *
 * Little endian. The checksum covers bytes 8 to the end of the payload. Limit: FRAME_BYTES_MAX
 * of payload; a peer that sends more, a wrong checksum or an unknown reserved field is cut off.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

enum {
    FRAME_HEADER_BYTES = 16,
    FRAME_BYTES_MAX = 16 * 1024 * 1024, /* payload of one frame */
    PAYLOAD_BYTES_MAX = 4 * 1024 * 1024 /* user payload: input, output, signal */
};

struct frame {
    uint32_t type;
    uint32_t correlation;
    aiki_view payload; /* borrowed from the bytes given to frame_read */
};

/* Reserve a header in w; returns the offset to hand to frame_end. Write the payload between. */
uint64_t frame_begin(aiki_writer *w);
/* Fill in the header of the frame that began at offset. AIKI_LIMIT (w cut back) when too big. */
aiki_status frame_end(aiki_writer *w, uint64_t offset, uint32_t type, uint32_t correlation);
/* Cut the first frame off `bytes`. AIKI_OK: *ret_size is its length in bytes. AIKI_PENDING: more bytes are
 * needed. Anything else: the stream is broken and the connection must be closed. */
aiki_status frame_read(aiki_view bytes, struct frame *ret_frame, uint64_t *ret_size,
                       aiki_error *err);
/* CRC-32C, begun with 0 and continued with what the call before returned. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes);
/* The same without CPU support: what crc32c falls back to. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size_bytes);

#endif
