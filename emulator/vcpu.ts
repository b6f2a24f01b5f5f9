/** A virtual CPU: its identity, its run state and, while it does not run, its registers. */
import type { CpuContext } from './cpu/interface.ts';
import type { Domain } from './domain.ts';
import type { Unit } from './scheduler/credit2/unit.ts';
import type { Slots } from './slot.ts';

/** Bits of what holds a vCPU, as debug key `q` prints them (xen:include/xen/sched.h). */
const VPF_blocked = 1 << 0,
  VPF_down = 1 << 1;

export class Vcpu implements Slots {
  readonly slots: unknown[] = [];
  readonly domain: Domain;
  readonly id: number;
  /** It has had its first registers: the domain builder's, or VCPUOP_initialise's. */
  isInitialised = false;
  pauseFlags = VPF_down;
  /** What the scheduler knows it as. */
  unit: Unit<Vcpu> | undefined;
  /** Virtual time in nanoseconds since when it could run, or left a core. */
  runnableSince = 0;
  /** Registers while another vCPU's are in the CPU. */
  context: CpuContext | undefined;
  /**
   * Maddr of its struct vcpu_info: inside shared_info, or where VCPUOP_register_vcpu_info put it. Until then the vCPUs for
   * which shared_info has no room have one that no guest sees.
   */
  vcpuInfoMaddr = -1;
  hasVcpuInfo = false;

  constructor(domain: Domain, id: number) {
    this.domain = domain;
    this.id = id;
  }

  /** Not down (VCPUOP_up, VCPUOP_down). */
  get isUp(): boolean {
    return (this.pauseFlags & VPF_down) === 0;
  }
  set isUp(isUp: boolean) {
    this.pauseFlags = isUp ? this.pauseFlags & ~VPF_down : this.pauseFlags | VPF_down;
  }

  /** Waits in SCHEDOP_block, SCHEDOP_poll or HLT; an event wakes it. */
  get isBlocked(): boolean {
    return (this.pauseFlags & VPF_blocked) !== 0;
  }
  set isBlocked(isBlocked: boolean) {
    this.pauseFlags = isBlocked ? this.pauseFlags | VPF_blocked : this.pauseFlags & ~VPF_blocked;
  }

  /** As far as guest and toolstack go it may have a core. */
  get isReady(): boolean {
    return this.pauseFlags === 0 && this.domain.isRunnable;
  }

  /** The scheduler may give it a core: its domain's cap is not used up, either. */
  get isRunnable(): boolean {
    return this.isReady && (this.unit === undefined || !this.unit.isParked);
  }

  get name(): string {
    return `d${this.domain.id}v${this.id}`;
  }
}
