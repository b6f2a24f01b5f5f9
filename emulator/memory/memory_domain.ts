/** What the memory folder asks of a domain and a vCPU, which live above it, and how it refuses. */
import type { Slots } from '../slot.ts';

export interface MemoryVcpu extends Slots {
  readonly id: number;
  readonly domain: MemoryDomain;
}

export interface MemoryDomain extends Slots {
  readonly id: number;
  readonly type: 'pv' | 'pvh';
  readonly isInitial: boolean;
  readonly vcpus: readonly MemoryVcpu[];
  readonly maxPages: number;
  /** Bits VMASST_TYPE_*. */
  readonly vmAssist: bigint;
  readonly shutdownReason: number | undefined;
}

/** Name of the errno with which an operation is refused; undefined where one stands beside it means success. */
export type Refusal = 'EPERM' | 'ENOMEM' | 'EACCES' | 'EBUSY' | 'EINVAL';
