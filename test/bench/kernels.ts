/** The programs of kernels/ run once, here or on QEMU's TCG. Their checksums must agree, whoever runs them. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { CpuCore, EngineKind } from '../../emulator/cpu/index.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { loadSegments } from './load_segments.ts';

/** A program: its image, and which of the kernels in there. */
export interface Kernel {
  readonly name: string;
  readonly image: 'kernels' | 'boot';
  readonly number: number;
}

export interface Run {
  readonly checksum: string;
  readonly seconds: number;
}

export const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
export const QEMU_IS_MISSING = 'qemu-system-x86_64 is not installed: no ratios (Debian package qemu-system-x86)';

const fileOf = ({ image }: Kernel): string => `test/bench/kernels/${image}.elf`;

/** The CPU is at the kernel's first instruction; boot takes its exceptions itself. */
export function loadKernel(kernel: Kernel, rounds: number, engine: EngineKind, hotness?: number): CpuCore {
  const isBoot = kernel.image === 'boot';
  const intercepts = isBoot ? { exceptions: 0, softwareInterrupts: false } : {};
  const cpu = makeBareCpu({ cpl: 0, memorySize: 64 << 20, engine, intercepts, ...(hotness !== undefined && { hotness }) });
  cpu.rip = loadSegments(readFileSync(fileOf(kernel)), cpu.memory.bytes);
  cpu.gpr[7] = BigInt(kernel.number);
  cpu.gpr[6] = BigInt(rounds);
  return cpu;
}

export function runHere(
  kernel: Kernel,
  rounds: number,
  engine: EngineKind,
  hotness?: number,
): Run & { readonly instructions: number; readonly cpu: CpuCore } {
  const cpu = loadKernel(kernel, rounds, engine, hotness);
  const start = performance.now();
  let exit = cpu.run(1e9);
  while (exit.kind === 'budget') exit = cpu.run(1e9);
  const seconds = (performance.now() - start) / 1000;
  if (exit.kind !== 'halt') throw new Error(`${kernel.name} ended with ${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
  return { checksum: cpu.gpr[0]!.toString(16).padStart(16, '0'), seconds, instructions: Number(cpu.instructions), cpu };
}

// biome-ignore format: pairs
const qemuArgs = [
  '-accel', 'tcg', '-m', '64', '-display', 'none', '-nodefaults', '-no-reboot', '-debugcon', 'stdio',
  '-device', 'isa-debug-exit,iobase=0xf4',
];

/** The kernel writes S before it starts, E and the checksum when it is done: the seconds are between them. */
export function runQemu(kernel: Kernel, rounds: number): Promise<Run> {
  const qemu = spawn('qemu-system-x86_64', [...qemuArgs, '-kernel', fileOf(kernel), '-append', `${kernel.number} ${rounds}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    let text = '';
    let start = 0;
    let seconds = 0;
    qemu.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (start === 0 && text.includes('S')) start = performance.now();
      if (seconds === 0 && text.includes('E')) seconds = (performance.now() - start) / 1000;
    });
    qemu.on('error', reject);
    qemu.on('close', () => {
      const checksum = /E([0-9a-f]{16})/.exec(text)?.[1];
      if (checksum) resolve({ checksum, seconds });
      else reject(new Error(`QEMU printed ${JSON.stringify(text)}`));
    });
  });
}

export function requireSame(kernel: Kernel, ours: Run, theirs: Run): void {
  if (ours.checksum !== theirs.checksum) throw new Error(`${kernel.name}: checksum ${ours.checksum} here, ${theirs.checksum} on QEMU`);
}
