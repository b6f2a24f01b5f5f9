/** Builds native.c and runs code on the CPU of this machine. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MachineState, WINDOW_SIZE } from '../../support/vectors.ts';

const OUTPUT_SIZE = 144 + 512 + WINDOW_SIZE;

export interface NativeResult {
  state: MachineState;
  /** Of the exception that ended it; or negative: -1 - the instructions counted, when TF was set. */
  vector: number;
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

/** `codeSize`: the longest code, a multiple of 8 less 1, at most 255. */
export function runNative(cases: readonly { code: Uint8Array; input: MachineState }[], codeSize: number): NativeResult[] {
  const inputSize = 1 + codeSize + 136 + 512 + WINDOW_SIZE;
  const input = new Uint8Array(inputSize * cases.length);
  const view = new DataView(input.buffer);
  for (const [i, { code, input: state }] of cases.entries()) {
    const at = i * inputSize;
    const registers = at + 1 + codeSize;
    input[at] = code.length;
    input.set(code, at + 1);
    for (const [register, value] of state.gpr.entries()) view.setBigUint64(registers + register * 8, value, true);
    view.setBigUint64(registers + 128, BigInt(state.flags), true);
    input.set(fxImage(state), registers + 136);
    input.set(state.window, registers + 648);
  }
  const folder = mkdtempSync(join(tmpdir(), 'beneath-record-'));
  let output: Buffer;
  try {
    const program = join(folder, 'native');
    execFileSync('gcc', ['-O1', '-static', '-no-pie', '-fno-pie', `-DCODE_SIZE=${codeSize}`, '-o', program, 'test/cpu/record/native.c']);
    output = execFileSync(program, { input, maxBuffer: 1 << 30 });
  } finally {
    rmSync(folder, { recursive: true });
  }
  const results = new DataView(output.buffer, output.byteOffset, output.length);
  return cases.map((_, i) => {
    const at = i * OUTPUT_SIZE;
    const bytes = (offset: number, size: number): Uint8Array => output.subarray(at + offset, at + offset + size);
    const mmx = new Uint8Array(64);
    for (let n = 0; n < 8; n++) mmx.set(bytes(144 + 32 + n * 16, 8), n * 8);
    return {
      vector: Number(results.getBigInt64(at + 136, true)),
      state: {
        gpr: Array.from({ length: 16 }, (_, register) => results.getBigUint64(at + register * 8, true)),
        // The recorder runs with IF set; reserved bits are dropped.
        flags: (Number(results.getBigUint64(at + 128, true)) & 0xcd5) | 0x202,
        mxcsr: results.getUint32(at + 144 + 24, true),
        mmx,
        xmm: bytes(144 + 160, 256),
        window: bytes(656, WINDOW_SIZE),
      },
    };
  });
}
