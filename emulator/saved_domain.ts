/**
 * A domain as plain data (plain_data.ts), and what stands in the way of it on a machine. Its guest takes no part and notices
 * nothing: memory at the same machine frames, registers, its own time and its timers, event channels, grants, its nodes and
 * watches in xenstore, and whatever else the slots keep. machine.ts makes a domain of it again.
 */
import type { Disk } from '../hypercalls/block/disk.ts';
import { loadHostMappings, type SavedHostMapping, saveHostMappings } from '../hypercalls/grant_table/toolstack.ts';
import { domainPath } from '../hypercalls/xenstore/path.ts';
import type { SavedNode } from '../hypercalls/xenstore/store.ts';
import { CONTEXT_SIZE, lastingContext } from './cpu/snapshot.ts';
import type { Domain } from './domain.ts';
import { beginTimeAt, guestNs, isTimeStopped } from './guest_time.ts';
import type { SavedEnds } from './host_ends.ts';
import type { Machine } from './machine.ts';
import { OWNER_RING, PAGE_SIZE } from './memory/machine_memory.ts';
import { connectFrames, findTaken, loadFrames, type SavedFrames, saveFrames } from './memory/saved_frames.ts';
import { loadSlots, NotSavable, saveSlots, slotNames } from './slot.ts';
import type { Vcpu } from './vcpu.ts';

export interface SavedVcpu {
  readonly isInitialised: boolean;
  readonly isUp: boolean;
  readonly isBlocked: boolean;
  readonly hasVcpuInfo: boolean;
  readonly vcpuInfoMaddr: number;
  readonly context: Uint8Array;
  readonly slots: ReadonlyMap<string, unknown>;
}

export interface SavedDomain extends SavedEnds {
  readonly id: number;
  readonly name: string;
  readonly maxPages: number;
  readonly sharedInfoMfn: number;
  readonly vmAssist: bigint;
  /** Nanoseconds of its own time. */
  readonly ns: number;
  readonly vcpus: readonly SavedVcpu[];
  /** What vCPUs have that have no vcpu_info of the guest's. */
  readonly unseenInfo: Uint8Array;
  readonly slots: ReadonlyMap<string, unknown>;
  readonly frames: SavedFrames;
  readonly hostMappings: readonly SavedHostMapping[];
  readonly nodes: readonly SavedNode[];
}

/** Of what a guest can reach there is one page for all. */
const UNSEEN_SIZE = PAGE_SIZE;
/** Frames that ring -1 takes for a domain beside those that it had, at most. */
const RING_FRAMES = 64;

/** Nothing of the domain changes. A NotSavable where something cannot be taken along. */
export function saveDomain(machine: Machine, domain: Domain): SavedDomain {
  const { memory, xenstore } = machine;
  const { id, name, type, maxPages, sharedInfoMfn, vmAssist } = domain;
  const ends = machine.hostEnds(domain);
  if (domain.shutdownReason !== undefined) throw new NotSavable('it has shut down');
  if (type !== 'pv' || ends === undefined) throw new NotSavable('it is no PV domain beside the initial one');
  const unseen = domain.vcpus.find(({ hasVcpuInfo }) => !hasVcpuInfo);
  return {
    id,
    name,
    maxPages,
    sharedInfoMfn,
    vmAssist,
    ns: latestGuestNs(machine, domain),
    vcpus: domain.vcpus.map((vcpu) => saveVcpu(machine, vcpu)),
    unseenInfo: unseen ? memory.bytes.slice(unseen.vcpuInfoMaddr, unseen.vcpuInfoMaddr + UNSEEN_SIZE) : new Uint8Array(0),
    slots: saveSlots(domain, machine),
    frames: saveFrames(memory, domain),
    hostMappings: saveHostMappings(machine, domain),
    nodes: treesOf(machine, id, ends.uuid).flatMap((path) => xenstore.saveTree(path)),
    ...ends.save(),
  };
}

