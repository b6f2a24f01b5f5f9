/** SSE, MMX and x87 rows against the real CPU: complete floating-point state, special operands, every kind of MXCSR. */

import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ARITHMETIC } from '../../emulator/cpu/flags.ts';
import { fxrstorX87, fxsaveX87 } from '../../emulator/cpu/float/x87.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { RBX, RDI } from '../../emulator/cpu/interface.ts';
import { MXCSR, XMM } from '../../emulator/cpu/layout.ts';
import { X87Registers } from '../../emulator/cpu/x87_helpers.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { applyFloatOutcome, type FloatState, floatChanges, floatInput, fromFxImage, toFxImage } from '../support/float_vectors.ts';
import { EAGER, replayHot } from '../support/hot_code.ts';
import { quickOr } from '../support/thorough.ts';
import { CODE_ADDRESS, readVectors, type Vector, WINDOW_ADDRESS, WINDOW_SIZE } from '../support/vectors.ts';

function load(cpu: CpuCore, state: FloatState): void {
  const { view } = cpu.state;
  cpu.gpr.set(state.gpr);
  cpu.rflags = BigInt(state.flags);
  fxrstorX87(new X87Registers(view), new DataView(toFxImage(state).buffer), 0, true);
  view.setUint32(MXCSR, state.mxcsr, true);
  new Uint8Array(view.buffer).set(state.xmm, XMM);
  cpu.memory.bytes.set(state.window, WINDOW_ADDRESS);
}

function save(cpu: CpuCore): FloatState {
  const { view } = cpu.state;
  const image = new Uint8Array(512);
  const imageView = new DataView(image.buffer);
  fxsaveX87(new X87Registers(view), imageView, 0, true);
  imageView.setUint32(24, view.getUint32(MXCSR, true), true);
  image.set(new Uint8Array(view.buffer, XMM, 256), 160);
  return fromFxImage(image, {
    gpr: [...cpu.gpr],
    flags: (Number(cpu.rflags) & (ARITHMETIC | 0x400)) | 0x202,
    window: cpu.memory.bytes.slice(WINDOW_ADDRESS, WINDOW_ADDRESS + WINDOW_SIZE),
  });
}

/** Runs a vector's code, which lies at an address; what went differently from the real CPU, or ''. */
function replay(cpu: CpuCore, vector: Vector, at: number): string {
  const before = floatInput(vector.seed, vector.overrides);
  load(cpu, before);
  cpu.rip = BigInt(at);
  const exit = cpu.run(1);
  const ours = exit.kind === 'exception' ? `#${exit.vector}` : exit.kind;
  const theirs = vector.outcome.startsWith('#') ? vector.outcome.split(',')[0] : 'budget';
  if (ours !== theirs) return `${ours} instead of ${vector.outcome}`;
  return floatChanges(applyFloatOutcome(before, vector.outcome), save(cpu));
}

/** Compiles the handlers of all vectors block by block: one module for each alone takes ten times as long. */
function compileAll(cpu: CpuCore, vectors: readonly Vector[]): void {
  for (let i = 0; i < vectors.length; i += 48) {
    const block = vectors.slice(i, i + 48);
    loadCode(
      cpu,
      block.flatMap(({ code }) => [...code]),
      0x14000,
    );
    cpu.run(1);
  }
}

const all = readVectors(readFileSync(process.env.VECTORS ?? 'test/cpu/vectors/sse.gz'));

/** One assertion a row. */
function expectNone(t: Test, vectors: readonly Vector[], differences: readonly string[]): void {
  const byRow = new Map<string, number[]>();
  for (const [i, { row }] of vectors.entries()) byRow.set(row, [...(byRow.get(row) ?? []), i]);
  for (const [row, indices] of byRow) {
    const failures = indices.flatMap((i) => {
      const { code, seed, overrides, outcome } = vectors[i]!;
      const what = `${Buffer.from(code).toString('hex')} seed ${seed.toString(16)} ${overrides}: ${differences[i]} (recorded ${outcome})`;
      return differences[i] === '' ? [] : [what];
    });
    t.equal(failures.length, 0, `${row}: ${indices.length} vectors`, { failures: failures.slice(0, 3) });
  }
}

