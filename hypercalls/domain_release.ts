/**
 * The end of a domain that will not run again: what it waits for, its event channels, what it holds of others and what ring -1
 * holds of it, then its memory (xen:common/domain.c domain_kill).
 */
import type { Domain } from '../emulator/domain.ts';
import type { Host } from '../emulator/host.ts';
import { releaseDomainMemory } from '../emulator/memory/domain_release.ts';
import { stopPolling } from './event_channel/poll.ts';
import { reset } from './event_channel/ports.ts';
import { releaseGrants } from './grant_table/release.ts';
import { stopWatchdogs } from './sched/watchdog.ts';
import { stopTimers } from './vcpu/timers.ts';

/** The other ends of its channels wait for it, who will not come. Frames that others have mapped stay until they are unmapped. */
export function releaseDomain(host: Host, domain: Domain): void {
  stopWatchdogs(host, domain);
  for (const vcpu of domain.vcpus) {
    stopPolling(host, vcpu);
    stopTimers(host, vcpu);
  }
  reset(host, domain);
  releaseGrants(host, domain);
  releaseDomainMemory(host.memory, domain);
}
