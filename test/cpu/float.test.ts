// The floating-point arithmetic answers as a real processor did: records of test/cpu/record/float.c, and claims by hand
// where the architecture speaks but the recording cannot.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { sseReciprocal, sseReciprocalSqrt } from '../../emulator/cpu/float/reciprocal.ts';
import { sseArith } from '../../emulator/cpu/float/sse.ts';
import {
  emptyMmx,
  enterMmx,
  executeX87,
  fxrstorX87,
  fxsaveX87,
  initX87,
  waitX87,
  type X87Outcome,
  type X87State,
  x87MemoryOperand,
} from '../../emulator/cpu/float/x87.ts';
import { newX87State, parseRecording, recordedEncodings, replaySse, replayX87, x87Operand } from './record/float_replay.ts';

const recording = parseRecording(gunzipSync(readFileSync('test/cpu/vectors/float.bin.gz')));

t.test(`${recording.sse} recorded SSE instructions give the same results, exceptions and faults`, (t) => {
  t.same(replaySse(recording).slice(0, 20), []);
  t.end();
});

t.test(`${recording.x87} recorded x87 instructions give the same registers, status, memory, EFLAGS and #MF`, (t) => {
  t.same(replayX87(recording).slice(0, 20), []);
  t.end();
});

const opcodes = [0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf];
const groups = [0, 1, 2, 3, 4, 5, 6, 7];

t.test('the recording has every x87 encoding whose operand is not an image of the state', (t) => {
  const recorded = recordedEncodings(recording);
  const missing: string[] = [];
  for (const opcode of opcodes) {
    for (const modrm of [...groups.map((group) => group << 3), ...Array.from({ length: 64 }, (_, i) => 0xc0 + i)]) {
      const operand = x87MemoryOperand(opcode, modrm, 4);
      if (operand === 'ud' || operand.size > 10) continue;
      const single = opcode === 0xd9 && modrm >= 0xe0;
      if (!recorded.has(`${opcode} ${single ? modrm : modrm & 0xf8}`)) missing.push(`${opcode.toString(16)} ${modrm.toString(16)}`);
    }
  }
  t.same(missing, []);
  t.end();
});

t.test('double arithmetic agrees with the host in round to nearest', (t) => {
  const pattern = (x: number) => new BigUint64Array(Float64Array.of(x).buffer)[0]!;
  const host = {
    add: (a: number, b: number) => a + b,
    sub: (a: number, b: number) => a - b,
    mul: (a: number, b: number) => a * b,
    div: (a: number, b: number) => a / b,
    sqrt: (_: number, b: number) => Math.sqrt(b),
  };
  let state = 12345;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const failures: string[] = [];
  for (let i = 0; i < 2000; i++) {
    const [a, b] = [(random() - 0.5) * 2 ** (random() * 2090 - 1070), random() * 2 ** (random() * 2090 - 1070)];
    for (const [op, evaluate] of Object.entries(host) as [keyof typeof host, (a: number, b: number) => number][]) {
      if (sseArith(op, 8, pattern(a), pattern(b), 0x1f80).result !== pattern(evaluate(a, b))) failures.push(`${op} ${a} ${b}`);
    }
  }
  t.same(failures, []);
  t.end();
});