t.test('every row does what the real CPU did', (t) => {
  const cpu = makeBareCpu();
  compileAll(cpu, all);
  const differences = all.map((vector) => {
    loadCode(cpu, vector.code, CODE_ADDRESS);
    return replay(cpu, vector, CODE_ADDRESS);
  });
  expectNone(t, all, differences);
  t.end();
});

t.test('every row does so as translated code', (t) => {
  const cpu = makeBareCpu(EAGER);
  const some = quickOr(
    all.filter((_, i) => i % 3 === 0),
    all,
  );
  const { differences, translated } = replayHot(cpu, some, {
    load: ({ seed, overrides }) => load(cpu, floatInput(seed, overrides)),
    run: (vector, at) => replay(cpu, vector, at),
  });
  expectNone(t, some, differences);
  const able = some.filter(({ outcome }) => !outcome.startsWith('#')).length;
  t.ok(translated > 0.95 * able, `${translated} of ${able} ran as translated code`);
  t.end();
});

const bytes = (hex: string): number[] => (hex.match(/[0-9a-f]{2}/gi) ?? []).map((pair) => Number.parseInt(pair, 16));

/** Runs one instruction; the exception it raised, or undefined. */
function step(cpu: CpuCore, code: string, at?: number): number | undefined {
  loadCode(cpu, bytes(code), at);
  const exit = cpu.run(1);
  return exit.kind === 'exception' ? exit.vector : undefined;
}

const UD = 6,
  NM = 7,
  GP = 13,
  PF = 14,
  MF = 16,
  XM = 19;
const CR0 = 0x8005_0033n,
  EM = 4n,
  TS = 8n,
  CR4 = 0x6a0n,
  OSFXSR = 0x200n,
  OSXMMEXCPT = 0x400n;

t.test('control registers decide who may run at all', (t) => {
  const addps = '0f58c1',
    paddb = '0ffcc1',
    fld1 = 'd9e8',
    fwait = '9b',
    ldmxcsr = '0fae13',
    fxsave = '0fae03',
    cvtpi2ps = '0f2ac1',
    lfence = '0faee8';
  const rows: [string, bigint, bigint, string, number | undefined][] = [
    ['SSE, OSFXSR clear', CR0, CR4 & ~OSFXSR, addps, UD],
    ['SSE, EM', CR0 | EM, CR4, addps, UD],
    ['SSE, TS', CR0 | TS, CR4, addps, NM],
    ['SSE, EM and TS', CR0 | EM | TS, CR4, addps, UD],
    ['MMX, OSFXSR clear', CR0, CR4 & ~OSFXSR, paddb, undefined],
    ['MMX, EM', CR0 | EM, CR4, paddb, UD],
    ['MMX, TS', CR0 | TS, CR4, paddb, NM],
    ['MMX and SSE, OSFXSR clear', CR0, CR4 & ~OSFXSR, cvtpi2ps, UD],
    ['x87, EM', CR0 | EM, CR4, fld1, NM],
    ['x87, TS', CR0 | TS, CR4, fld1, NM],
    ['FWAIT, TS and MP', CR0 | TS, CR4, fwait, NM],
    ['FWAIT, TS without MP', (CR0 | TS) & ~2n, CR4, fwait, undefined],
    ['LDMXCSR, TS', CR0 | TS, CR4, ldmxcsr, NM],
    ['FXSAVE, EM', CR0 | EM, CR4, fxsave, NM],
    ['LFENCE, everything off', CR0 | EM | TS, CR4 & ~OSFXSR, lfence, undefined],
  ];
  for (const [name, cr0, cr4, code, vector] of rows) {
    const cpu = makeBareCpu();
    cpu.cr0 = cr0;
    cpu.cr4 = cr4;
    cpu.gpr[RBX] = 0x20000n;
    t.equal(step(cpu, code), vector, name);
  }
  t.end();
});

t.test('an unmasked SIMD exception is #XM, or #UD when the system does not take it, and sets its flag', (t) => {
  const cpu = makeBareCpu();
  cpu.state.view.setInt32(MXCSR, 0x1f80 & ~0x200, true);
  cpu.state.view.setFloat64(XMM, 1, true);
  t.equal(step(cpu, 'f2 0f 5e c1'), XM, 'divsd by zero');
  t.equal(cpu.state.view.getInt32(MXCSR, true), 0x1d84);
  t.equal(cpu.state.view.getFloat64(XMM, true), 1, 'the destination stays');
  cpu.cr4 = CR4 & ~OSXMMEXCPT;
  t.equal(step(cpu, 'f2 0f 5e c1'), UD);
  t.end();
});

