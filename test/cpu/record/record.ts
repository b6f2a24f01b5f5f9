/**
 * `npm run record-cpu`: runs random encodings of every user-mode row on the CPU of this machine (x86-64 with gcc) and
 * writes what it did to test/cpu/vectors/. The committed vectors came from an AMD EPYC (family 25).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { rows } from '../../../emulator/cpu/rows/index.ts';
import { changesBetween, formatVector, inputState, type MachineState, type Vector, WINDOW_SIZE } from '../../support/vectors.ts';
import { type Case, caseCount, makeCase } from './cases.ts';

const PER_ROW = 24;
const INPUT_SIZE = 32 + 136 + 512 + WINDOW_SIZE;
const OUTPUT_SIZE = 144 + 512 + WINDOW_SIZE;
const root = new URL('..', import.meta.url).pathname;

/** Rows that only a kernel may run, that 64-bit code has not, or whose result is the machine's own (CPUID, TSC). */
const refused = new Set([
  'cpuid',
  'rdtsc',
  'rdtscp',
  'rdpmc',
  'syscall',
  'sysenter',
  'int',
  'int3',
  'int1',
  'into',
  'nop',
  'pause',
  'fwait',
  'pushf',
  'popf',
  'iret',
  'retf',
  'callf',
  'jmpf',
  'lss',
  'lfs',
  'lgs',
  'sgdt',
  'sidt',
  'sldt',
  'str',
  'smsw',
  'lar',
  'lsl',
  'verr',
  'verw',
  'rdfsbase',
  'rdgsbase',
  'wrfsbase',
  'wrgsbase',
  'xgetbv',
  'vmcall',
  'vmmcall',
  'ud0',
  'ud1',
  'ud2',
  'rcpps',
  'rcpss',
  'rsqrtps',
  'rsqrtss',
]);

export function isRecordable({ opcode, attributes, mnemonic, operands }: (typeof rows)[number]): boolean {
  if (opcode === '' || opcode.startsWith('0F 01 ') || refused.has(mnemonic)) return false;
  if (['i64', 'cpl0', 'x87'].some((attribute) => attributes.has(attribute as never))) return false;
  if (attributes.has('system') && mnemonic !== 'pop' && mnemonic !== 'enter') return false;
  return !operands.some((operand) => /^[SCDO][a-z]/.test(operand) || operand === 'DX');
}

function fxImage(state: MachineState): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x37f, true);
  image[4] = 0xff;
  view.setUint32(24, state.mxcsr, true);
  for (let i = 0; i < 8; i++) {
    image.set(state.mmx.subarray(i * 8, i * 8 + 8), 32 + i * 16);
    view.setUint16(40 + i * 16, 0xffff, true);
  }
  image.set(state.xmm, 160);
  return image;
}

function record(list: { row: string; case: Case }[], program: string): Vector[] {
  const input = new Uint8Array(INPUT_SIZE * list.length);
  const view = new DataView(input.buffer);
  const states = list.map(({ case: { code, seed, overrides } }, i) => {
    const state = inputState(seed, overrides);
    const at = i * INPUT_SIZE;
    input[at] = code.length;
    input.set(code, at + 1);
    for (const [register, value] of state.gpr.entries()) view.setBigUint64(at + 32 + register * 8, value, true);
    view.setBigUint64(at + 160, BigInt(state.flags), true);
    input.set(fxImage(state), at + 168);
    input.set(state.window, at + 680);
    return state;
  });
  const output = execFileSync(program, { input, maxBuffer: 1 << 30 });
  const results = new DataView(output.buffer, output.byteOffset, output.length);
  return list.map(({ row, case: { code, seed, overrides } }, i) => {
    const at = i * OUTPUT_SIZE;
    const bytes = (offset: number, size: number): Uint8Array => output.subarray(at + offset, at + offset + size);
    const vector = Number(results.getBigInt64(at + 136, true));
    const mmx = new Uint8Array(64);
    for (let n = 0; n < 8; n++) mmx.set(bytes(144 + 32 + n * 16, 8), n * 8);
    const after: MachineState = {
      gpr: Array.from({ length: 16 }, (_, register) => results.getBigUint64(at + register * 8, true)),
      // The recorder runs with IF set and without TF; reserved bits are dropped.
      flags: (Number(results.getBigUint64(at + 128, true)) & 0xcd5) | 0x202,
      mxcsr: results.getUint32(at + 144 + 24, true),
      mmx,
      xmm: bytes(144 + 160, 256),
      window: bytes(656, WINDOW_SIZE),
    };
    return { row, code: Uint8Array.from(code), seed, overrides, outcome: vector >= 0 ? `#${vector}` : changesBetween(states[i]!, after) };
  });
}

const folder = mkdtempSync(join(tmpdir(), 'beneath-record-'));
try {
  const program = join(folder, 'native');
  execFileSync('gcc', ['-O1', '-static', '-no-pie', '-fno-pie', '-o', program, join(root, 'test/cpu/record/native.c')]);
  for (const [name, isWanted] of [
    ['integer', (row: (typeof rows)[number]) => !row.attributes.has('sse') && !row.attributes.has('mmx')],
    ['simd', (row: (typeof rows)[number]) => row.attributes.has('sse') || row.attributes.has('mmx')],
  ] as const) {
    const list = rows
      .filter((row) => isRecordable(row) && isWanted(row))
      .flatMap((row) => {
        const cases = Array.from({ length: caseCount(row, PER_ROW) }, (_, i) => makeCase(row, i)).filter((made) => made !== undefined);
        return cases.map((made) => ({ row: `${row.opcode}|${row.operands}`, case: made }));
      });
    const vectors = record(list, program);
    const packed = gzipSync(vectors.map(formatVector).join('\n'), { level: 9 });
    writeFileSync(join(root, `test/cpu/vectors/${name}.gz`), packed);
    console.log(`${name}: ${vectors.length} vectors, ${packed.length} bytes`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
