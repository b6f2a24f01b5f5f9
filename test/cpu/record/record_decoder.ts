/** Asks the CPU of this machine what it makes of every encoding (encodings.ts) and writes vectors/decoder.gz. Built and run as record_float.ts. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { encodings, packVerdict } from '../../support/encodings.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-record-'));
try {
  const program = join(folder, 'decode');
  execFileSync('gcc', [
    '-O1',
    '-static',
    '-no-pie',
    '-fno-pie',
    '-fno-stack-protector',
    '-fcf-protection=none',
    '-o',
    program,
    'test/cpu/record/decode.c',
  ]);
  const packed: number[] = [];
  for (const code of [64, 32] as const) {
    const cases = [...encodings(code)];
    const input = Buffer.concat(cases.map((bytes) => Buffer.from([code, ...bytes])));
    const output = execFileSync(program, [String(cases.length)], { input, maxBuffer: 1 << 30 });
    for (let i = 0; i < cases.length; i++) packed.push(packVerdict({ fetched: output[i * 2]!, vector: output[i * 2 + 1]! }));
    console.log(`${code}-bit code: ${cases.length} encodings`);
  }
  const bytes = gzipSync(Uint8Array.from(packed), { level: 9 });
  writeFileSync('test/cpu/vectors/decoder.gz', bytes);
  console.log(`${bytes.length} bytes`);
} finally {
  rmSync(folder, { recursive: true });
}
