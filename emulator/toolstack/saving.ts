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

/** How far it is, in frames of the domain. */
export interface SaveProgress {
  readonly done: number;
  readonly total: number;
}

/** Resolves when the file is whole; the other domains run meanwhile, and with `run` this one, too. */
export async function saveToFile(
  toolstack: Toolstack,
  record: DomainRecord,
  path: string,
  afterwards: Afterwards,
  tell: (progress: SaveProgress) => void,
): Promise<void> {
  const { machine, scheduling, files } = toolstack;
  const { domain, description } = record;
  const saved: Saved = {
    description,
    schedule: scheduling.parametersOf(domain),
    affinities: domain.vcpus.map((vcpu) => scheduling.affinityOf(vcpu)),
    domain: dataOf(toolstack, domain),
  };
  const total = saved.domain.frames.mfns.length;
  const isThere = (): boolean => toolstack.find(String(domain.id)) === record;
  const stops = afterwards === 'destroy' || (afterwards === 'pause' && domain.pauseCount === 0);
  if (stops) machine.pause(domain);
  const writing = files.replace(
    path,
    writeSaveFile(saved, files, (done) => tell({ done: Math.floor(done * total), total })),
  );
  toolstack.unfinished.add(writing);
  try {
    await writing;
  } catch (error) {
    if (stops && isThere()) machine.unpause(domain);
    throw error;
  } finally {
    toolstack.unfinished.delete(writing);
  }
  if (afterwards === 'destroy' && isThere()) toolstack.destroy(domain.id);
}

function dataOf({ machine }: Toolstack, domain: Domain): SavedDomain {
  try {
    return saveDomain(machine, domain);
  } catch (error) {
    if (!(error instanceof NotSavable)) throw error;
    throw new ToolstackError(`${domain.name} cannot be saved: ${error.message}`);
  }
}

/** A host page of the domain's, and the event channel that belongs to it. */
export interface RestoredRing {
  readonly mfn: number;
  readonly port: number;
}

export interface Restored {
  readonly domain: Domain;
  readonly store: RestoredRing;
  readonly console: RestoredRing;
}

export interface RestoreOptions {
  readonly isPaused: boolean;
  /** Nobody acts on its end. */
  readonly isPreserved: boolean;
}

const PRESERVED = { on_poweroff: 'preserve', on_reboot: 'preserve', on_crash: 'preserve', on_watchdog: 'preserve' } as const;

export function restoreFromFile(toolstack: Toolstack, path: string, { isPaused, isPreserved }: RestoreOptions): Restored {
  const { machine, scheduling, files, description: host } = toolstack;
  const file = readSaveFile(path, files.read(path, 'saved domain'), host.memory, files);
  const { schedule, affinities, domain: saved, ...others } = file as Saved;
  const description = { ...others.description, ...(isPreserved && PRESERVED) };
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
  const ringOf = ({ mfn, port }: RestoredRing): RestoredRing => ({ mfn, port });
  return { domain, store: ringOf(saved.store), console: ringOf(saved.console) };
}
