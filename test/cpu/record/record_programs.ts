/**
 * Runs random programs (programs.ts) on the CPU of this machine, once for the state they leave and once step by step for
 * the number of their instructions, and writes vectors/programs.gz. Built and run as record_float.ts.
 */
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { rows } from '../../../emulator/cpu/rows/index.ts';
import { formatProgram, hashesOf, MAX_PROGRAM, makeProgram, programInput } from '../../support/programs.ts';
import { runNative } from './native.ts';

const COUNT = Number(process.argv[2] ?? 1600);
const CODE_SIZE = 255;
const TF = 0x100;

/** Rows that the generator makes itself, that may fault or need a kernel, or whose result is the machine's own. */
const refused = /^(j|jmp|call|ret|loop|loope|loopne|jrcxz|leave|ldmxcsr|rsm|cli|sti|pushf|clflush|nop|ud\d|rcp[ps]s|rsqrt[ps]s)$/;
const fit = rows.filter(({ opcode, mnemonic, attributes, operands }) => {
  if (opcode === '' || opcode.includes('=') || refused.test(mnemonic)) return false;
  if ((['i64', 'cpl0', 'x87', 'system'] as const).some((attribute) => attributes.has(attribute))) return false;
  return !operands.some((operand) => /^[SCDOA][a-z]$/.test(operand) || operand === 'DX');
});

const cases = Array.from({ length: COUNT }, (_, i) => ({ seed: i + 1, code: makeProgram(fit, i + 1), input: programInput(i + 1) }));
for (const { code, seed } of cases) if (code.length > MAX_PROGRAM) throw new Error(`program ${seed} has ${code.length} bytes`);
const ends = runNative(cases, CODE_SIZE);
const stepped = runNative(
  cases.map(({ code, input }) => ({ code, input: { ...input, flags: input.flags | TF } })),
  CODE_SIZE,
);
let faults = 0;
const programs = cases.flatMap(({ code, seed }, i) => {
  const { vector, state } = ends[i]!;
  if (vector >= 0) {
    faults++;
    return [];
  }
  return [{ code, seed, count: -1 - stepped[i]!.vector, flags: state.flags, hashes: hashesOf(state) }];
});
const packed = gzipSync(programs.map(formatProgram).join('\n'), { level: 9 });
writeFileSync('test/cpu/vectors/programs.gz', packed);
const instructions = programs.reduce((sum, { count }) => sum + count, 0);
console.log(`${programs.length} programs (${faults} faulted), ${instructions} instructions, ${packed.length} bytes`);
