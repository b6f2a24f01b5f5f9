/**
 * Recorded behaviour of the real CPU. A vector is a line: row, code, seed of the input state, input overrides, and what
 * changed ("#13" for an exception). The input state follows from the seed, so only differences are stored.
 */
import { gunzipSync } from 'node:zlib';

export const CODE_ADDRESS = 0x10000;
export const WINDOW_ADDRESS = 0x28000;
export const WINDOW_SIZE = 256;
/** Where RSP points: the middle of the window. */
export const STACK_ADDRESS = WINDOW_ADDRESS + 128;

export interface MachineState {
  gpr: bigint[];
  flags: number;
  /** XMM0-15 as 16 bytes each. */
  xmm: Uint8Array;
  /** MM0-7 (x87 R0-R7 mantissas), 8 bytes each. */
  mmx: Uint8Array;
  mxcsr: number;
  window: Uint8Array;
}

export interface Vector {
  /** "opcode|operands" of its row. */
  row: string;
  code: Uint8Array;
  seed: number;
  /** Registers (r3=...), window bytes (m128=... hex) or mxcsr (c=...) set after the seed's state. */
  overrides: string;
  /** Exception vector, or the changes in the same notation; f=flags, x3=xmm, n2=mmx. */
  outcome: string;
}

/** xorshift32; never 0. */
export function makeRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const SPECIAL = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  31n,
  32n,
  33n,
  63n,
  64n,
];

const SPECIAL_BYTES = [0, 0xff, 0x7f, 0x80];

function randomBytes(random: () => number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    const n = random();
    bytes[i] = n & 0x300 ? n & 0xff : SPECIAL_BYTES[(n >>> 4) & 3]!;
  }
  return bytes;
}

export function inputState(seed: number, overrides: string): MachineState {
  const random = makeRandom(seed);
  const gpr = Array.from({ length: 16 }, () =>
    random() % 5 < 2 ? SPECIAL[random() % SPECIAL.length]! : (BigInt(random()) << 32n) | BigInt(random()),
  );
  gpr[4] = BigInt(STACK_ADDRESS);
  const state: MachineState = {
    gpr,
    flags: 0x202 | (random() & 0x8d5) | (random() % 4 === 0 ? 0x400 : 0),
    xmm: randomBytes(random, 256),
    mmx: randomBytes(random, 64),
    mxcsr: 0x1f80,
    window: randomBytes(random, WINDOW_SIZE),
  };
  applyChanges(state, overrides);
  return state;
}

const fromHex = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
export const toHex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

function applyChanges(state: MachineState, changes: string): void {
  for (const change of changes.split(',').filter(Boolean)) {
    const [name, value] = change.split('=') as [string, string];
    const index = Number(name.slice(1));
    if (name[0] === 'r') state.gpr[index] = BigInt(`0x${value}`);
    else if (name[0] === 'f') state.flags = Number.parseInt(value, 16);
    else if (name[0] === 'c') state.mxcsr = Number.parseInt(value, 16);
    else if (name[0] === 'x') state.xmm.set(fromHex(value), index * 16);
    else if (name[0] === 'n') state.mmx.set(fromHex(value), index * 8);
    else state.window.set(fromHex(value), index);
  }
}

/** What differs between two states, in the notation of `Vector.outcome`. */
export function changesBetween(before: MachineState, after: MachineState): string {
  const out: string[] = [];
  for (let i = 0; i < 16; i++) if (before.gpr[i] !== after.gpr[i]) out.push(`r${i}=${after.gpr[i]!.toString(16)}`);
  if (before.flags !== after.flags) out.push(`f=${after.flags.toString(16)}`);
  if (before.mxcsr !== after.mxcsr) out.push(`c=${after.mxcsr.toString(16)}`);
  const groups: [string, Uint8Array, Uint8Array, number][] = [
    ['x', before.xmm, after.xmm, 16],
    ['n', before.mmx, after.mmx, 8],
  ];
  for (const [name, a, b, size] of groups) {
    for (let i = 0; i < a.length; i++) {
      if (a[i] === b[i]) continue;
      const first = i - (i % size);
      out.push(`${name}${first / size}=${toHex(b.subarray(first, first + size))}`);
      i = first + size - 1;
    }
  }
  for (let i = 0; i < WINDOW_SIZE; i++) {
    let end = i;
    while (end < WINDOW_SIZE && before.window[end] !== after.window[end]) end++;
    if (end === i) continue;
    out.push(`m${i}=${toHex(after.window.subarray(i, end))}`);
    i = end;
  }
  return out.join(',');
}

/** The state after a recorded outcome. */
export function applyOutcome(before: MachineState, outcome: string): MachineState {
  const after: MachineState = {
    ...before,
    gpr: [...before.gpr],
    xmm: before.xmm.slice(),
    mmx: before.mmx.slice(),
    window: before.window.slice(),
  };
  applyChanges(after, outcome);
  return after;
}

export function formatVector({ row, code, seed, overrides, outcome }: Vector): string {
  return [row, toHex(code), seed.toString(16), overrides, outcome].join('\t');
}

export function readVectors(gzipped: Uint8Array): Vector[] {
  const text = gunzipSync(gzipped).toString('latin1');
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [row, code, seed, overrides, outcome] = line.split('\t') as [string, string, string, string, string];
      return { row, code: fromHex(code), seed: Number.parseInt(seed, 16), overrides, outcome };
    });
}
