/** Delivery of exceptions and interrupts through the guest's IDT (SDM 3A 6.12-6.14). */
import type { CpuCore } from '../cpu.ts';
import type { Exit } from '../exit.ts';
import type { Fault } from '../fault.ts';

export function deliverException(_cpu: CpuCore, _fault: Fault, _dr6?: number): Exit | undefined {
  return { kind: 'shutdown' };
}
