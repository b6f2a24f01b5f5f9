/** SCHEDOP_poll's side of event channels: which vCPU waits for which port, for how long, and waking it (xen:common/sched/core.c do_poll). */
import type { Domain } from '../../emulator/domain.ts';
import { cancelGuestTimer, type GuestTimer, setGuestTimer } from '../../emulator/guest_time.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';

/** Several ports, or none: any event wakes. */
export const ANY_PORT = -1;
const NOT_POLLING = 0;

interface Polling {
  port: number;
  timer: GuestTimer | undefined;
}

const polling = defineSlot<Vcpu, Polling, Host>(() => ({ port: NOT_POLLING, timer: undefined }), {
  name: 'event_channel.poll',
  save: ({ port, timer }) => ({ port, deadline: timer?.deadline }),
  load(saved, vcpu, host) {
    const { port, deadline } = saved as { port: number; deadline: number | undefined };
    return { port, timer: deadline === undefined ? undefined : kickAt(host, vcpu, BigInt(deadline)) };
  },
});

const kickAt = (host: Host, vcpu: Vcpu, deadline: bigint): GuestTimer => setGuestTimer(host, vcpu.domain, deadline, () => kick(host, vcpu));

/** Blocks `vcpu` until `port` (or ANY_PORT) is pending, or until `deadline`, if there is one. */
export function startPolling(host: Host, vcpu: Vcpu, port: number, deadline: bigint | undefined): void {
  const state = polling.of(vcpu);
  stop(host, vcpu, state);
  state.port = port;
  if (deadline !== undefined) state.timer = kickAt(host, vcpu, deadline);
  host.block(vcpu);
}

export const stopPolling = (host: Host, vcpu: Vcpu): void => stop(host, vcpu, polling.of(vcpu));

function stop(host: Host, vcpu: Vcpu, state: Polling): void {
  state.port = NOT_POLLING;
  if (state.timer === undefined) return;
  cancelGuestTimer(host, vcpu.domain, state.timer);
  state.timer = undefined;
}

/** What it waits for: a port, ANY_PORT, or 0 for nothing. */
export const polledPort = (vcpu: Vcpu): number => polling.of(vcpu).port;

/** Wakes `vcpu`, whatever it waits for. One that polls is blocked, too. */
export function kick(host: Host, vcpu: Vcpu): void {
  if (vcpu.isBlocked) endWait(host, vcpu, polling.of(vcpu));
}

function endWait(host: Host, vcpu: Vcpu, state: Polling): void {
  stop(host, vcpu, state);
  host.wake(vcpu);
}

/** An event on `port`, even a masked one, ends the polls for it. */
export function wakePollers(host: Host, { vcpus }: Domain, port: number): void {
  for (let i = 0; i < vcpus.length; i++) {
    const vcpu = vcpus[i]!;
    if (vcpu.isBlocked) endPoll(host, vcpu, port);
  }
}

function endPoll(host: Host, vcpu: Vcpu, port: number): void {
  const state = polling.of(vcpu);
  if (state.port === ANY_PORT || state.port === port) endWait(host, vcpu, state);
}
