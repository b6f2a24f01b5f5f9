// Replays the records of float.c against emulator/cpu/float and tells every disagreement in one line.
import {
  type SseArithOp,
  sseArith,
  sseComi,
  sseCompare,
  sseConvertFloat,
  sseExceptions,
  sseFromInteger,
  sseToInteger,
} from '../../../emulator/cpu/float/sse.ts';

import { executeX87, initX87, type X87Operand, type X87State } from '../../../emulator/cpu/float/x87.ts';

export interface Recording {
  readonly sse: number;
  readonly x87: number;
  readonly sseOps: readonly string[];
  readonly records: DataView;
}

const SSE_SIZE = 32;

export function parseRecording(bytes: Uint8Array): Recording {
  const end = bytes.indexOf(10);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  return { ...header, records: new DataView(bytes.buffer, bytes.byteOffset + end + 1, bytes.byteLength - end - 1) };
}

const hex = (value: number | bigint) => value.toString(16);

interface Lanes {
  result: bigint;
  flags: number;
  eflags?: number;
}

const low = (value: bigint) => BigInt.asUintN(32, value);

/** Runs `lane` on both 32-bit lanes of a and b. */
function packed(a: bigint, b: bigint, lane: (a: bigint, b: bigint) => { result: bigint; flags: number }): Lanes {
  const first = lane(low(a), low(b));
  const second = lane(a >> 32n, b >> 32n);
  return { result: first.result | (second.result << 32n), flags: first.flags | second.flags };
}

/** Puts a 32-bit scalar result into the destination's low lane. */
function scalar(a: bigint, lane: { result: bigint; flags: number }): Lanes {
  return { result: ((a >> 32n) << 32n) | lane.result, flags: lane.flags };
}

function executeSse(name: string, a: bigint, b: bigint, mxcsr: number): Lanes {
  const arith = /^(add|sub|mul|div|sqrt|min|max)(ss|sd|ps)$/.exec(name);
  if (arith !== null) {
    const op = arith[1] as SseArithOp;
    if (arith[2] === 'sd') return sseArith(op, 8, a, b, mxcsr);
    if (arith[2] === 'ss') return scalar(a, sseArith(op, 4, low(a), low(b), mxcsr));
    return packed(a, b, (x, y) => sseArith(op, 4, x, y, mxcsr));
  }
  const compare = /^cmps([sd])(\d)$/.exec(name);
  if (compare !== null) {
    if (compare[1] === 'd') return sseCompare(Number(compare[2]), 8, a, b, mxcsr);
    return scalar(a, sseCompare(Number(compare[2]), 4, low(a), low(b), mxcsr));
  }
  const comi = /^(u?)comis([sd])$/.exec(name);
  if (comi !== null) {
    const [size, x, y] = comi[2] === 'd' ? ([8, a, b] as const) : ([4, low(a), low(b)] as const);
    return { result: a, ...sseComi(comi[1] === '', size, x, y, mxcsr) };
  }
  const toInteger = /^cvt(t?)s([sd])2si(64)?$/.exec(name);
  if (toInteger !== null) {
    const [size, x] = toInteger[2] === 'd' ? ([8, b] as const) : ([4, low(b)] as const);
    return sseToInteger(size, toInteger[3] === undefined ? 4 : 8, toInteger[1] === 't', x, mxcsr);
  }
  const fromInteger = /^cvtsi2s([sd])(64)?$/.exec(name);
  if (fromInteger !== null) {
    const [size, value] = fromInteger[2] === undefined ? ([4, low(b)] as const) : ([8, b] as const);
    if (fromInteger[1] === 'd') return sseFromInteger(8, size, value, mxcsr);
    return scalar(a, sseFromInteger(4, size, value, mxcsr));
  }
  switch (name) {
    case 'cvtss2sd':
      return sseConvertFloat(4, low(b), mxcsr);
    case 'cvtsd2ss':
      return scalar(a, sseConvertFloat(8, b, mxcsr));
    case 'cvtps2dq':
      return packed(a, b, (_, y) => sseToInteger(4, 4, false, y, mxcsr));
    case 'cvttps2dq':
      return packed(a, b, (_, y) => sseToInteger(4, 4, true, y, mxcsr));
    case 'cvtdq2ps':
      return packed(a, b, (_, y) => sseFromInteger(4, 4, y, mxcsr));
    default:
      throw new Error(`no replay for ${name}`);
  }
}

