/**
 * The checksum that a guest leaves to the hardware (NETTXF_csum_blank): TCP's or UDP's in IPv4, over header and data, with
 * that of the pseudo header already in its place. RFC 1071, 768, 9293.
 */
import { ETH_HLEN } from './network.ts';

const ETH_P_IP = 0x0800;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const MIN_HEADER = 20;
/** Where the checksum is in each protocol's header. */
const checksumOffsets: Readonly<Record<number, number>> = { [IPPROTO_TCP]: 16, [IPPROTO_UDP]: 6 };

interface Place {
  /** Of the transport header, and behind what it covers. */
  readonly start: number;
  readonly end: number;
  readonly checksum: number;
  readonly protocol: number;
}

/** Where such a checksum is in a frame; undefined: it has none. */
export function findChecksum(bytes: Uint8Array): Place | undefined {
  const view = viewOf(bytes);
  if (bytes.length < ETH_HLEN + MIN_HEADER || view.getUint16(12) !== ETH_P_IP) return undefined;
  const headerSize = (bytes[ETH_HLEN]! & 0xf) * 4;
  const isFragment = (view.getUint16(ETH_HLEN + 6) & 0x3fff) !== 0;
  const protocol = bytes[ETH_HLEN + 9]!;
  const offset = checksumOffsets[protocol];
  const start = ETH_HLEN + headerSize;
  if (headerSize < MIN_HEADER || isFragment || offset === undefined || start + offset + 2 > bytes.length) return undefined;
  const end = Math.min(bytes.length, ETH_HLEN + view.getUint16(ETH_HLEN + 2));
  return { start, end, checksum: start + offset, protocol };
}

/** The frame with the checksum as it goes over a wire. */
export function withChecksum(bytes: Uint8Array): Uint8Array {
  const place = findChecksum(bytes);
  if (place === undefined) return bytes;
  const whole = bytes.slice();
  const sum = ~onesComplementSum(whole.subarray(place.start, place.end)) & 0xffff;
  // 0 says that UDP has none.
  viewOf(whole).setUint16(place.checksum, sum === 0 && place.protocol === IPPROTO_UDP ? 0xffff : sum);
  return whole;
}

function onesComplementSum(bytes: Uint8Array): number {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i % 2 === 0 ? byte * 256 : byte;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView => new DataView(buffer, byteOffset, byteLength);
