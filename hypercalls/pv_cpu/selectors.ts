/**
 * The selectors that ring -1 gives a PV64 guest (xen:public/arch-x86/xen-x86_64.h) as the CPU holds them, and what loading
 * any other descriptor gives. The descriptors themselves are in memory: emulator/memory/address_space.ts.
 */
import type { Segment } from '../../emulator/cpu/interface.ts';

export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_CS64 = 0xe033;
export const FLAT_RING3_SS64 = 0xe02b;
export const FLAT_KERNEL_CS = FLAT_RING3_CS64;
export const FLAT_KERNEL_SS = FLAT_RING3_SS64;
export const TSS_SELECTOR = 0xe040;

/** Attributes of a Segment. */
export const SEGMENT_TYPE_MASK = 0xf;
export const SEGMENT_TYPE_CODE = 8;
export const SEGMENT_TYPE_CONFORMING = 4;
export const SEGMENT_TYPE_WRITABLE = 2;
export const SEGMENT_S = 0x10;
export const SEGMENT_DPL_MASK = 0x60;
export const SEGMENT_P = 0x80;
export const SEGMENT_L = 0x2000;
export const SEGMENT_DB = 0x4000;
export const SEGMENT_G = 0x8000;

/** The hidden part that loading `descriptor` gives (SDM 3A 3.4.5). */
export function segmentOf(selector: number, descriptor: bigint): Segment {
  const attributes = Number((descriptor >> 40n) & 0xf0ffn);
  const field = Number((descriptor & 0xffffn) | ((descriptor >> 32n) & 0xf0000n));
  return {
    selector,
    base: ((descriptor >> 16n) & 0xff_ffffn) | ((descriptor >> 32n) & 0xff00_0000n),
    limit: attributes & SEGMENT_G ? field * 4096 + 4095 : field,
    attributes,
  };
}

// biome-ignore format: one segment a line
const flatSegments = new Map<number, Segment>([
  [FLAT_RING3_CS32, segmentOf(FLAT_RING3_CS32, 0x00cffb000000ffffn)],
  [FLAT_RING3_SS64, segmentOf(FLAT_RING3_SS64, 0x00cff3000000ffffn)],
  [FLAT_RING3_CS64, segmentOf(FLAT_RING3_CS64, 0x00affb000000ffffn)],
]);

/** One of the FLAT_* segments. */
export const flatSegment = (selector: number): Segment => flatSegments.get(selector)!;

/** What a null selector leaves in a data segment register. */
export const nullSegment = (selector: number): Segment => ({ selector, base: 0n, limit: 0, attributes: 0 });

/** Xen's fixup_guest_code_selector and _stack_selector for 64-bit guests: never more privileged than ring 3. */
export const fixupSelector = (selector: number): number => selector | 3;
