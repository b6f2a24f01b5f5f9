/** A CPU in flat 64-bit mode on identity-mapped RAM, for tests and benches that need no Xen. */
import { type CpuCore, createCpu, type EngineKind } from '../../emulator/cpu/index.ts';
import type { CpuContext, CpuHost, Intercepts } from '../../emulator/cpu/interface.ts';

export interface BareOptions {
  memorySize?: number;
  cpl?: 0 | 3;
  intercepts?: Partial<Intercepts>;
  host?: Partial<CpuHost>;
  engine?: EngineKind;
  hotness?: number;
  asyncCompilation?: boolean;
}

/** As for a PV guest: all that the CPU would deliver through an IDT leaves, all that it can perform it performs. */
const everyIntercept: Intercepts = { exceptions: 0xffff_ffff, softwareInterrupts: true, syscall: true, instructions: new Set() };

/** Page tables lie in the last MiB of RAM: identity over all of it with 2 MiB user-accessible writable pages. */
export function makeBareCpu(options: BareOptions = {}): CpuCore {
  const memorySize = options.memorySize ?? 16 << 20;
  const { hotness, asyncCompilation } = options;
  const cpu = createCpu({
    ...(hotness === undefined ? {} : { hotness }),
    ...(asyncCompilation === undefined ? {} : { asyncCompilation }),
    memorySize,
    host: { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: (instructions) => instructions, ...options.host },
    intercepts: { ...everyIntercept, ...options.intercepts },
    engine: options.engine ?? 'interpret',
  });
  const tables = writeIdentityTables(cpu);
  cpu.efer = 0xd01n;
  cpu.cr4 = 0x6a0n;
  cpu.cr3 = BigInt(tables);
  cpu.cr0 = 0x8005_0033n;
  const cpl = options.cpl ?? 3;
  cpu.setSegment('cs', { selector: 0x10 | cpl, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const) {
    cpu.setSegment(name, { selector: 0x18 | cpl, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 | (cpl << 5) });
  }
  cpu.gpr[4] = BigInt(tables - 0x100);
  return cpu;
}

function writeIdentityTables({ memory: { view, size } }: CpuCore): number {
  const tables = size - (1 << 20);
  view.setBigUint64(tables, BigInt(tables + 0x1000) | 7n, true);
  view.setBigUint64(tables + 0x1000, BigInt(tables + 0x2000) | 7n, true);
  for (let i = 0; i < 512; i++) view.setBigUint64(tables + 0x2000 + i * 8, (BigInt(i) << 21n) | 0x87n, true);
  return tables;
}

/** Puts code at an address and points RIP at it. */
export function loadCode(cpu: CpuCore, code: Uint8Array | readonly number[], at = 0x10000): void {
  cpu.memory.bytes.set(code, at);
  cpu.memory.written(at, code.length);
  cpu.rip = BigInt(at);
}

const shared = new Map<string, { cpu: CpuCore; fresh: CpuContext }>();

/** A bare CPU as new, with 16 MiB of zeroed RAM and default intercepts; one is made per CPL and engine, and used again. */
export function freshBareCpu(cpl: 0 | 3 = 3, engine: Pick<BareOptions, 'engine' | 'hotness'> = {}): CpuCore {
  const key = JSON.stringify([cpl, engine]);
  let present = shared.get(key);
  if (!present) {
    const cpu = makeBareCpu({ cpl, ...engine });
    present = { cpu, fresh: cpu.saveContext() };
    shared.set(key, present);
  }
  const { cpu, fresh } = present;
  cpu.memory.bytes.fill(0);
  cpu.memory.written(0, cpu.memory.size);
  writeIdentityTables(cpu);
  cpu.loadContext(fresh);
  Object.assign(cpu.intercepts, everyIntercept);
  return cpu;
}