t.test('RCPSS and RSQRTSS are within their error bound and know the special operands', (t) => {
  const bits = (x: number) => BigInt(new Uint32Array(Float32Array.of(x).buffer)[0]!);
  const value = (x: bigint) => new Float32Array(Uint32Array.of(Number(x)).buffer)[0]!;
  for (const x of [1, 2, 3, 10, 0.1, 1.9999, 1e-30, 1e30, 7.77e12, 123456789]) {
    const exact = Math.fround(x);
    t.ok(Math.abs(value(sseReciprocal(bits(x))) * exact - 1) <= 1.5 * 2 ** -12, `rcpss ${x}`);
    t.ok(Math.abs(value(sseReciprocal(bits(-x))) * -exact - 1) <= 1.5 * 2 ** -12, `rcpss ${-x}`);
    t.ok(Math.abs(value(sseReciprocalSqrt(bits(x))) * Math.sqrt(exact) - 1) <= 1.5 * 2 ** -12, `rsqrtss ${x}`);
  }
  const rows: [string, (a: bigint) => bigint, bigint, bigint][] = [
    ['rcpss +0', sseReciprocal, 0n, 0x7f800000n],
    ['rcpss -denormal', sseReciprocal, 0x80000001n, 0xff800000n],
    ['rcpss -inf', sseReciprocal, 0xff800000n, 0x80000000n],
    ['rcpss 2^127 is flushed', sseReciprocal, 0x7f000000n, 0n],
    ['rcpss SNaN', sseReciprocal, 0xff800001n, 0xffc00001n],
    ['rsqrtss -0', sseReciprocalSqrt, 0x80000000n, 0xff800000n],
    ['rsqrtss +inf', sseReciprocalSqrt, 0x7f800000n, 0n],
    ['rsqrtss -1', sseReciprocalSqrt, 0xbf800000n, 0xffc00000n],
    ['rsqrtss QNaN', sseReciprocalSqrt, 0x7fc12345n, 0x7fc12345n],
  ];
  for (const [name, operation, a, expected] of rows) t.equal(operation(a), expected, name);
  t.end();
});

const buffer = (size: number) => new DataView(new ArrayBuffer(size));

/** Executes register forms one after the other and tells the last outcome. */
function run(state: X87State, ...code: [opcode: number, modrm: number][]): X87Outcome {
  let outcome: X87Outcome = { kind: 'ok' };
  for (const [opcode, modrm] of code) outcome = executeX87(state, opcode, modrm, x87Operand(buffer(0)));
  return outcome;
}

const FLD1: [number, number] = [0xd9, 0xe8];
const FLDPI: [number, number] = [0xd9, 0xeb];
const FLDZ: [number, number] = [0xd9, 0xee];
const FCHS: [number, number] = [0xd9, 0xe0];
const ONE = 0x3fff8000000000000000n;

function stack(state: X87State, i: number): bigint {
  const r = (((state.status >> 11) & 7) + i) & 7;
  return (BigInt(state.signExponent(r)) << 64n) | state.significand(r);
}

t.test('x87 memory operands tell size and direction before anything happens', (t) => {
  const rows: [name: string, opcode: number, modrm: number, operandSize: 2 | 4, expected: string][] = [
    ['FADD m32', 0xd8, 0x00, 4, '4 r'],
    ['FSTP m32', 0xd9, 0x18, 4, '4 w'],
    ['FLDENV', 0xd9, 0x20, 4, '28 r'],
    ['FLDENV, 16-bit', 0xd9, 0x20, 2, '14 r'],
    ['FNSTCW', 0xd9, 0x38, 4, '2 w'],
    ['FLD m80', 0xdb, 0x28, 4, '10 r'],
    ['FSTP m80', 0xdb, 0x38, 4, '10 w'],
    ['FRSTOR', 0xdd, 0x20, 4, '108 r'],
    ['FNSAVE, 16-bit', 0xdd, 0x30, 2, '94 w'],
    ['FNSTSW m16', 0xdd, 0x38, 4, '2 w'],
    ['FICOM m16', 0xde, 0x10, 4, '2 r'],
    ['FBSTP', 0xdf, 0x30, 4, '10 w'],
    ['FILD m64', 0xdf, 0x28, 4, '8 r'],
    ['FISTTP m64', 0xdd, 0x08, 4, '8 w'],
    ['D9 /1', 0xd9, 0x08, 4, 'ud'],
    ['FLD1', 0xd9, 0xe8, 4, '0 none'],
    ['D9 EF', 0xd9, 0xef, 4, 'ud'],
  ];
  for (const [name, opcode, modrm, operandSize, expected] of rows) {
    const operand = x87MemoryOperand(opcode, modrm, operandSize);
    t.equal(operand === 'ud' ? operand : `${operand.size} ${operand.access}`, expected, name);
  }
  t.end();
});

