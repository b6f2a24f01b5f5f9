/**
 * `npm run record-cpu`: runs random encodings of every user-mode row on the CPU of this machine (x86-64 with gcc) and
 * writes what it did to test/cpu/vectors/. The committed vectors came from an AMD EPYC (family 25).
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { rows } from '../../../emulator/cpu/rows/index.ts';
import { changesBetween, formatVector, inputState, type Vector } from '../../support/vectors.ts';
import { type Case, caseCount, makeCase } from './cases.ts';
import { runNative } from './native.ts';

const PER_ROW = 24;
/** Longest code of a case (native.ts). */
const CODE_SIZE = 31;
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

function record(list: { row: string; case: Case }[]): Vector[] {
  const inputs = list.map(({ case: { code, seed, overrides } }) => ({ code: Uint8Array.from(code), input: inputState(seed, overrides) }));
  return runNative(inputs, CODE_SIZE).map(({ state, vector }, i) => {
    const { row, case: made } = list[i]!;
    const { code, input } = inputs[i]!;
    return { row, code, seed: made.seed, overrides: made.overrides, outcome: vector >= 0 ? `#${vector}` : changesBetween(input, state) };
  });
}

const isVector = ({ attributes }: (typeof rows)[number]): boolean => attributes.has('sse') || attributes.has('mmx');
for (const name of ['integer', 'simd']) {
  const list = rows
    .filter((row) => isRecordable(row) && isVector(row) === (name === 'simd'))
    .flatMap((row) => {
      const cases = Array.from({ length: caseCount(row, PER_ROW) }, (_, i) => makeCase(row, i)).filter((made) => made !== undefined);
      return cases.map((made) => ({ row: `${row.opcode}|${row.operands}`, case: made }));
    });
  const vectors = record(list);
  const packed = gzipSync(vectors.map(formatVector).join('\n'), { level: 9 });
  writeFileSync(join(root, `test/cpu/vectors/${name}.gz`), packed);
  console.log(`${name}: ${vectors.length} vectors, ${packed.length} bytes`);
}
