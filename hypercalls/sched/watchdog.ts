/** SCHEDOP_watchdog's timers: one that runs out ends its domain. */
import type { Domain } from '../../emulator/domain.ts';
import { cancelGuestTimer, type GuestTimer, guestNow, setGuestTimer } from '../../emulator/guest_time.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { SHUTDOWN_watchdog } from '../abi/sched.ts';
import { shutDown } from './shutdown.ts';

export const NR_DOMAIN_WATCHDOG_TIMERS = 2;

export const watchdogs = defineSlot<Domain, (GuestTimer | undefined)[], Host>(() => new Array(NR_DOMAIN_WATCHDOG_TIMERS).fill(undefined), {
  name: 'sched.watchdogs',
  save: (timers) => timers.map((timer) => timer?.deadline),
  load: (saved, domain, host) =>
    (saved as (number | undefined)[]).map((deadline) => (deadline === undefined ? undefined : biteAt(host, domain, BigInt(deadline)))),
});

const biteAt = (host: Host, domain: Domain, deadline: bigint): GuestTimer =>
  setGuestTimer(host, domain, deadline, () => shutDown(host, domain, SHUTDOWN_watchdog));

export function startWatchdog(host: Host, domain: Domain, index: number, seconds: number): void {
  const deadline = guestNow(host, domain) + BigInt(seconds) * 1_000_000_000n;
  watchdogs.of(domain)[index] = biteAt(host, domain, deadline);
}

export function stopWatchdog(host: Host, domain: Domain, index: number): void {
  const list = watchdogs.of(domain);
  cancelGuestTimer(host, domain, list[index]!);
  list[index] = undefined;
}

export function stopWatchdogs(host: Host, domain: Domain): void {
  for (const [index, timer] of watchdogs.of(domain).entries()) if (timer !== undefined) stopWatchdog(host, domain, index);
}
