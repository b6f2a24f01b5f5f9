/**
 * Vectors of the real CPU for SSE, MMX and x87 rows, on the complete floating-point state: special operands, every kind of
 * MXCSR, any TOP and tags, pending exceptions. As vectors.ts, which gives the general registers, flags and the window.
 */
import { applyOutcome, changesBetween, inputState, type MachineState, makeRandom, WINDOW_SIZE } from './vectors.ts';

export interface FloatState extends MachineState {
  control: number;
  status: number;
  /** Bit r: physical register r is not empty. */
  valid: number;
  /** Sign and exponent of R0-R7, whose significands are `mmx`. */
  exponents: number[];
}

const SINGLES = [
  0x0000_0000, 0x0000_0001, 0x0040_0000, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x3f80_0000, 0x3f00_0000, 0x3fc0_0000, 0x4020_0000,
  0x4040_0000, 0x4b80_0001, 0x4eff_ffff, 0x4f00_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_1234, 0x2000_0000, 0x1fff_ffff,
];
const DOUBLES = [
  0n,
  1n,
  0x0008_0000_0000_0000n,
  0x000f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x0010_0000_0000_0001n,
  0x3ff0_0000_0000_0000n,
  0x3fe0_0000_0000_0000n,
  0x3ff8_0000_0000_0000n,
  0x4004_0000_0000_0000n,
  0x4008_0000_0000_0000n,
  0x41df_ffff_ffc0_0000n,
  0x41df_ffff_ffe0_0000n,
  0x41e0_0000_0000_0000n,
  0x43df_ffff_ffff_ffffn,
  0x43e0_0000_0000_0000n,
  0x7fef_ffff_ffff_ffffn,
  0x7ff0_0000_0000_0000n,
  0x7ff0_0000_0000_0001n,
  0x7ff8_0000_0000_1234n,
  0x3810_0000_0000_0000n,
  0x380f_ffff_ffff_ffffn,
  0x47ef_ffff_f000_0000n,
  0x3690_0000_0000_0000n,
  0x1ff0_0000_0000_0000n,
  0x4330_0000_0000_0001n,
];

/** A pattern of 16 bytes as packed singles, doubles or integers; the pool makes equal operands likely. */
function fillVector(view: DataView, at: number, random: () => number): void {
  const below = (n: number): number => random() % n;
  const kind = below(5);
  if (kind < 2) {
    for (let i = 0; i < 16; i += 4) {
      const choice = below(8);
      const sign = below(2) * 0x8000_0000;
      const moderate = (((118 + below(40)) << 23) | (random() & 0x7f_ffff)) >>> 0;
      const magnitude = choice < 4 ? SINGLES[below(SINGLES.length)]! : choice < 7 ? moderate : random() & 0x7fff_ffff;
      view.setUint32(at + i, (magnitude + sign) >>> 0, true);
    }
  } else if (kind < 4) {
    for (let i = 0; i < 16; i += 8) {
      const choice = below(8);
      const sign = BigInt(below(2)) << 63n;
      const fraction = (BigInt(random() & 0xf_ffff) << 32n) | (below(2) ? BigInt(random()) : 0n);
      const moderate = (BigInt(1000 + below(100)) << 52n) | fraction;
      const magnitude = choice < 4 ? DOUBLES[below(DOUBLES.length)]! : choice < 7 ? moderate : (BigInt(random() & 0x7ff) << 52n) | fraction;
      view.setBigUint64(at + i, magnitude | sign, true);
    }
  } else {
    for (let i = 0; i < 16; i += 4) view.setInt32(at + i, below(2) ? (random() | 0) >> below(31) : random() | 0, true);
  }
}

