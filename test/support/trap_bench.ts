/** A PV64 vCPU on a core, for tests of emulator/trap: exits are handed in, frames and registers looked at. */
import type { Exit } from '../../emulator/cpu/exit.ts';
import { RSP } from '../../emulator/cpu/interface.ts';
import { setUserTable } from '../../emulator/memory/pv_cr3.ts';
import { cpuid } from '../../emulator/trap/cpuid.ts';
import { handlePvExit } from '../../emulator/trap/pv.ts';
import { returnToGuest } from '../../emulator/trap/return.ts';
import type { TrapHost } from '../../emulator/trap/trap_host.ts';
import { fillHypercallPage } from '../../firmware/hypercall_page.ts';
import { toggleGuestMode } from '../../hypercalls/pv_cpu/mode.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS, flatSegment } from '../../hypercalls/pv_cpu/selectors.ts';
import { type PvVcpu, pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { PvHost, type PvHostOptions } from './pv_host.ts';

const CODE_PFN = 0x100;
const STACK_PFN = 0x103;
const KERNEL_STACK_PFN = 0x105;

export class TrapBench extends PvHost {
  readonly trapHost: TrapHost;
  readonly pv: PvVcpu;
  /** Why the domain was crashed. */
  crashed = '';
  /** Where code goes, and the tops of the stack in use and of the registered one. */
  readonly code: bigint;
  readonly stack: bigint;
  readonly kernelStack: bigint;

  constructor(options: PvHostOptions = {}) {
    super(options);
    const { vcpu } = this;
    this.trapHost = Object.assign(this.host, {
      clock: { now: () => 0n, ns: 0, tscKhz: 1_000_000, wallClockAtStart: 0n, tscAt: () => 0x1_0000_0002 },
      cpuid: (leaf: number, subleaf: number) => cpuid({ machineAddressBits: 30, apicId: 0 }, leaf, subleaf),
      fillHypercallPage,
      traceTrap: undefined,
      crash: (_domain: unknown, why: string) => {
        this.crashed ||= why;
        vcpu.domain.shutdownReason = 3;
      },
    });
    this.pv = pvVcpu.of(vcpu);
    this.code = this.vaddrOf(CODE_PFN);
    this.stack = this.vaddrOf(STACK_PFN) + 0x1000n;
    this.kernelStack = this.vaddrOf(KERNEL_STACK_PFN) + 0x1000n;
    setUserTable(this.memory, vcpu, this.boot.l4Mfn);
    this.reset();
  }

  /** Kernel mode, events masked, RIP at the code, RSP at the stack, no handlers. */
  reset(): void {
    const { cpu, pv, vcpu } = this;
    vcpu.domain.shutdownReason = undefined;
    this.crashed = '';
    if (!pv.inKernelMode) toggleGuestMode(this.host, vcpu);
    cpu.gpr.fill(0n);
    cpu.gpr[RSP] = this.stack;
    cpu.rip = this.code;
    cpu.rflags = 0x202n;
    cpu.setSegment('cs', flatSegment(FLAT_KERNEL_CS));
    cpu.setSegment('ss', flatSegment(FLAT_KERNEL_SS));
    this.mask = 1;
    this.pending = 0;
    for (const entry of pv.trapTable) Object.assign(entry, { flags: 0, cs: 0, address: 0n });
    for (const callback of [pv.event, pv.failsafe, pv.syscall, pv.syscall32]) callback.address = 0n;
    Object.assign(pv, { kernelSp: this.kernelStack, iopl: 0, iobmpLimit: 0, cr4: 0n, returnsBySysret: false, returnSelectors: undefined });
  }

  get mask(): number {
    return this.memory.bytes[this.vcpu.vcpuInfoMaddr + 1]!;
  }
  set mask(value: number) {
    this.memory.bytes[this.vcpu.vcpuInfoMaddr + 1] = value;
  }
  set pending(value: number) {
    this.memory.bytes[this.vcpu.vcpuInfoMaddr] = value;
  }

  toUser(): void {
    if (this.pv.inKernelMode) toggleGuestMode(this.host, this.vcpu);
  }

  /** Puts machine code at RIP. */
  assemble(...bytes: number[]): void {
    this.memory.bytes.set(bytes, Number(this.maddrOf(CODE_PFN)) + Number(this.cpu.rip & 0xfffn));
    this.memory.written(Number(this.maddrOf(CODE_PFN)), 4096);
  }

  setTrap(vector: number, address: bigint, flags = 0): void {
    Object.assign(this.pv.trapTable[vector]!, { address, flags, cs: FLAT_KERNEL_CS });
  }

  /** The exit is dealt with, and the way back is gone. */
  exit(exit: Exit): void {
    handlePvExit(this.trapHost, this.vcpu, exit);
    if (this.vcpu.domain.shutdownReason === undefined) returnToGuest(this.trapHost, this.vcpu);
  }

  exception(vector: number, errorCode?: number, cr2?: bigint): void {
    this.exit({ kind: 'exception', vector, errorCode, cr2, dr6: vector === 1 ? 0x4000 : undefined });
  }

  /** u64s from RSP on, in hexadecimal. */
  frame(count: number): string[] {
    const rsp = this.cpu.gpr[RSP]!;
    return Array.from({ length: count }, (_, i) => this.read(rsp + BigInt(i * 8)).toString(16));
  }

  read(vaddr: bigint): bigint {
    const at = this.cpu.translate(vaddr, 'read', true);
    if (!at.ok) throw new Error(`${vaddr.toString(16)} is not mapped`);
    return this.memory.view.getBigUint64(at.maddr, true);
  }

  write(vaddr: bigint, ...values: bigint[]): void {
    for (const [i, value] of values.entries()) {
      const at = this.cpu.translate(vaddr + BigInt(i * 8), 'write', true);
      if (!at.ok) throw new Error(`${vaddr.toString(16)} is not mapped`);
      this.memory.view.setBigUint64(at.maddr, value, true);
    }
  }
}
