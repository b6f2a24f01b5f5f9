/**
 * The architectural registers in linear memory, typed: the one place that knows how a register's name maps to the layout.
 * Setting a register here changes nothing else; `Cpu` reacts where a change has consequences.
 */
import { ARITHMETIC, readArithmeticFlags, writeArithmeticFlags } from './flags.ts';
import type { Segment, SegmentName } from './interface.ts';
import * as L from './layout.ts';

export const segmentNames: readonly SegmentName[] = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];
export const ES_INDEX = 0,
  CS_INDEX = 1,
  SS_INDEX = 2,
  DS_INDEX = 3,
  FS_INDEX = 4,
  GS_INDEX = 5,
  LDTR_INDEX = 6,
  TR_INDEX = 7;

/** Written out, so that it costs nothing where the name is a constant. */
export function segmentIndex(name: SegmentName): number {
  switch (name) {
    case 'es':
      return ES_INDEX;
    case 'cs':
      return CS_INDEX;
    case 'ss':
      return SS_INDEX;
    case 'ds':
      return DS_INDEX;
    case 'fs':
      return FS_INDEX;
    case 'gs':
      return GS_INDEX;
    case 'ldtr':
      return LDTR_INDEX;
    case 'tr':
      return TR_INDEX;
  }
}

/** Bits of Segment.attributes. */
export const ATTR_S = 16,
  ATTR_P = 128,
  ATTR_L = 1 << 13,
  ATTR_DB = 1 << 14,
  ATTR_G = 1 << 15;

/** Bits of ACTIVITY: the shadow of STI, that of MOV SS, and NMIs that are held back until IRET or wait for that. */
export const ACTIVITY_STI = 1,
  ACTIVITY_MOV_SS = 2,
  ACTIVITY_NMI_BLOCKED = 4,
  ACTIVITY_NMI_PENDING = 8;
/** What holds interrupts back for one instruction. */
export const SHADOWS = ACTIVITY_STI | ACTIVITY_MOV_SS;

/** The offsets that an access outside 64-bit mode may use; none when the segment is unusable or cannot be read. */
export function boundsOf({ attributes, limit }: Segment): { low: number; high: number } {
  const isCode = (attributes & 0b1000) !== 0;
  const isUsable = (attributes & (ATTR_P | ATTR_S)) === (ATTR_P | ATTR_S) && (!isCode || (attributes & 0b0010) !== 0);
  const isExpandDown = (attributes & 0b1100) === 0b0100;
  if (!isUsable) return { low: 1, high: 0 };
  if (!isExpandDown) return { low: 0, high: limit };
  const top = attributes & ATTR_DB ? 0xffff_ffff : 0xffff;
  return limit < top ? { low: limit + 1, high: top } : { low: 1, high: 0 };
}

export const isWritable = ({ attributes }: Segment): boolean => (attributes & 0b1010) === 0b0010;

/** Of each segment two words: the lower half of the first is its selector. */
const SEGMENTS = L.SYSTEM / 4 + 2 * L.SYS_SEGMENT;

export class State {
  readonly view: DataView;
  readonly gpr: BigUint64Array;
  /** The registers' memory as 32-bit halves: no bigint is made to move one. */
  readonly words: Int32Array;
  /** Control and system registers by SYS_*. */
  readonly sys: BigUint64Array;

  constructor(buffer: ArrayBuffer) {
    this.view = new DataView(buffer);
    this.gpr = new BigUint64Array(buffer, L.GPR, 16);
    this.words = new Int32Array(buffer, 0, L.RAM / 4);
    this.sys = new BigUint64Array(buffer, L.SYSTEM, L.SYS_COUNT);
  }

  get rip(): bigint {
    return this.view.getBigUint64(L.RIP, true);
  }
  set rip(value: bigint) {
    this.view.setBigUint64(L.RIP, value, true);
  }

  /** Copies 8 bytes. */
  copy(to: number, from: number): void {
    const { words } = this;
    words[to >> 2] = words[from >> 2]!;
    words[(to >> 2) + 1] = words[(from >> 2) + 1]!;
  }

  /** RIP moves on by up to 15 bytes. */
  advance(size: number, is64: boolean): void {
    const { words } = this;
    const low = (words[L.RIP >> 2]! + size) | 0;
    const isCarry = low >>> 0 < size;
    words[L.RIP >> 2] = low;
    words[(L.RIP >> 2) + 1] = is64 ? words[(L.RIP >> 2) + 1]! + Number(isCarry) : 0;
  }

  get cpl(): number {
    return this.view.getInt32(L.CPL, true);
  }

  /** RFLAGS's low 32 bits, bit 1 set. */
  get flags(): number {
    return readArithmeticFlags(this.view) | this.view.getInt32(L.FLAGS_REST, true) | 2;
  }
  set flags(value: number) {
    writeArithmeticFlags(this.view, value);
    this.view.setInt32(L.FLAGS_REST, value & ~ARITHMETIC, true);
  }

  /** RFLAGS without the arithmetic flags: cheap to read. */
  get systemFlags(): number {
    return this.view.getInt32(L.FLAGS_REST, true);
  }
  set systemFlags(value: number) {
    this.view.setInt32(L.FLAGS_REST, value, true);
  }

  /** Whether a selector of ES, DS, FS or GS is not null. */
  get hasDataSegments(): boolean {
    const { words } = this;
    const es = words[SEGMENTS + 2 * ES_INDEX]!;
    const ds = words[SEGMENTS + 2 * DS_INDEX]!;
    const fs = words[SEGMENTS + 2 * FS_INDEX]!;
    const gs = words[SEGMENTS + 2 * GS_INDEX]!;
    return ((es | ds | fs | gs) & 0xfffc) !== 0;
  }

  /** ACTIVITY_* bits. */
  get activity(): number {
    return this.view.getInt32(L.ACTIVITY, true);
  }
  set activity(value: number) {
    this.view.setInt32(L.ACTIVITY, value, true);
  }

  getSegment(index: number): Segment {
    const at = L.SYSTEM + 8 * (L.SYS_SEGMENT + index);
    return {
      selector: this.view.getUint16(at, true),
      attributes: this.view.getUint16(at + 2, true),
      limit: this.view.getUint32(at + 4, true),
      base: this.view.getBigUint64(baseOffset(index), true),
    };
  }

  setSegment(index: number, segment: Segment): void {
    const at = L.SYSTEM + 8 * (L.SYS_SEGMENT + index);
    this.view.setUint16(at, segment.selector, true);
    this.view.setUint16(at + 2, segment.attributes, true);
    this.view.setUint32(at + 4, segment.limit, true);
    this.view.setBigUint64(baseOffset(index), segment.base, true);
    if (index < LDTR_INDEX) this.#setBounds(index, segment);
    if (index === SS_INDEX) this.view.setInt32(L.CPL, (segment.attributes >> 5) & 3, true);
  }

  /** For inline checks outside 64-bit mode. */
  #setBounds(index: number, segment: Segment): void {
    const { low, high } = boundsOf(segment);
    this.view.setUint32(L.SEG_LOW + 4 * index, low, true);
    this.view.setUint32(L.SEG_HIGH + 4 * index, high, true);
    const writable = this.view.getInt32(L.SEG_WRITABLE, true) & ~(1 << index);
    this.view.setInt32(L.SEG_WRITABLE, writable | (isWritable(segment) ? 1 << index : 0), true);
  }
}

function baseOffset(index: number): number {
  return index < LDTR_INDEX ? L.SEG_BASE + 8 * index : L.SYSTEM + 8 * (L.SYS_LDTR_BASE + index - LDTR_INDEX);
}
