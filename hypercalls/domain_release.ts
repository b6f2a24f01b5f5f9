/** The end of a domain that will not run again: what it waits for, what it holds of others and what ring -1 holds of it, then its memory. */
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import { releaseDomainMemory } from '../emulator/memory/domain_release.ts';
import { stopPolling } from './event_channel/poll.ts';
import { releaseGrants } from './grant_table/release.ts';
import { stopWatchdogs } from './sched/watchdog.ts';
import { leaveCoreTimers, stopSingleshotTimer } from './vcpu/timers.ts';

/** Frames that other domains have mapped stay until they are unmapped. */
export function releaseDomain(host: Host, domain: Domain): void {
  stopWatchdogs(host, domain);
  for (const vcpu of domain.vcpus) {
    stopPolling(host, vcpu);
    stopSingleshotTimer(host, vcpu);
    leaveCoreTimers(host, vcpu);
  }
  releaseGrants(host, domain);
  releaseDomainMemory(host.memory, domain);
}
