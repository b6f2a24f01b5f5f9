/**
 * What somebody who watches a guest from ring -1 is told, and when: emulator/check is one. The dispatcher, the trap layer, the
 * run loop and the machine each call it in one place; without an observer that is one comparison.
 */
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import type { Vcpu } from '../emulator/vcpu.ts';
import type { CallRecord } from './call.ts';

export interface Observer {
  /** A hypercall begins (also one out of a multicall's list, within the multicall). RIP is behind the SYSCALL. */
  calling(host: Host, vcpu: Vcpu, record: CallRecord): void;
  /** It is over, or will be made again; RAX is not yet set. */
  called(host: Host, vcpu: Vcpu, record: CallRecord): void;
  /** User mode made a SYSCALL, which goes to the guest's kernel. RIP is behind it. */
  userSyscall(host: Host, vcpu: Vcpu): void;
  /** The vCPU on the core goes on at RIP. The answer: how many instructions until the observer wants to be asked again. */
  resuming(host: Host, vcpu: Vcpu): number;
  /** The domain ends now, everything of it is still there. */
  ending(host: Host, domain: Domain): void;
}
