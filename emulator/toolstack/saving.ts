/**
 * Saving a domain to a file and letting it go on from one, in this host or another: the domain itself (saved_domain.ts) with
 * what the toolstack keeps of it. Unlike xl's, the guest takes no part in it and cannot tell.
 */
import type { Domain } from '../domain.ts';
import { type SavedDomain, saveDomain } from '../saved_domain.ts';
import { NotSavable } from '../slot.ts';
import type { DomainDescription } from './host_keys.ts';
import { readSaveFile, writeSaveFile } from './save_file.ts';
import type { Affinity } from './scheduling.ts';
import type { DomainRecord, Toolstack } from './toolstack.ts';
import { ToolstackError } from './toolstack_error.ts';

/** What the file holds. */
interface Saved {
  readonly description: DomainDescription;
  readonly schedule: { readonly weight: number; readonly cap: number };
  /** By vCPU. */
  readonly affinities: readonly Affinity[];
  readonly domain: SavedDomain;
}

/** What becomes of the domain that was saved. */
export type Afterwards = 'destroy' | 'run' | 'pause';

export function saveToFile(toolstack: Toolstack, record: DomainRecord, path: string, afterwards: Afterwards): void {
  const { machine, scheduling, files } = toolstack;
  const { domain, description } = record;
  const saved: Saved = {
    description,
    schedule: scheduling.parametersOf(domain),
    affinities: domain.vcpus.map((vcpu) => scheduling.affinityOf(vcpu)),
    domain: dataOf(toolstack, domain),
  };
  files.replace(path, writeSaveFile(saved, files));
  if (afterwards === 'destroy') toolstack.destroy(domain.id);
  else if (afterwards === 'pause' && domain.pauseCount === 0) machine.pause(domain);
}

function dataOf({ machine }: Toolstack, domain: Domain): SavedDomain {
  try {
    return saveDomain(machine, domain);
  } catch (error) {
    if (!(error instanceof NotSavable)) throw error;
    throw new ToolstackError(`${domain.name} cannot be saved: ${error.message}`);
  }
}

export function restoreFromFile(toolstack: Toolstack, path: string, isPaused: boolean): Domain {
  const { machine, scheduling, files, description: host } = toolstack;
  const file = readSaveFile(path, files.read(path, 'saved domain'), host.memory, files);
  const { description, schedule, affinities, domain: saved } = file as Saved;
  toolstack.refuseTakenName(saved.name);
  const domain = toolstack.withDisks(description, (disks) => {
    const restored = machine.restoreDomain(saved, { disks });
    if (typeof restored === 'string') throw new ToolstackError(`${saved.name} cannot go on here: ${restored}`);
    toolstack.adopt(restored, description, disks);
    return restored;
  });
  scheduling.adjust(domain, schedule);
  // A host with other CPUs lets it run on all.
  for (const [i, vcpu] of domain.vcpus.entries()) scheduling.setAffinity(vcpu, affinities[i]!);
  if (!isPaused) machine.unpause(domain);
  return domain;
}
