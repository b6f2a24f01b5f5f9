/** A machine just big enough for hypercalls: a core, memory and built PV64 domains, without a loop that runs them. */
import { type CpuCore, createCpu } from '../../emulator/cpu/index.ts';
import { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { MachineMemory } from '../../emulator/memory/machine_memory.ts';
import { Vcpu } from '../../emulator/vcpu.ts';
import { ImageError } from '../../firmware/image_error.ts';
import { buildPvDomain, loadBootRegisters, loadUnbornRegisters, type PvBoot, type PvBuildOptions } from '../../firmware/pv_domain.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { DEFAULT_VIRT_BASE, makeImage } from './elf_image.ts';

export interface PvHostOptions {
  memoryPages?: number;
  isInitial?: boolean;
  /** Of the first domain. */
  vcpus?: number;
  /** Domains besides the first, which have memory but never run. */
  others?: number;
  image?: Uint8Array;
  build?: Partial<PvBuildOptions>;
}

const OTHER_PAGES = 1100;

export class PvHost {
  readonly cpu: CpuCore;
  readonly memory: MachineMemory;
  readonly domains: Domain[] = [];
  readonly vcpu: Vcpu;
  /** Of each domain; `boot` is the first. */
  readonly boots: PvBoot[] = [];
  readonly boot: PvBoot;
  readonly host: Host;
  /** Mfn of each pfn of the first domain, as built. */
  readonly p2m: number[] = [];

  constructor(options: PvHostOptions = {}) {
    const memoryPages = options.memoryPages ?? 2048;
    const others = options.others ?? 0;
    this.cpu = createCpu({
      memorySize: Math.ceil((memoryPages + others * OTHER_PAGES + 600) / 16) * 16 * 4096,
      host: { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: (instructions) => instructions },
      intercepts: { exceptions: 0xffff_ffff, softwareInterrupts: true, syscall: true, instructions: new Set() },
    });
    this.memory = new MachineMemory(this.cpu.memory);
    this.memory.flushAllTlbs = () => this.cpu.flushAllTlbs();
    this.memory.flushFrameInTlbs = (mfn) => this.cpu.flushTlbFrame(mfn);
    const image = options.image ?? makeImage();
    this.boot = this.addDomain(options.isInitial === true ? 0 : 1, image, { memoryPages, ...options.build }, options.vcpus);
    for (let i = 0; i < others; i++) this.addDomain(2 + i, makeImage(), { memoryPages: OTHER_PAGES });
    this.vcpu = this.domains[0]!.vcpus[0]!;
    for (const vcpu of this.domains[0]!.vcpus) {
      loadUnbornRegisters(this.cpu, vcpu.id);
      vcpu.context = this.cpu.saveContext();
    }
    loadUnbornRegisters(this.cpu, 0);
    loadBootRegisters(this.cpu, this.boot);
    for (let mfn = 0; mfn < this.memory.frameCount; mfn++) {
      const pfn = this.memory.getM2p(mfn);
      if (this.memory.owner[mfn] === this.domains[0]!.id && pfn < BigInt(memoryPages)) this.p2m[Number(pfn)] = mfn;
    }
    this.host = {
      cpu: this.cpu,
      memory: this.memory,
      domains: new Map(this.domains.map((domain) => [domain.id, domain])),
      current: this.vcpu,
    } as unknown as Host;
  }

  private addDomain(id: number, image: Uint8Array, build: PvBuildOptions, vcpus = 1): PvBoot {
    const domain = new Domain({ id, type: 'pv', name: `test${id}`, isInitial: id === 0, maxPages: build.memoryPages });
    for (let vcpuId = 0; vcpuId < vcpus; vcpuId++) domain.vcpus.push(new Vcpu(domain, vcpuId));
    const boot = buildPvDomain(this.memory, domain, image, build);
    if (boot instanceof ImageError) throw new Error(boot.message);
    this.domains.push(domain);
    this.boots.push(boot);
    return boot;
  }

  /** Makes a hypercall; RAX as a signed number. */
  call(nr: number, ...args: (number | bigint)[]): number {
    const { gpr } = this.cpu;
    const registers = [7, 6, 2, 10, 8, 9];
    gpr[0] = BigInt(nr);
    for (const [i, arg] of args.entries()) gpr[registers[i]!] = BigInt.asUintN(64, BigInt(arg));
    while (dispatch(this.host, this.vcpu) === 'again');
    return Number(BigInt.asIntN(64, gpr[0]!));
  }

  vaddrOf(pfn: number): bigint {
    return this.boot.image.virtBase + BigInt(pfn) * 4096n;
  }

  maddrOf(pfn: number): bigint {
    return BigInt(this.p2m[pfn]!) << 12n;
  }

  /** Writes u64s at a pfn of the domain. */
  poke(pfn: number, ...values: (number | bigint)[]): bigint {
    for (const [i, value] of values.entries()) {
      this.memory.view.setBigUint64(this.p2m[pfn]! * 4096 + i * 8, BigInt.asUintN(64, BigInt(value)), true);
    }
    return this.vaddrOf(pfn);
  }

  peek(pfn: number, index = 0): bigint {
    return this.memory.view.getBigUint64(this.p2m[pfn]! * 4096 + index * 8, true);
  }

  /** Whether the guest's kernel may access the address: 'read', 'write' or 'no'. */
  access(vaddr: bigint): 'read' | 'write' | 'no' {
    if (this.cpu.translate(vaddr, 'write', true).ok) return 'write';
    return this.cpu.translate(vaddr, 'read', true).ok ? 'read' : 'no';
  }
}

export { DEFAULT_VIRT_BASE };
