/**
 * What a recorder of the machine's timeline is told, and when (recorder.ts is one). Ring -1 calls it where the thing happens;
 * without a timeline that is one comparison. Times are the recorder's own business: it looks at the machine's clock.
 */
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';

export interface Timeline {
  /** Its runstate (RUNSTATE_*) is another from now on. */
  runstateChanged(vcpu: Vcpu, state: number): void;
  /** A hypercall begins, perhaps within another one (multicall) ... */
  hypercallBegins(vcpu: Vcpu): void;
  /** ... and is over: RAX will be `result`; undefined: the guest makes it again. */
  hypercallEnds(vcpu: Vcpu, name: string, result: number | bigint | undefined): void;
  /** An event comes for `vcpu`, which may be woken by it right after. `source`: 'interdomain', 'ipi', or the name of a VIRQ. */
  eventRaised(vcpu: Vcpu, port: number, source: string): void;
  /** The vCPU is sent to its guest's event callback. */
  upcallBegins(vcpu: Vcpu): void;
  /** The domain is destroyed. */
  domainEnds(domain: Domain): void;
}