function saveVcpu(machine: Machine, vcpu: Vcpu): SavedVcpu {
  const { isInitialised, isUp, isBlocked, hasVcpuInfo, vcpuInfoMaddr, context } = vcpu;
  return {
    isInitialised,
    isUp,
    isBlocked,
    hasVcpuInfo,
    vcpuInfoMaddr,
    context: lastingContext(vcpu === machine.current ? machine.cpu.saveContext() : context!),
    slots: saveSlots(vcpu, machine),
  };
}

/** The domain's time where it is latest. */
function latestGuestNs(machine: Machine, domain: Domain): number {
  const now = guestNs(machine, domain);
  return isTimeStopped(domain) ? now : now + machine.latestNs(domain) - machine.clock.ns;
}

/** Where its nodes are. */
function treesOf({ xenstore }: Machine, id: number, uuid: string): string[] {
  const backends = `${domainPath(0)}/backend`;
  const kinds = xenstore.directory(backends) ?? [];
  return [domainPath(id), `/vm/${uuid}`, `/libxl/${id}`, ...kinds.map((kind) => `${backends}/${kind}/${id}`)];
}

const ELSEWHERE = 'restore it before others are made, such as in a host of its own';

/** Why it cannot go on here, undefined: it can. */
export function refusalOf(machine: Machine, saved: SavedDomain, disks: readonly Disk[]): string | undefined {
  const { memory, domains } = machine;
  const { id, frames, vcpus, slots } = saved;
  const unknown = [slots, ...vcpus.map((vcpu) => vcpu.slots)]
    .flatMap((each) => [...each.keys()])
    .find((name) => !slotNames().includes(name));
  if (unknown !== undefined || vcpus.some(({ context }) => context.length !== CONTEXT_SIZE))
    return `it was saved by another version of beneath${unknown === undefined ? '' : `, which knew of ${unknown}`}`;
  const changed = saved.disks.find(({ sectors }, i) => disks[i]?.sectors !== sectors);
  if (changed !== undefined) return `its disk ${changed.name} had ${changed.sectors} sectors, and ${changed.path} has not`;
  const present = domains.get(id);
  if (present !== undefined) return `its guest knows itself as domain ${id}, and here that is ${present.name}; ${ELSEWHERE}`;
  const taken = findTaken(memory, frames);
  if (taken !== undefined) {
    const frame = `its guest knows machine frame 0x${taken.toString(16)} as its own`;
    if (!memory.isFrame(taken)) return `${frame}, and this host has no memory there; give it more`;
    return `${frame}, and here ${domains.get(memory.owner[taken]!)?.name ?? 'ring -1'} has it; ${ELSEWHERE}`;
  }
  if (memory.freeCount < frames.mfns.length + RING_FRAMES) return 'the host has no memory left for its own tables';
  return undefined;
}

/** Fills a domain that has vCPUs and nothing else; paused, and its far ends are not there yet. */
export function loadDomain(machine: Machine, domain: Domain, saved: SavedDomain): void {
  const { memory } = machine;
  domain.sharedInfoMfn = saved.sharedInfoMfn;
  domain.vmAssist = saved.vmAssist;
  loadFrames(memory, domain, saved.frames);
  beginTimeAt(machine, domain, saved.ns);
  loadSlots(domain, saved.slots, machine);
  const unseenMaddr = saved.unseenInfo.length > 0 ? memory.allocate(OWNER_RING) * PAGE_SIZE : -1;
  if (unseenMaddr >= 0) memory.bytes.set(saved.unseenInfo, unseenMaddr);
  for (const [i, vcpu] of domain.vcpus.entries()) {
    const { context, slots, vcpuInfoMaddr, ...state } = saved.vcpus[i]!;
    Object.assign(vcpu, state);
    vcpu.vcpuInfoMaddr = state.hasVcpuInfo ? vcpuInfoMaddr : unseenMaddr;
    vcpu.context = { bytes: context };
    vcpu.runnableSince = machine.clock.ns;
    loadSlots(vcpu, slots, machine);
  }
  connectFrames(memory, domain, saved.frames);
  loadHostMappings(machine, domain, saved.hostMappings);
}
