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
