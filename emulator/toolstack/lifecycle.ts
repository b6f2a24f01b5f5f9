/**
 * What becomes of a domain that has shut down: the action that its description names for the reason, in the words of xl's log
 * (xen:tools/xl/xl_vmcontrol.c handle_domain_death).
 */
import {
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
} from '../../hypercalls/abi/sched.ts';
import { writeCore } from './core_file.ts';
import type { DomainDescription, ShutdownAction } from './host_keys.ts';
import type { DomainRecord, Toolstack } from './toolstack.ts';

const SHORT_LIFE_NS = 1_000_000_000n;
const MAX_SHORT_LIVES = 4;

type Reaction = (description: DomainDescription) => ShutdownAction;

const reactions: Readonly<Record<number, Reaction>> = {
  [SHUTDOWN_poweroff]: ({ on_poweroff }) => on_poweroff,
  [SHUTDOWN_reboot]: ({ on_reboot }) => on_reboot,
  [SHUTDOWN_suspend]: () => 'preserve',
  [SHUTDOWN_crash]: ({ on_crash }) => on_crash,
  [SHUTDOWN_watchdog]: ({ on_watchdog }) => on_watchdog,
  [SHUTDOWN_soft_reset]: ({ on_reboot }) => on_reboot,
};

/** Looks for domains that have shut down since, acts, and lets go of destroyed ones whose last frame came back. */
export function settleEnds(toolstack: Toolstack): void {
  for (const record of toolstack.records) {
    if (record.domain.shutdownReason !== undefined && record.action === undefined) settle(toolstack, record);
  }
  toolstack.machine.reap();
}

function settle(toolstack: Toolstack, record: DomainRecord): void {
  const { domain, description } = record;
  const reason = domain.shutdownReason!;
  const why = toolstack.machine.crashes.get(domain)?.why;
  const action = (reactions[reason] ?? reactions[SHUTDOWN_crash]!)(description);
  toolstack.report(
    `Domain ${domain.id} (${domain.name}) has shut down, reason code ${reason} 0x${reason.toString(16)}${why ? `: ${why}` : ''}`,
  );
  toolstack.report(`Action for shutdown reason code ${reason} is ${action}`);
  if (why !== undefined) toolstack.log.write(`domain_crash called: ${why}\nDomain ${domain.id} reported crashed by domain 0 on cpu#0:`);
  if (action.startsWith('coredump')) dump(toolstack, record);
  if (action === 'preserve') {
    toolstack.preserve(record);
    return;
  }
  record.action = action;
  toolstack.destroy(domain.id);
  if (action.endsWith('restart')) restart(toolstack, record);
}

function dump(toolstack: Toolstack, { domain }: DomainRecord): void {
  const path = `${domain.name}-${domain.id}.core`;
  try {
    toolstack.files.write(path, writeCore(toolstack.machine, domain));
    toolstack.report(`Domain ${domain.id} (${domain.name}): its memory and registers are in ${path}`);
  } catch (error) {
    toolstack.report(`Domain ${domain.id} (${domain.name}): ${(error as Error).message}`);
  }
}

/** One that ends over and over as soon as it has begun would keep the host from all else. */
function restart(toolstack: Toolstack, { description, startedAt, shortLives }: DomainRecord): void {
  const isShort = toolstack.machine.clock.now() - startedAt < SHORT_LIFE_NS;
  if (isShort && shortLives >= MAX_SHORT_LIVES) {
    toolstack.report(`${description.name} is not started again: it ended ${MAX_SHORT_LIVES + 1} times within a second of its start`);
    return;
  }
  try {
    const domain = toolstack.create(description);
    toolstack.record(domain.id).shortLives = isShort ? shortLives + 1 : 0;
    toolstack.report(`Domain ${domain.id} (${domain.name}) is its next life`);
  } catch (error) {
    toolstack.report(`${description.name} is not started again: ${(error as Error).message}`);
  }
}
