/**
 * Asking a guest to shut itself down: its node control/shutdown gets a word, and the guest, which watches the node, takes the
 * word away before it obeys (xen:docs/misc/xenstore-paths.pandoc, libxl_domain.c pvcontrol).
 */
import { domainPath } from '../../hypercalls/xenstore/path.ts';
import type { DomainEnd, Toolstack } from './toolstack.ts';
import { ERROR_GUEST_TIMEDOUT, ToolstackError } from './toolstack_error.ts';

export type ControlWord = 'poweroff' | 'reboot';

/** How long a guest may take to answer, in virtual time. */
const ANSWER_NS = 60_000_000_000n;

/** Resolves when the guest has taken the word, or is gone. */
export function askGuest(toolstack: Toolstack, domid: number, word: ControlWord): Promise<void> {
  const { machine } = toolstack;
  const { domain } = toolstack.record(domid);
  const path = `${domainPath(domid)}/control/shutdown`;
  machine.xenstore.write(path, word);
  return new Promise((resolve, reject) => {
    const timer = machine.timers.set(machine.clock.now() + ANSWER_NS, () =>
      finish(() => reject(new ToolstackError("guest didn't acknowledge control request: -9", ERROR_GUEST_TIMEDOUT))),
    );
    const stops: (() => void)[] = [() => machine.timers.cancel(timer)];
    function finish(settle: () => void): void {
      for (const stop of stops) stop();
      settle();
    }
    const isAnswered = (): boolean => domain.isDying || (machine.xenstore.read(path) ?? '') === '';
    stops.push(
      machine.xenstore.watch(path, () => {
        if (isAnswered()) finish(resolve);
      }),
      toolstack.onEnd((ended) => {
        if (ended === domid) finish(resolve);
      }),
    );
  });
}

/** Resolves when the domain has been destroyed, or has shut down and is kept. */
export function waitForEnd(toolstack: Toolstack, domid: number): Promise<DomainEnd> {
  const past = toolstack.endOf(domid);
  if (past !== undefined) return Promise.resolve(past);
  return new Promise((resolve) => {
    const stop = toolstack.onEnd((ended, end) => {
      if (ended !== domid) return;
      stop();
      resolve(end);
    });
  });
}
