/**
 * A PVH guest with just what the conformance program wants: guest-physical memory through nested paging, hypercalls by
 * VMMCALL, the hypercall page's MSR, a console. Where no memory is, reads are all ones and writes go nowhere. The other
 * vCPUs are there but never run.
 */
import { createCpu, type NestedPage } from '../../emulator/cpu/index.ts';
import { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { MachineMemory, OWNER_RING, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { p2m, placeFrame } from '../../emulator/memory/p2m.ts';
import { TimerQueue } from '../../emulator/scheduler/timers.ts';
import { Vcpu } from '../../emulator/vcpu.ts';
import { parseElf } from '../../firmware/elf.ts';
import { ImageError } from '../../firmware/image_error.ts';
import { readXenNotes } from '../../firmware/xen_notes.ts';
import { vcpu_info } from '../../hypercalls/abi/xen.ts';
import { ConsoleRing } from '../../hypercalls/console/ring.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { connectToHost } from '../../hypercalls/event_channel/ports.ts';
import {
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_STORE_PFN,
  hvmParams,
} from '../../hypercalls/hvm/params.ts';
import { memoryMap } from '../../hypercalls/memory/op.ts';
import { enterCore } from '../../hypercalls/vcpu/runstate.ts';
import { writeTimeInfo } from '../../hypercalls/vcpu/time.ts';

const PAGES = 32768;
const CONSOLE_GFN = 0xfefff;
const STORE_GFN = 0xfeffc;
const START_INFO = 0x3e00000;
const START_INFO_MAGIC = 0x336ec578;
const HYPERCALL_MSR = 0x4000_0000;
const FLAT_CODE = 0xc09b;
const FLAT_DATA = 0xc093;
const TSC_KHZ = 2_000_000;

export class PvhGuest {
  readonly memory: MachineMemory;
  readonly domain: Domain;
  console = '';
  readonly #cpu;
  readonly #host: Host;
  readonly #hole: NestedPage;
  #isRunning = false;
  #hasEnded = false;

  constructor(image: Uint8Array, vcpus: number) {
    this.#cpu = createCpu({
      memorySize: 192 << 20,
      host: {
        cpuid: (leaf) => ({ eax: 0, ebx: leaf === 0x4000_0002 ? HYPERCALL_MSR : 0, ecx: 0, edx: 0 }),
        readTsc: (instructions) => instructions,
      },
      intercepts: { exceptions: 0, softwareInterrupts: false, syscall: false, instructions: new Set(['hypercall', 'wrmsr']) },
      engine: 'interpret',
      nested: { translate: (gfn) => this.#translate(gfn) },
      onAccess: ({ kind }) => kind !== 'write',
    });
    this.memory = new MachineMemory(this.#cpu.memory);
    const { memory } = this;
    memory.flushAllTlbs = () => this.#cpu.flushAllTlbs();
    const hole = memory.allocate(OWNER_RING);
    memory.frameBytes(hole).fill(0xff);
    this.#hole = { frame: hole, read: true, write: true, execute: false, watched: true };

    this.domain = new Domain({ id: 1, type: 'pvh', name: 'guest', maxPages: PAGES + 1024 });
    const { domain } = this;
    for (let id = 0; id < vcpus; id++) domain.vcpus.push(new Vcpu(domain, id));
    memory.domains.set(1, domain);
    this.#host = this.#makeHost();
    for (let gfn = 0; gfn < PAGES; gfn++) placeFrame(memory, domain, gfn, memory.allocate(1));
    domain.sharedInfoMfn = memory.allocateShared(1);
    for (const vcpu of domain.vcpus) {
      vcpu.vcpuInfoMaddr = domain.sharedInfoMfn * PAGE_SIZE + vcpu.id * vcpu_info.size;
      vcpu.hasVcpuInfo = true;
      vcpu.context = this.#cpu.saveContext();
      writeTimeInfo(this.#host, vcpu);
    }
    memoryMap.of(domain).entries = Array.from({ length: 5 }, (_, i) => ({ address: BigInt(i) << 32n, size: 4096n, type: 1 }));
    enterCore(this.#host, domain.vcpus[0]!);
    this.#addConsole();
    this.#load(image);
  }

  #makeHost(): Host {
    const cpu = this.#cpu;
    const dom0 = new Domain({ id: 0, type: 'pv', name: 'Domain-0', isInitial: true, maxPages: 0 });
    const nothing = (): void => {};
    const host = {
      cpu,
      memory: this.memory,
      clock: {
        now: () => 1_000_000_000n,
        ns: 1_000_000_000,
        wallClockAtStart: 0n,
        tscKhz: TSC_KHZ,
        tscAt: (ns: number) => ns * 2,
      },
      timers: new TimerQueue(),
      domains: new Map([
        [0, dom0],
        [1, this.domain],
      ]),
      current: this.domain.vcpus[0]!,
      verboseDebug: false,
      wake: nothing,
      block: nothing,
      yield: nothing,
      setUp: nothing,
      withRegisters: (vcpu: Vcpu, change: () => void) => {
        if (vcpu === host.current) return change();
        const mine = cpu.saveContext();
        cpu.loadContext(vcpu.context!);
        change();
        vcpu.context = cpu.saveContext();
        cpu.loadContext(mine);
      },
      shutdown: () => {
        this.#hasEnded = true;
      },
      crash: () => {
        this.#hasEnded = true;
      },
      consoleWrite: nothing,
      consoleRead: () => new Uint8Array(),
    };
    return host as unknown as Host;
  }

  #addConsole(): void {
    const { memory, domain } = this;
    const params = hvmParams.of(domain);
    for (const [gfn, pfnParam, portParam] of [
      [STORE_GFN, HVM_PARAM_STORE_PFN, HVM_PARAM_STORE_EVTCHN],
      [CONSOLE_GFN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_CONSOLE_EVTCHN],
    ] as const) {
      const mfn = memory.allocate(1);
      placeFrame(memory, domain, gfn, mfn);
      const ring = new ConsoleRing(
        memory.ram,
        mfn,
        (bytes) => {
          this.console += Buffer.from(bytes).toString('latin1');
        },
        () => {},
      );
      const channel = connectToHost(this.#host, domain, () => gfn === CONSOLE_GFN && ring.onEvent())!;
      params.set(pfnParam, BigInt(gfn));
      params.set(portParam, BigInt(channel.port));
    }
  }

  #load(image: Uint8Array): void {
    const elf = parseElf(image);
    if (elf instanceof ImageError) throw new Error(elf.message);
    const notes = readXenNotes(elf);
    if (notes instanceof ImageError) throw new Error(notes.message);
    for (const { type, offset, paddr, fileSize } of elf.segments)
      if (type === 1) this.#write(Number(paddr), image.subarray(offset, offset + fileSize));
    const info = new DataView(new ArrayBuffer(64));
    info.setUint32(0, START_INFO_MAGIC, true);
    info.setUint32(4, 1, true);
    this.#write(START_INFO, new Uint8Array(info.buffer));
    const cpu = this.#cpu;
    cpu.cr0 = 0x11n;
    cpu.gpr[3] = BigInt(START_INFO);
    cpu.rip = notes.phys32Entry!;
    cpu.setSegment('cs', { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: FLAT_CODE });
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const)
      cpu.setSegment(name, { selector: 16, base: 0n, limit: 0xffff_ffff, attributes: FLAT_DATA });
    this.domain.vcpus[0]!.isInitialised = this.domain.vcpus[0]!.isUp = true;
  }

  #write(gpa: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = gpa + done;
      const size = Math.min(bytes.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const { mfn } = p2m.of(this.domain).get(Math.floor(at / PAGE_SIZE))!;
      this.memory.bytes.set(bytes.subarray(done, done + size), mfn * PAGE_SIZE + (at % PAGE_SIZE));
      done += size;
    }
  }

  #translate(gfn: number): NestedPage | undefined {
    const entry = p2m.of(this.domain).get(gfn);
    if (entry === undefined) return this.#isRunning ? this.#hole : undefined;
    return { frame: entry.mfn, read: true, write: entry.type !== 'readonlyGrant', execute: true };
  }

  /** Until it shuts down, or does what no guest here should. */
  run(): void {
    const cpu = this.#cpu;
    while (!this.#hasEnded) {
      this.#isRunning = true;
      const exit = cpu.run(1_000_000);
      this.#isRunning = false;
      if (exit.kind === 'hypercall') {
        if (dispatch(this.#host, this.#host.current) === 'done') cpu.advance(exit.length);
      } else if (exit.kind === 'instruction') {
        this.#writeMsr();
        cpu.advance(exit.length);
      } else if (exit.kind !== 'budget') {
        throw new Error(
          `${JSON.stringify(exit, (_, value) => (typeof value === 'bigint' ? value.toString(16) : value))} at ${cpu.rip.toString(16)}`,
        );
      }
    }
  }

  #writeMsr(): void {
    const { gpr } = this.#cpu;
    const value = ((gpr[2]! & 0xffff_ffffn) << 32n) | (gpr[0]! & 0xffff_ffffn);
    if (Number(gpr[1]! & 0xffff_ffffn) !== HYPERCALL_MSR) {
      this.#cpu.writeMsr(Number(gpr[1]! & 0xffff_ffffn), value);
      return;
    }
    const page = new Uint8Array(PAGE_SIZE);
    for (let nr = 0; nr < 128; nr++) page.set([0xb8, nr, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3], nr * 32);
    this.#write(Number(value), page);
  }
}
