/**
 * A domain's own time: the machine's, without the time for which the domain was paused, so that a guest cannot tell that it
 * was. Its timers wait meanwhile. On the real Xen a paused domain's clock goes on (docs/differences.md).
 */
import type { Domain } from './domain.ts';
import type { Host } from './host.ts';
import type { Timer } from './scheduler/timers.ts';
import { defineSlot } from './slot.ts';

export interface GuestTimer {
  /** Nanoseconds of the domain's time. */
  readonly deadline: number;
}

interface Entry extends GuestTimer {
  readonly fire: () => void;
  /** Undefined while the domain is paused. */
  timer: Timer | undefined;
}

interface GuestTime {
  /** Nanoseconds for which it was paused. */
  paused: number;
  /** When it was paused, in the machine's time. */
  pausedAt: number | undefined;
  readonly timers: Set<Entry>;
}

const timeOf = defineSlot<Domain, GuestTime>(() => ({ paused: 0, pausedAt: undefined, timers: new Set() }), {
  name: 'guest_time',
  isTransient: true,
});

/** Nanoseconds of the domain's time. */
export function guestNs(host: Host, domain: Domain): number {
  const { paused, pausedAt } = timeOf.of(domain);
  return (pausedAt ?? host.clock.ns) - paused;
}

/** The same for the ABI: `system_time`. */
export const guestNow = (host: Host, domain: Domain): bigint => BigInt(guestNs(host, domain));

/** The domain's time when the machine's is `ns`, as RDTSC asks in the middle of a run. */
export const guestTimeAt = (domain: Domain, ns: number): number => ns - timeOf.of(domain).paused;

export function setGuestTimer(host: Host, domain: Domain, deadline: bigint | number, fire: () => void): GuestTimer {
  const time = timeOf.of(domain);
  const entry: Entry = {
    deadline: Number(deadline),
    fire: () => {
      time.timers.delete(entry);
      fire();
    },
    timer: undefined,
  };
  time.timers.add(entry);
  if (time.pausedAt === undefined) start(host, time, entry);
  return entry;
}

/** Harmless on one that has fired. */
export function cancelGuestTimer(host: Host, domain: Domain, timer: GuestTimer): void {
  const entry = timer as Entry;
  if (timeOf.of(domain).timers.delete(entry) && entry.timer !== undefined) host.timers.cancel(entry.timer);
}

function start(host: Host, time: GuestTime, entry: Entry): void {
  entry.timer = host.timers.set(entry.deadline + time.paused, entry.fire);
}

/** The domain was paused, at `ns` of the machine's time. */
export function stopTime(host: Host, domain: Domain, ns: number): void {
  const time = timeOf.of(domain);
  time.pausedAt = ns;
  for (const entry of time.timers) {
    host.timers.cancel(entry.timer!);
    entry.timer = undefined;
  }
}

/** It was unpaused. */
export function resumeTime(host: Host, domain: Domain): void {
  const time = timeOf.of(domain);
  time.paused += Math.max(0, host.clock.ns - time.pausedAt!);
  time.pausedAt = undefined;
  for (const entry of time.timers) start(host, time, entry);
}

export const isTimeStopped = (domain: Domain): boolean => timeOf.of(domain).pausedAt !== undefined;

/** A domain that was saved `ns` into its own time begins here as a paused one. */
export function beginTimeAt(host: Host, domain: Domain, ns: number): void {
  const time = timeOf.of(domain);
  time.pausedAt = host.clock.ns;
  time.paused = time.pausedAt - ns;
}