export function floatInput(seed: number, overrides: string): FloatState {
  const base = inputState(seed, '');
  const random = makeRandom(seed ^ 0xf10a7);
  const below = (n: number): number => random() % n;
  const xmm = new DataView(base.xmm.buffer);
  for (let i = 0; i < 256; i += 16) fillVector(xmm, i, random);
  if (below(3) === 0) for (let i = 0; i < 256; i += 32) base.xmm.copyWithin(i, i + 16, i + 32);
  const window = new DataView(base.window.buffer);
  for (let i = 0; i < WINDOW_SIZE; i += 16) fillVector(window, i, random);
  const control = below(5);
  if (control < 2) base.mxcsr = 0x1fa0 | below(32);
  else if (control === 2) base.mxcsr = 0x1f80 | below(64);
  else {
    const masks = below(2) ? 0x3f : below(64);
    const flags = below(2) ? below(64) & masks : (below(2) * 0x20) & masks;
    base.mxcsr = flags | (masks << 7) | (below(4) << 13) | (below(3) === 0 ? 0x40 : 0) | (below(3) === 0 ? 0x8000 : 0);
  }
  const isPending = below(16) === 0;
  const state: FloatState = {
    ...base,
    control: isPending ? 0x37e : 0x37f,
    status: (below(8) << 11) | (random() & 0x4700) | (isPending ? 0x8081 : 0),
    valid: below(3) === 0 ? 0xff : random() & 0xff,
    exponents: Array.from({ length: 8 }, () => (below(3) === 0 ? 0xffff : (below(2) << 15) | (0x3ff0 + below(40)))),
  };
  for (let i = 0; i < 8; i++) if (state.exponents[i] !== 0xffff) state.mmx[8 * i + 7]! |= 0x80;
  return { ...state, ...applyOutcome(state, overrides) };
}

/** In the notation of vectors.ts, with s=status word, w=control word, t=valid registers, e3=exponent of R3. */
export function floatChanges(before: FloatState, after: FloatState): string {
  const out = [changesBetween(before, after)];
  if (before.control !== after.control) out.push(`w=${after.control.toString(16)}`);
  if (before.status !== after.status) out.push(`s=${after.status.toString(16)}`);
  if (before.valid !== after.valid) out.push(`t=${after.valid.toString(16)}`);
  for (let i = 0; i < 8; i++) if (before.exponents[i] !== after.exponents[i]) out.push(`e${i}=${after.exponents[i]!.toString(16)}`);
  return out.filter(Boolean).join(',');
}

export function applyFloatOutcome(before: FloatState, outcome: string): FloatState {
  const changes = outcome.split(',').filter((change) => change !== '' && !change.startsWith('#'));
  const isFloat = (change: string): boolean => 'wste'.includes(change[0]!);
  const after: FloatState = {
    ...before,
    exponents: [...before.exponents],
    ...applyOutcome(before, changes.filter((c) => !isFloat(c)).join(',')),
  };
  for (const change of changes.filter(isFloat)) {
    const value = Number.parseInt(change.slice(change.indexOf('=') + 1), 16);
    if (change[0] === 'w') after.control = value;
    else if (change[0] === 's') after.status = value;
    else if (change[0] === 't') after.valid = value;
    else after.exponents[Number(change[1])] = value;
  }
  return after;
}

/** The FXSAVE image of a state, without instruction and data pointers. */
export function toFxImage(state: FloatState): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, state.control, true);
  view.setUint16(2, state.status, true);
  image[4] = state.valid;
  view.setUint32(24, state.mxcsr, true);
  const top = (state.status >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const r = (top + i) & 7;
    image.set(state.mmx.subarray(r * 8, r * 8 + 8), 32 + i * 16);
    view.setUint16(40 + i * 16, state.exponents[r]!, true);
  }
  image.set(state.xmm, 160);
  return image;
}

/** What an FXSAVE image says of the floating-point state; the rest comes from `rest`. */
export function fromFxImage(image: Uint8Array, rest: Omit<MachineState, 'mmx' | 'xmm' | 'mxcsr'>): FloatState {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const status = view.getUint16(2, true);
  const state: FloatState = {
    ...rest,
    control: view.getUint16(0, true),
    status,
    valid: image[4]!,
    mxcsr: view.getUint32(24, true),
    xmm: image.slice(160, 416),
    mmx: new Uint8Array(64),
    exponents: new Array(8).fill(0),
  };
  for (let i = 0; i < 8; i++) {
    const r = (((status >> 11) & 7) + i) & 7;
    state.mmx.set(image.subarray(32 + i * 16, 40 + i * 16), r * 8);
    state.exponents[r] = view.getUint16(40 + i * 16, true);
  }
  return state;
}
