/** Ending a domain with a reason; SCHEDOP_shutdown_code may have fixed the reason before (xen:common/domain.c domain_shutdown). */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';

const fixed = defineSlot<Domain, { code: number | undefined }>(() => ({ code: undefined }), { name: 'sched.shutdown_code' });

/** False when it is fixed already. */
export function fixShutdownCode(domain: Domain, code: number): boolean {
  const state = fixed.of(domain);
  if (state.code !== undefined) return false;
  state.code = code;
  return true;
}

export function shutDown(host: Host, domain: Domain, reason: number): void {
  if (domain.shutdownReason === undefined) host.shutdown(domain, fixed.of(domain).code ?? reason);
}