export function replaySse({ sse, sseOps, records }: Recording): string[] {
  const failures: string[] = [];
  for (let i = 0; i < sse; i++) {
    const at = i * SSE_SIZE;
    const name = sseOps[records.getUint8(at)] as string;
    const fault = records.getUint8(at + 1) !== 0;
    const mxcsr = records.getUint16(at + 2, true);
    const mxcsrOut = records.getUint16(at + 4, true);
    const eflags = records.getUint16(at + 6, true) & 0x8d5;
    const a = records.getBigUint64(at + 8, true);
    const b = records.getBigUint64(at + 16, true);
    const result = records.getBigUint64(at + 24, true);
    const ours = executeSse(name, a, b, mxcsr);
    const after = sseExceptions(mxcsr, ours.flags);
    const agrees =
      after.mxcsr === mxcsrOut && after.fault === fault && (fault || (ours.result === result && (ours.eflags ?? 0) === eflags));
    if (agrees) continue;
    const recorded = `${hex(result)} mxcsr=${hex(mxcsrOut)} eflags=${hex(eflags)}${fault ? ' #XM' : ''}`;
    const got = `${hex(ours.result)} mxcsr=${hex(after.mxcsr)} eflags=${hex(ours.eflags ?? 0)}${after.fault ? ' #XM' : ''}`;
    failures.push(`${name} a=${hex(a)} b=${hex(b)} mxcsr=${hex(mxcsr)}: recorded ${recorded}, ours ${got}`);
  }
  return failures;
}

/** A register file for the x87 package, of its own. */
export function newX87State(): X87State {
  const signExponents = new Uint16Array(8);
  const significands = new BigUint64Array(8);
  const state: X87State = {
    control: 0,
    status: 0,
    valid: 0,
    opcode: 0,
    instructionPointer: 0n,
    codeSelector: 0,
    dataPointer: 0n,
    dataSelector: 0,
    signExponent: (r) => signExponents[r] as number,
    significand: (r) => significands[r] as bigint,
    setRegister: (r, signExponent, significand) => {
      signExponents[r] = signExponent;
      significands[r] = significand;
    },
  };
  initX87(state);
  return state;
}

export function x87Operand(view: DataView, offset = 0): X87Operand {
  return { view, offset, vaddr: 0x1000n, selector: 0x2b, rip: 0x400000n, cs: 0x33, operandSize: 4, eflags: 0 };
}

const X87_SIZE = 120;
const MEMORY = 100;

interface X87Result {
  outcome: number;
  control: number;
  status: number;
  tags: number;
  eflags: number;
  ax: number;
  registers: bigint[];
  memory: string;
}

const bytesHex = (view: DataView, offset: number, size: number) =>
  Array.from({ length: size }, (_, i) =>
    view
      .getUint8(offset + size - 1 - i)
      .toString(16)
      .padStart(2, '0'),
  ).join('');
const f80At = (view: DataView, offset: number) => BigInt(`0x${bytesHex(view, offset, 10)}`);

/** The four recorded registers of an FNSAVE image: TOP-1 .. TOP+2, TOP as it was before. */
function registersOf(image: DataView, topBefore: number): bigint[] {
  const topNow = (image.getUint16(4, true) >> 11) & 7;
  return [-1, 0, 1, 2].map((i) => f80At(image, 28 + 10 * ((topBefore + i - topNow) & 7)));
}

/** Loads the recorded state with FRSTOR, executes, and saves it with FNSAVE, as the recorder does. */
function executeX87Case(view: DataView, at: number): X87Result {
  const image = new DataView(new ArrayBuffer(108));
  const status = view.getUint16(at + 4, true);
  const valid = view.getUint8(at + 6);
  const topBefore = (status >> 11) & 7;
  image.setUint16(0, view.getUint16(at + 2, true), true);
  image.setUint16(4, status, true);
  let tags = 0;
  for (let r = 0; r < 8; r++) if (((valid >> r) & 1) === 0) tags |= 3 << (2 * r);
  image.setUint16(8, tags, true);
  for (let r = 0; r < 8; r++) {
    const relative = (r - topBefore + 1) & 7;
    const bits = relative < 4 ? f80At(view, at + 20 + 10 * relative) : (BigInt(0x4000 + r) << 64n) | 0xc000000000000000n;
    const offset = 28 + 10 * ((r - topBefore) & 7);
    image.setBigUint64(offset, BigInt.asUintN(64, bits), true);
    image.setUint16(offset + 8, Number(bits >> 64n), true);
  }
  const memory = new DataView(view.buffer.slice(view.byteOffset + at + MEMORY, view.byteOffset + at + MEMORY + 10));
  const eflags = view.getUint16(at + 8, true);
  const state = newX87State();
  executeX87(state, 0xdd, 4 << 3, x87Operand(image));
  const outcome = executeX87(state, view.getUint8(at), view.getUint8(at + 1), { ...x87Operand(memory), eflags });
  executeX87(state, 0xdd, 6 << 3, x87Operand(image));
  const ok = outcome.kind === 'ok';
  return {
    outcome: ok ? 0 : outcome.kind === 'mf' ? 1 : 2,
    control: image.getUint16(0, true),
    status: image.getUint16(4, true),
    tags: image.getUint16(8, true),
    eflags: (ok && outcome.newEflags !== undefined ? outcome.newEflags : eflags) & 0x8d5,
    ax: ok ? (outcome.newAx ?? 0) : 0,
    registers: registersOf(image, topBefore),
    memory: bytesHex(memory, 0, 10),
  };
}

