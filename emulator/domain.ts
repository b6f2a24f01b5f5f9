/**
 * A domain: what ring -1 keeps of one guest. Subsystems (event channels, grants, xenstore ...) hang their state on its
 * slots; a domain knows its vCPUs and nothing above it.
 */
import type { CreditDomain } from './scheduler/credit2/unit.ts';
import type { Slots } from './slot.ts';
import type { Vcpu } from './vcpu.ts';

/** Why a domain stopped, SHUTDOWN_* of xen:public/sched.h. */
export type ShutdownReason = number;

export interface DomainOptions {
  id: number;
  type: 'pv' | 'pvh';
  name: string;
  /** The initial domain: its console is console_io, its start_info says SIF_INITDOMAIN | SIF_PRIVILEGED. */
  isInitial?: boolean;
  /** Most pages it may own (XENMEM_maximum_reservation). */
  maxPages: number;
}

export class Domain implements Slots {
  readonly slots: unknown[] = [];
  readonly id: number;
  readonly type: 'pv' | 'pvh';
  /** Else PVH. */
  readonly isPv: boolean;
  name: string;
  readonly isInitial: boolean;
  readonly vcpus: Vcpu[] = [];
  /** Its weight and cap. */
  credit: CreditDomain | undefined;
  maxPages: number;
  /** Machine frame of shared_info; set by the domain builder. */
  sharedInfoMfn = -1;
  /** Bits of vm_assist (VMASST_TYPE_*). */
  vmAssist = 0n;
  shutdownReason: ShutdownReason | undefined;
  /** How often the toolstack has paused it and not unpaused it again. */
  pauseCount = 0;
  /** It was destroyed; frames that others have mapped still bear its number. */
  isDying = false;

  constructor(options: DomainOptions) {
    this.id = options.id;
    this.type = options.type;
    this.isPv = options.type === 'pv';
    this.name = options.name;
    this.isInitial = options.isInitial ?? false;
    this.maxPages = options.maxPages;
  }

  /** Its vCPUs may run, if they are ready to. */
  get isRunnable(): boolean {
    return this.pauseCount === 0 && this.shutdownReason === undefined && !this.isDying;
  }
}