t.test('FOP, FIP and FDP follow the non-control instructions', (t) => {
  const state = newX87State();
  const at = (rip: bigint, vaddr: bigint) => ({ ...x87Operand(buffer(28)), rip, vaddr, selector: 0x2b });
  executeX87(state, 0xd9, 0x05, at(0x1000n, 0x2000n)); // FLD m32
  t.same(
    [state.opcode, state.instructionPointer, state.dataPointer, state.codeSelector, state.dataSelector],
    [0x105, 0x1000n, 0x2000n, 0x33, 0x2b],
  );
  executeX87(state, 0xd9, 0x3d, at(0x1010n, 0x2010n)); // FNSTCW
  executeX87(state, 0xdf, 0xe0, at(0x1020n, 0x2020n)); // FNSTSW AX
  t.same([state.opcode, state.instructionPointer, state.dataPointer], [0x105, 0x1000n, 0x2000n], 'control instructions leave them');
  executeX87(state, 0xd9, 0xc0, at(0x1030n, 0x2030n)); // FLD ST(0)
  t.same([state.opcode, state.instructionPointer, state.dataPointer], [0x1c0, 0x1030n, 0x2000n], 'a register form leaves FDP');
  t.end();
});

t.test('environment and state images', (t) => {
  const state = newX87State();
  run(state, FLDZ, FLDPI, FLD1);
  executeX87(state, 0xd9, 0x05, { ...x87Operand(buffer(4)), rip: 0x12345678n, vaddr: 0x9abcdef0n });
  state.control = 0x027e;
  const environment = buffer(28);
  executeX87(state, 0xd9, 0x30, x87Operand(environment));
  t.same(
    groups.slice(0, 7).map((i) => environment.getUint32(4 * i, true)),
    [0xffff027e, 0xffff2000, 0xffff41ff, 0x12345678, 0x01050033, 0x9abcdef0, 0xffff002b],
    '32-bit environment: the tags of 0.0, 1.0, pi and 0.0 above four empty registers',
  );
  t.equal(state.control, 0x027f, 'FNSTENV masks all exceptions');
  const short = buffer(14);
  executeX87(state, 0xd9, 0x30, { ...x87Operand(short), operandSize: 2 });
  t.same(
    groups.slice(0, 7).map((i) => short.getUint16(2 * i, true)),
    [0x027f, 0x2000, 0x41ff, 0x5678, 0x33, 0xdef0, 0x2b],
    '16-bit environment',
  );
  for (const operandSize of [2, 4] as const) {
    const image = buffer(108);
    const before = groups.map((i) => stack(state, i));
    executeX87(state, 0xdd, 0x30, { ...x87Operand(image), operandSize });
    t.same([state.control, state.status, state.valid, state.instructionPointer], [0x037f, 0, 0, 0n], 'FNSAVE initialises');
    executeX87(state, 0xdd, 0x20, { ...x87Operand(image), operandSize });
    t.same(
      groups.map((i) => stack(state, i)),
      before,
      `FRSTOR brings the registers back, operand size ${operandSize}`,
    );
    t.same([state.control, state.status, state.valid], [0x027f, 0x2000, 0xf0]);
  }
  t.end();
});

t.test('the x87 part of FXSAVE images', (t) => {
  for (const wide of [true, false]) {
    const state = newX87State();
    run(state, FLDPI, FLD1, FCHS);
    executeX87(state, 0xd8, 0x0d, { ...x87Operand(buffer(4)), rip: 0x7fff_1234_5678_9abcn, vaddr: 0xffff_8000_0000_1000n });
    const image = buffer(512);
    fxsaveX87(state, image, 0, wide);
    t.same(
      [0, 2, 4, 6].map((at) => image.getUint16(at, true)),
      [0x037f, 0x3000, 0x00c0, 0x000d],
      'FCW FSW FTW FOP',
    );
    t.equal(image.getBigUint64(8, true), wide ? 0x7fff_1234_5678_9abcn : 0x33_5678_9abcn, 'FIP');
    t.equal(image.getBigUint64(16, true), wide ? 0xffff_8000_0000_1000n : 0x2b_0000_1000n, 'FDP');
    t.equal(image.getBigUint64(48, true), 0xc90fdaa22168c235n, 'ST(1)');
    const copy = newX87State();
    fxrstorX87(copy, image, 0, wide);
    t.same([copy.control, copy.status, copy.valid, copy.opcode], [state.control, state.status, state.valid, state.opcode]);
    t.same(
      groups.map((i) => stack(copy, i)),
      groups.map((i) => stack(state, i)),
    );
    const again = buffer(512);
    fxsaveX87(copy, again, 0, wide);
    t.same(again, image, 'saves what was restored');
  }
  t.end();
});

