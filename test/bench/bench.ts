/**
 * `npm run bench`: the kernels of kernels/ on our CPU and, where qemu-system-x86_64 is installed, on QEMU's TCG, in
 * alternating runs; prints median MIPS and the ratio. Instructions are counted by us; both must agree on the checksum.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { loadSegments } from './load_segments.ts';

interface Kernel {
  name: string;
  rounds: number;
}

/** In the order of kernels.c; rounds make about a second here. */
const kernels: readonly Kernel[] = [
  { name: 'integer loop', rounds: 12 },
  { name: 'sieve', rounds: 12 },
  { name: 'crc32', rounds: 16 },
  { name: 'quicksort', rounds: 4 },
  { name: 'recursive calls', rounds: 100 },
  { name: 'sse2 doubles', rounds: 60 },
];

/** Rounds of a translated run, and of QEMU's longer one, by those of an interpreted run. */
const FASTER = 6;

const image = new URL('../test/bench/kernels/kernels.elf', import.meta.url).pathname;

interface Run {
  checksum: string;
  seconds: number;
  instructions: number;
}

function runHere(number: number, rounds: number, engine: 'interpret' | 'translate'): Run {
  const cpu = makeBareCpu({ cpl: 0, memorySize: 32 << 20, engine });
  cpu.rip = loadSegments(readFileSync(image), cpu.memory.bytes);
  cpu.gpr[7] = BigInt(number);
  cpu.gpr[6] = BigInt(rounds);
  const start = performance.now();
  let exit = cpu.run(1e9);
  while (exit.kind === 'budget') exit = cpu.run(1e9);
  const seconds = (performance.now() - start) / 1000;
  if (exit.kind !== 'halt') throw new Error(`kernel ${number} ended with ${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
  return { checksum: cpu.gpr[0]!.toString(16).padStart(16, '0'), seconds, instructions: Number(cpu.instructions) };
}

function runQemu(number: number, rounds: number): Promise<Omit<Run, 'instructions'>> {
  const args = [
    '-accel',
    'tcg',
    '-m',
    '64',
    '-display',
    'none',
    '-nodefaults',
    '-no-reboot',
    '-debugcon',
    'stdio',
    '-device',
    'isa-debug-exit,iobase=0xf4',
  ];
  const qemu = spawn('qemu-system-x86_64', [...args, '-kernel', image, '-append', `${number} ${rounds}`], {
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

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Prints a row a kernel: MIPS interpreted, translated, on QEMU, and the ratios to it. */
export async function runKernels(repeat = 3): Promise<void> {
  const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  if (!hasQemu) console.log('qemu-system-x86_64 is not installed: no ratios (Debian package qemu-system-x86)');
  const columns = ['interpret', 'translate', ...(hasQemu ? ['QEMU TCG', 'ratio int.', 'ratio tr.'] : [])];
  console.log('MIPS'.padEnd(18) + columns.map((column) => column.padStart(11)).join(''));
  const ratios: number[] = [];
  for (const [number, { name, rounds }] of kernels.entries()) {
    const mips = { interpret: [] as number[], translate: [] as number[], qemu: [] as number[] };
    for (let i = 0; i < repeat; i++) {
      const here = runHere(number, rounds, 'interpret');
      mips.interpret.push(here.instructions / here.seconds / 1e6);
      const translated = runHere(number, rounds * FASTER, 'translate');
      mips.translate.push(translated.instructions / translated.seconds / 1e6);
      if (!hasQemu) continue;
      // The difference of two runs leaves QEMU's own start out.
      const [short, long] = [await runQemu(number, rounds), await runQemu(number, rounds * FASTER)];
      if (short.checksum !== here.checksum) throw new Error(`${name}: checksum ${here.checksum} interpreted, ${short.checksum} on QEMU`);
      if (long.checksum !== translated.checksum)
        throw new Error(`${name}: checksum ${translated.checksum} translated, ${long.checksum} on QEMU`);
      mips.qemu.push((translated.instructions - here.instructions) / (long.seconds - short.seconds) / 1e6);
    }
    const [interpreted, translated] = [median(mips.interpret), median(mips.translate)];
    const cells = [interpreted.toFixed(0), translated.toFixed(0)];
    if (hasQemu) {
      const theirs = median(mips.qemu);
      ratios.push(translated / theirs);
      cells.push(theirs.toFixed(0), (interpreted / theirs).toFixed(3), (translated / theirs).toFixed(3));
    }
    console.log(name.padEnd(18) + cells.map((cell) => cell.padStart(11)).join(''));
  }
  if (ratios.length > 0)
    console.log(
      `geometric mean of the translator's ratios: ${Math.exp(ratios.reduce((sum, r) => sum + Math.log(r), 0) / ratios.length).toFixed(3)}`,
    );
}

await runKernels();
