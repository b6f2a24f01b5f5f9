/** Plays a recorded session to our store: what record.ts does with the real Xen, without one. */
import { populateDomainTree } from '../../../hypercalls/xenstore/domain_tree.ts';
import { XenStore } from '../../../hypercalls/xenstore/store.ts';
import { RingGuest } from './ring_guest.ts';
import { encodeMessage, formatAnswers, hideDomid, parseSession } from './session.ts';

const DOMID = 5;

/** `name` is what record.ts called the domain. */
export function replay(name: string, session: string): string {
  const store = new XenStore();
  populateDomainTree(
    store,
    { id: DOMID, name },
    { memoryKib: 65536, vcpus: 1, store: { port: 1, mfn: 10 }, console: { port: 2, mfn: 11 } },
  );
  const guest = new RingGuest(store, DOMID);
  const lines = parseSession(session, DOMID).flatMap((step) => {
    const { line } = step;
    if (step.kind === 'comment') return [line];
    if (step.kind === 'message') {
      const answers = step.messages.map((message) => {
        guest.send(encodeMessage(message));
        return guest.receive();
      });
      return [line, ...formatAnswers(step, answers)];
    }
    if (step.kind === 'peek') return [line, `= ${guest.peek(step.offset)}`];
    if (step.kind === 'command') {
      const output = command(store, step.command.replaceAll('~', String(DOMID)));
      return [line, ...output.map((text) => `| ${text}`), ...formatAnswers(step, [guest.receive()])];
    }
    if (step.kind === 'poke') guest.poke(step.offset, step.value);
    if (step.kind === 'raw') guest.send(Uint8Array.from(step.body, (c) => c.charCodeAt(0)));
    guest.ring.onEvent();
    return [line];
  });
  return `${lines.map((line) => hideDomid(line, DOMID)).join('\n')}\n`;
}

/** The tools of dom0 that the sessions use. */
function command(store: XenStore, text: string): string[] {
  const [tool, path = '', ...words] = text.split(' ');
  if (tool === 'xenstore-write') store.write(path, words[0]!);
  else if (tool === 'xenstore-rm') store.rm(path);
  else if (tool === 'xenstore-chmod') store.setPermissions(path, words);
  else if (tool === 'xenstore-read') return [store.read(path) ?? `xenstore-read: couldn't read path ${path}`];
  else throw new Error(`no command '${text}' here`);
  return [];
}