function recordedX87Case(view: DataView, at: number): X87Result {
  return {
    outcome: view.getUint8(at + 7),
    control: view.getUint16(at + 14, true),
    status: view.getUint16(at + 16, true),
    tags: view.getUint16(at + 18, true),
    eflags: view.getUint16(at + 10, true) & 0x8d5,
    ax: view.getUint16(at + 12, true),
    registers: [0, 1, 2, 3].map((i) => f80At(view, at + 60 + 10 * i)),
    memory: bytesHex(view, at + MEMORY + 10, 10),
  };
}

export function isTranscendental(opcode: number, modrm: number): boolean {
  return opcode === 0xd9 && ((modrm >= 0xf0 && modrm <= 0xf3) || modrm === 0xf9 || modrm === 0xfb || modrm >= 0xfe);
}

const C1 = 0x200;

function agree(recorded: X87Result, ours: X87Result, transcendental: boolean): boolean {
  if (recorded.outcome !== 0 || ours.outcome !== 0) return recorded.outcome === ours.outcome;
  // A transcendental may be off by a unit in the last place, and C1 tells of a rounding that is not specified.
  const ignored = transcendental ? C1 : 0;
  const distance = transcendental ? 1n : 0n;
  return (
    recorded.control === ours.control &&
    (recorded.status | ignored) === (ours.status | ignored) &&
    recorded.tags === ours.tags &&
    recorded.eflags === ours.eflags &&
    recorded.ax === ours.ax &&
    recorded.memory === ours.memory &&
    recorded.registers.every((bits, i) => ulps(bits, ours.registers[i]!) <= distance)
  );
}

/** How many f80 numbers apart two patterns are. */
function ulps(a: bigint, b: bigint): bigint {
  if (a === b) return 0n;
  if (a >> 79n !== b >> 79n || ((a ^ b) & ~(1n << 63n)) === 0n) return 1n << 80n;
  const ordinal = (bits: bigint) => (BigInt.asUintN(15, bits >> 64n) << 63n) | BigInt.asUintN(63, bits);
  const difference = ordinal(a) - ordinal(b);
  return difference < 0n ? -difference : difference;
}

function showX87({ outcome, control, status, tags, eflags, ax, registers, memory }: X87Result): string {
  if (outcome !== 0) return outcome === 1 ? '#MF' : '#UD';
  return `cw=${hex(control)} sw=${hex(status)} tags=${hex(tags)} eflags=${hex(eflags)} ax=${hex(ax)} [${registers.map(hex).join(' ')}] ${memory}`;
}

/** `opcode modrm` of every x87 record, once as it is and once without the register's number. */
export function recordedEncodings({ sse, x87, records }: Recording): Set<string> {
  const encodings = new Set<string>();
  for (let i = 0; i < x87; i++) {
    const at = sse * SSE_SIZE + i * X87_SIZE;
    encodings.add(`${records.getUint8(at)} ${records.getUint8(at + 1) & 0xf8}`);
    encodings.add(`${records.getUint8(at)} ${records.getUint8(at + 1)}`);
  }
  return encodings;
}

export function replayX87({ sse, x87, records }: Recording): string[] {
  const failures: string[] = [];
  for (let i = 0; i < x87; i++) {
    const at = sse * SSE_SIZE + i * X87_SIZE;
    const opcode = records.getUint8(at);
    const modrm = records.getUint8(at + 1);
    const recorded = recordedX87Case(records, at);
    const ours = executeX87Case(records, at);
    if (agree(recorded, ours, isTranscendental(opcode, modrm))) continue;
    const before = [0, 1, 2, 3].map((n) => hex(f80At(records, at + 20 + 10 * n))).join(' ');
    const words = [2, 4, 8].map((n) => hex(records.getUint16(at + n, true)));
    failures.push(
      `${hex(opcode)} ${hex(modrm)} cw=${words[0]} sw=${words[1]} valid=${hex(records.getUint8(at + 6))} eflags=${words[2]} [${before}] ${bytesHex(records, at + MEMORY, 10)}:\n` +
        `    recorded ${showX87(recorded)}\n    ours     ${showX87(ours)}`,
    );
  }
  return failures;
}
