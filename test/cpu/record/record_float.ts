/**
 * Runs random encodings of every SSE, MMX and x87 row on the CPU of this machine with special operands and complete
 * floating-point states, and writes what it did to test/cpu/vectors/sse.gz. Built and run as record.ts.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { rows } from '../../../emulator/cpu/rows/index.ts';
import { floatChanges, floatInput, fromFxImage, toFxImage } from '../../support/float_vectors.ts';
import { formatVector, type Vector, WINDOW_SIZE } from '../../support/vectors.ts';
import { type Case, caseCount, makeCase } from './cases.ts';

const INPUT_SIZE = 32 + 136 + 512 + WINDOW_SIZE;
const OUTPUT_SIZE = 144 + 512 + WINDOW_SIZE;
const perRow = Number(process.argv[2] ?? 24);
const output = process.argv[3] ?? 'test/cpu/vectors/sse.gz';

/** FXSAVE's area is larger than the window; reciprocals differ between processors; environments hold pointers of the recorder. */
const refused = new Set(['fxsave', 'fxrstor', 'rcpps', 'rcpss', 'rsqrtps', 'rsqrtss', 'fnsave', 'fnstenv']);

function isWanted({ attributes, mnemonic }: (typeof rows)[number]): boolean {
  return !refused.has(mnemonic) && (['sse', 'mmx', 'x87'] as const).some((attribute) => attributes.has(attribute));
}

/** Transcendentals (D9 F0-FF) are bounded, not exact: float.c records them. */
function isExact({ code }: Case): boolean {
  return !(code.at(-2) === 0xd9 && code.at(-1)! >= 0xf0);
}

function run(cases: { row: string; made: Case }[], program: string): Vector[] {
  const input = new Uint8Array(INPUT_SIZE * cases.length);
  const view = new DataView(input.buffer);
  const states = cases.map(({ made: { code, seed, overrides } }, i) => {
    const state = floatInput(seed, overrides);
    const at = i * INPUT_SIZE;
    input[at] = code.length;
    input.set(code, at + 1);
    for (const [register, value] of state.gpr.entries()) view.setBigUint64(at + 32 + register * 8, value, true);
    view.setBigUint64(at + 160, BigInt(state.flags), true);
    input.set(toFxImage(state), at + 168);
    input.set(state.window, at + 680);
    return state;
  });
  const bytes = execFileSync(program, { input, maxBuffer: 1 << 30 });
  const results = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return cases.map(({ row, made: { code, seed, overrides } }, i) => {
    const at = i * OUTPUT_SIZE;
    const before = states[i]!;
    const after = fromFxImage(bytes.subarray(at + 144, at + 656), {
      gpr: Array.from({ length: 16 }, (_, register) => results.getBigUint64(at + register * 8, true)),
      flags: (Number(results.getBigUint64(at + 128, true)) & 0xcd5) | 0x202,
      window: bytes.slice(at + 656, at + 656 + WINDOW_SIZE),
    });
    const vector = Number(results.getBigInt64(at + 136, true));
    const outcome = floatChanges(before, vector >= 0 ? { ...after, gpr: before.gpr, flags: before.flags } : after);
    return { row, code: Uint8Array.from(code), seed, overrides, outcome: vector >= 0 ? `#${vector},${outcome}` : outcome };
  });
}

const folder = mkdtempSync(join(tmpdir(), 'beneath-record-'));
try {
  const program = join(folder, 'native');
  execFileSync('gcc', ['-O1', '-static', '-no-pie', '-fno-pie', '-o', program, 'test/cpu/record/native.c']);
  const cases = rows.filter(isWanted).flatMap((row) =>
    Array.from({ length: caseCount(row, perRow) }, (_, i) => makeCase(row, i))
      .filter((made) => made !== undefined)
      .filter(isExact)
      .map((made) => ({ row: `${row.opcode}|${row.operands}`, made })),
  );
  const vectors = run(cases, program);
  const packed = gzipSync(vectors.map(formatVector).join('\n'), { level: 9 });
  writeFileSync(output, packed);
  console.log(`${vectors.length} vectors, ${packed.length} bytes`);
} finally {
  rmSync(folder, { recursive: true });
}
