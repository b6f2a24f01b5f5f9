/** Captured frames as a file that tcpdump and Wireshark read: libpcap's classic format, with nanoseconds. */

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINKTYPE_ETHERNET = 1;
const SNAPLEN = 65536;
const HEADER_SIZE = 24;
const RECORD_SIZE = 16;

/** What the file begins with. */
export function pcapHeader(): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC_NANOSECONDS, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, SNAPLEN, true);
  view.setUint32(20, LINKTYPE_ETHERNET, true);
  return bytes;
}

/** One frame, seen at `ns` since 1970. */
export function pcapRecord(frame: Uint8Array, ns: bigint): Uint8Array {
  const bytes = new Uint8Array(RECORD_SIZE + frame.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Number(ns / 1_000_000_000n), true);
  view.setUint32(4, Number(ns % 1_000_000_000n), true);
  view.setUint32(8, frame.length, true);
  view.setUint32(12, frame.length, true);
  bytes.set(frame, RECORD_SIZE);
  return bytes;
}