t.test('reserved bits of MXCSR are refused', (t) => {
  const cpu = makeBareCpu();
  cpu.gpr[RBX] = 0x20000n;
  cpu.memory.view.setUint32(0x20000, 0x11f80, true);
  t.equal(step(cpu, '0f ae 13'), GP, 'ldmxcsr');
  cpu.memory.view.setUint32(0x20018, 0x8001_1f80, true);
  t.equal(step(cpu, '0f ae 0b'), GP, 'fxrstor');
  t.equal(cpu.state.view.getInt32(MXCSR, true), 0x1f80);
  t.end();
});

/** Makes the 4 KiB page at 2 MiB - 4 KiB readable only and the one before it writable. */
function protectPage(cpu: CpuCore): void {
  const table = cpu.memory.size - (1 << 20) + 0x3000;
  for (let i = 0; i < 512; i++) cpu.memory.view.setBigUint64(table + 8 * i, BigInt(i << 12) | (i === 511 ? 5n : 7n), true);
  cpu.memory.view.setBigUint64(cpu.memory.size - (1 << 20) + 0x2000, BigInt(table) | 7n, true);
  cpu.flushTlb({ global: true });
}

t.test('accesses that cross a page are whole or not at all', (t) => {
  const readOnly = 0x1ff000;
  const stores: [string, string, number][] = [
    ['movups', '0f 11 03', 8],
    ['maskmovdqu', '66 0f f7 c0', 8],
    ['fstp m80', 'db 3b', 4],
    ['fnstenv', 'd9 33', 16],
    ['fnsave', 'dd 33', 30],
  ];
  for (const [name, code, before] of stores) {
    const cpu = makeBareCpu();
    cpu.state.view.setBigUint64(XMM, 0xfefe_fefe_fefe_fefen, true);
    cpu.state.view.setBigUint64(XMM + 8, 0xfefe_fefe_fefe_fefen, true);
    t.equal(step(cpu, 'd9 eb'), undefined, 'fldpi');
    const place = BigInt(readOnly - before);
    cpu.gpr[RBX] = place;
    cpu.gpr[RDI] = place;
    protectPage(cpu);
    const state = cpu.saveContext();
    t.equal(step(cpu, code), PF, `${name} into a read-only page`);
    t.same(cpu.memory.bytes.slice(readOnly - before, readOnly + 128), new Uint8Array(before + 128), `${name} writes nothing`);
    t.same(cpu.saveContext().bytes.slice(0x100, 0x280), state.bytes.slice(0x100, 0x280), `${name} changes no register`);
    cpu.gpr[RBX] = place - 0x1000n;
    cpu.gpr[RDI] = place - 0x1000n;
    t.equal(step(cpu, code), undefined, `${name} across writable pages`);
    const start = readOnly - 0x1000 - before;
    t.ok(
      cpu.memory.bytes.subarray(start, start + before).some((byte) => byte !== 0),
      `${name} writes the first page`,
    );
    t.ok(
      cpu.memory.bytes.subarray(start + before, start + before + 128).some((byte) => byte !== 0),
      `${name} writes the second page`,
    );
  }
  t.end();
});

