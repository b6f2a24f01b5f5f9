/**
 * The processor's modes: a bare-metal program (modes/) goes from 32-bit protected mode through 16-bit code, every kind of
 * paging, long mode and real mode, and prints what exceptions, gates and instructions do there. QEMU printed expected.txt.
 */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { EngineKind } from '../../emulator/cpu/engine.ts';
import { createCpu } from '../../emulator/cpu/index.ts';

const folder = new URL('../../../test/cpu/modes/', import.meta.url);

/** Where QEMU 7.2 is wrong: the case, what it prints, what the manuals say. */
// biome-ignore format: one case a line
const deviations: readonly (readonly [string, string, string])[] = [
  // It marks no code segment accessed, but a PDPTE, which has no such bit.
  ['accessed bits: code, data, user code, user data, conforming, read-only', '9a 93 fa f3 9e f0', '9b 93 fb f3 9f f0'],
  ['PAE: entries marked', '42021', '42001'],
  // A reserved bit is found in a present entry: bit 0 of the error code (SDM 3A 4.7).
  ['32-bit paging: bit 21 of a 4 MiB page', 'e 8', 'e 9'],
  ['PAE: bit 63 without NXE, read', 'e 8', 'e 9'],
  ['PAE: reserved bit, read', 'e 8', 'e 9'],
  ['PAE: reserved bit, write', 'e a', 'e b'],
  ['64-bit: reserved bit', 'e 8', 'e 9'],
  // The index in an error code is the vector's number, not the gate's (SDM 3A 6.13).
  ['64-bit: gate absent', 'b 342', 'b 1a2'],
  ['64-bit: a task gate', 'd 362', 'd 1b2'],
  ['64-bit: beyond the IDT', 'd 412', 'd 20a'],
  ['64-bit, ring 3: INT 0x31', 'd 312', 'd 18a'],
  // #SS, through SS (SDM 3A 6.15); SS stays without a change of privilege (SDM 2A INT); no 16-bit TSS (SDM 2A LAR).
  ['64-bit: not canonical, by RBP', 'd 0', 'c 0'],
  ['64-bit: INT 0x32, IST 1', '46 31fd8 2 80 46 37ffc 10 0', '46 31fd8 2 80 46 37ffc 10 10'],
  ['64-bit: LAR of a 16-bit TSS', '8300 40', '7 0'],
];

/** Loads the image at its physical addresses, starts it as PVH does, and returns what it prints until it is done. */
function runImage(engine: EngineKind, budget: number): string[] {
  const cpu = createCpu({
    memorySize: 16 << 20,
    host: { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: (instructions) => instructions },
    intercepts: { exceptions: 0, softwareInterrupts: false, syscall: false, instructions: new Set(['out']) },
    engine,
    ...(engine === 'translate' ? { hotness: 100 } : {}),
  });
  const elf = readFileSync(new URL('modes.elf', folder));
  for (let i = 0; i < elf.readUInt16LE(56); i++) {
    const header = Number(elf.readBigUInt64LE(32)) + i * 56;
    if (elf.readUInt32LE(header) !== 1) continue;
    const [offset, , maddr, size] = [8, 16, 24, 32].map((at) => Number(elf.readBigUInt64LE(header + at))) as [
      number,
      number,
      number,
      number,
    ];
    cpu.memory.bytes.set(elf.subarray(offset, offset + size), maddr);
  }
  const flat = { selector: 0, base: 0n, limit: 0xffff_ffff };
  cpu.setSegment('cs', { ...flat, attributes: 0xc09b });
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) cpu.setSegment(name, { ...flat, attributes: 0xc093 });
  cpu.cr0 = 0x11n;
  cpu.rip = 0x100000n;
  let text = '';
  for (;;) {
    const exit = cpu.run(budget);
    if (exit.kind === 'budget' && cpu.instructions < 2_000_000n) continue;
    if (exit.kind !== 'instruction') throw new Error(`${JSON.stringify(exit)} at ${cpu.rip.toString(16)} after ${text.slice(-200)}`);
    const port = cpu.memory.bytes[Number(cpu.rip) + 1];
    if (port === 0xf4) return text.trim().split('\n');
    if (port === 0xe9) text += String.fromCharCode(Number(cpu.gpr[0]! & 0xffn));
    cpu.advance(exit.length);
  }
}

t.test('every mode does what QEMU did', (t) => {
  const expected = readFileSync(new URL('expected.txt', folder), 'latin1').trim().split('\n');
  for (const [name, qemu, right] of deviations) {
    const at = expected.findIndex((line) => line.startsWith(`${name} ${qemu}`));
    if (at < 0) t.fail(`QEMU is right about ${name}`);
    else expected[at] = expected[at]!.replace(`${name} ${qemu}`, `${name} ${right}`);
  }
  for (const [engine, budget] of [
    ['interpret', 1_000_000],
    ['interpret', 1],
    ['translate', 1_000_000],
    ['translate', 7],
  ] as const) {
    const lines = runImage(engine, budget);
    const different = expected.flatMap((line, i) => (line === lines[i] ? [] : [`QEMU: ${line}`, `here: ${lines[i]}`]));
    t.same(different, [], `${engine}, ${budget} instructions at a time`);
    t.equal(lines.length, expected.length, 'and nothing more');
  }
  t.end();
});