t.test('an unmasked exception waits for the next waiting instruction', (t) => {
  const state = newX87State();
  state.control = 0x037b; // ZE unmasked
  t.equal(run(state, FLD1, FLDZ, [0xde, 0xf9]).kind, 'ok', 'FDIVP by zero itself completes');
  t.equal(stack(state, 1), ONE, 'and leaves its operands');
  t.ok(waitX87(state), 'FWAIT raises #MF');
  t.equal(run(state, FLD1).kind, 'mf');
  t.equal(run(state, [0xd9, 0xef]).kind, 'ud', '#UD comes first');
  t.same(run(state, [0xdf, 0xe0]), { kind: 'ok', newAx: 0xb084 }, 'FNSTSW AX does not wait');
  t.equal(run(state, [0xdb, 0xe2]).kind, 'ok', 'FNCLEX does not wait');
  t.notOk(waitX87(state));
  t.equal(run(state, FLD1).kind, 'ok');
  t.end();
});

t.test('transcendentals of known value', (t) => {
  const rows: [name: string, operation: [number, number], st0: bigint, st1: bigint | undefined, expected: bigint][] = [
    ['sin 1', [0xd9, 0xfe], ONE, undefined, 0x3ffed76aa47848677021n],
    ['cos 1', [0xd9, 0xff], ONE, undefined, 0x3ffe8a51407da8345c92n],
    ['atan2(1, 1) = pi / 4', [0xd9, 0xf3], ONE, ONE, 0x3ffec90fdaa22168c235n],
    ['atan2(1, -1) = 3 pi / 4', [0xd9, 0xf3], ONE | (1n << 79n), ONE, 0x400096cbe3f9990e91a8n],
    ['1 * log2 10', [0xd9, 0xf1], 0x4002a000000000000000n, ONE, 0x4000d49a784bcd1b8afen],
    ['1 * log2 8', [0xd9, 0xf1], 0x40028000000000000000n, ONE, 0x4000c000000000000000n],
    ['1 * log2 (1 + 2^-100)', [0xd9, 0xf9], 0x3f9b8000000000000000n, ONE, 0x3f9bb8aa3b295c17f0bcn],
    ['2^0.5 - 1', [0xd9, 0xf0], 0x3ffe8000000000000000n, undefined, 0x3ffdd413cccfe7799211n],
    ['sin of the smallest normal', [0xd9, 0xfe], 0x00018000000000000000n, undefined, 0x00018000000000000000n],
    ['sin 2^63 is out of range', [0xd9, 0xfe], 0x403e8000000000000000n, undefined, 0x403e8000000000000000n],
  ];
  for (const [name, operation, st0, st1, expected] of rows) {
    const state = newX87State();
    for (const bits of [st1, st0]) {
      if (bits === undefined) continue;
      const memory = buffer(10);
      memory.setBigUint64(0, BigInt.asUintN(64, bits), true);
      memory.setUint16(8, Number(bits >> 64n), true);
      executeX87(state, 0xdb, 0x28, x87Operand(memory));
    }
    run(state, operation);
    t.equal(stack(state, 0).toString(16), expected.toString(16), name);
    t.equal((state.status & 0x400) !== 0, name.includes('out of range'), 'C2');
  }
  t.end();
});

t.test('MMX shares the registers', (t) => {
  const state = newX87State();
  run(state, FLD1, FLDPI);
  enterMmx(state);
  t.same([(state.status >> 11) & 7, state.valid], [0, 0xff]);
  emptyMmx(state);
  t.equal(state.valid, 0);
  initX87(state);
  t.equal(state.control, 0x037f);
  t.end();
});