t.test('FXSAVE and FXRSTOR carry the whole state, in the 64-bit form with 64-bit pointers', (t) => {
  const cpu = makeBareCpu();
  const { view } = cpu.state;
  for (const code of ['d9 e8', 'd9 eb', 'd9 2b', 'de c9']) {
    cpu.gpr[RBX] = 0x20000n;
    cpu.memory.view.setUint16(0x20000, 0x27f, true);
    t.equal(step(cpu, code, 0x10000), undefined);
  }
  for (let i = 0; i < 16; i++) view.setBigUint64(XMM + 16 * i, BigInt(i) * 0x0101_0101_0101n, true);
  view.setInt32(MXCSR, 0x9fc1, true);
  cpu.gpr[RBX] = 0x30000n;
  cpu.memory.bytes.fill(0xee, 0x30000, 0x30200);
  t.equal(step(cpu, '48 0f ae 03'), undefined, 'fxsave64');
  const image = new DataView(cpu.memory.bytes.slice(0x30000, 0x30200).buffer);
  t.equal(image.getUint16(0, true), 0x27f, 'FCW');
  t.equal(image.getUint16(2, true) >> 11, 7, 'TOP');
  t.equal(image.getUint8(4), 0x80, 'tags');
  t.equal(image.getUint16(6, true), 0x6c9, 'FOP');
  t.equal(image.getBigUint64(8, true), 0x10000n, 'FIP');
  t.equal(image.getUint32(24, true), 0x9fc1, 'MXCSR');
  t.equal(image.getUint32(28, true), 0xffff, 'MXCSR_MASK');
  t.equal(image.getUint16(40, true), 0x4000, 'exponent of pi');
  t.equal(image.getBigUint64(160 + 15 * 16, true), 15n * 0x0101_0101_0101n, 'XMM15');
  t.equal(image.getUint8(416), 0xee, 'the rest is left alone');
  const before = cpu.saveContext().bytes.slice(0x100, 0x280);
  for (const code of ['db e3', '0f 77', '66 0f ef c0', '66 45 0f ef ff']) step(cpu, code);
  t.equal(step(cpu, '48 0f ae 0b'), undefined, 'fxrstor64');
  t.same(cpu.saveContext().bytes.slice(0x100, 0x280), before);
  cpu.gpr[RBX] = 0x30008n;
  t.equal(step(cpu, '0f ae 03'), GP, 'misaligned FXSAVE');
  t.equal(step(cpu, '0f ae 0b'), GP, 'misaligned FXRSTOR');
  t.end();
});

t.test('a pending x87 exception stops x87 and MMX before their memory operand is touched', (t) => {
  const cpu = makeBareCpu();
  cpu.gpr[RBX] = 0x7fff_0000n;
  cpu.memory.view.setUint16(0x20000, 0x37b, true);
  for (const code of ['d9 2c 25 00 00 02 00', 'd9 e8', 'd9 ee', 'de f9']) t.equal(step(cpu, code), undefined, code);
  for (const code of ['9b', 'd9 e8', 'd8 03', '0f fc 03', '0f 77', '0f 2a c1', '0f 2d 03']) t.equal(step(cpu, code), MF, code);
  for (const code of ['0f 2a 03', 'd9 3b', 'dd 3b', '0f 58 03']) t.equal(step(cpu, code), PF, code);
  for (const code of ['df e0', 'db e2', '9b']) t.equal(step(cpu, code), undefined, code);
  t.end();
});

t.test('reciprocals are close, and the scalar forms keep the upper lanes', (t) => {
  const lanes = [1, 3, 0.2, 1000];
  const rows: [string, string, number, (x: number) => number][] = [
    ['rcpps', '0f 53 c1', 4, (x) => 1 / x],
    ['rcpss', 'f3 0f 53 c1', 1, (x) => 1 / x],
    ['rsqrtps', '0f 52 c1', 4, (x) => 1 / Math.sqrt(x)],
    ['rsqrtss', 'f3 0f 52 c1', 1, (x) => 1 / Math.sqrt(x)],
  ];
  for (const [name, code, count, exact] of rows) {
    const cpu = makeBareCpu();
    const { view } = cpu.state;
    for (const [i, x] of lanes.entries()) {
      view.setFloat32(XMM + 4 * i, 7, true);
      view.setFloat32(XMM + 16 + 4 * i, x, true);
    }
    t.equal(step(cpu, code), undefined, name);
    for (const [i, x] of lanes.entries()) {
      const result = view.getFloat32(XMM + 4 * i, true);
      t.ok(i < count ? Math.abs(result / exact(x) - 1) <= 1.5 * 2 ** -12 : result === 7, `${name} lane ${i}`);
    }
    t.equal(view.getInt32(MXCSR, true), 0x1f80, `${name} raises nothing`);
  }
  t.end();
});

t.test('PAUSE leaves when the host asks for it', (t) => {
  const cpu = makeBareCpu({ intercepts: { instructions: new Set(['pause']) } });
  loadCode(cpu, [0xf3, 0x90]);
  t.same(cpu.run(1), { kind: 'instruction', name: 'pause', length: 2 });
  t.equal(step(makeBareCpu(), 'f3 90'), undefined);
  t.end();
});
