/** `beneath console`: this terminal as the console of a domain, raw, until Ctrl-] or the domain's end. */
import type { Client, ConsoleStream } from '../../toolstack/socket_client.ts';
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import { openKeyboard } from '../keyboard.ts';
import type { Outcome, Verb } from './verb.ts';

/** `attached` is called when nothing of the output can be missed any more. */
export async function showConsole(client: Client, domain: string, attached?: () => Promise<void>): Promise<Outcome | undefined> {
  let ended: () => void = () => {};
  const isEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  let isOver = false;
  // Raw before anything is shown, so that no key is echoed or taken for a signal.
  let stream: ConsoleStream | undefined;
  const typedEarly: Uint8Array[] = [];
  const keyboard = openKeyboard((bytes) => {
    if (stream === undefined) typedEarly.push(bytes);
    else stream.type(bytes);
  });
  try {
    stream = await client.viewConsole(
      domain,
      (bytes) => void process.stdout.write(bytes),
      () => {
        isOver = true;
        ended();
      },
    );
    for (const bytes of typedEarly) stream.type(bytes);
    await attached?.();
    while (!isOver && !keyboard.wantsToLeave && !keyboard.isOver) await Promise.race([keyboard.wait(undefined), isEnded]);
    if (keyboard.wantsToLeave) stream.leave();
    else stream.endInput();
    if (!keyboard.wantsToLeave) await isEnded;
  } finally {
    keyboard.close();
  }
  return undefined;
}

/** xl's. */
const KINDS = ['pv', 'serial', 'vuart'];

export const consoleVerbs: readonly Verb[] = [
  {
    name: 'console',
    parameters: '<domain>',
    description: "make this terminal the domain's console (Ctrl-] leaves)",
    flags: [
      ['-t <type>', 'which kind: pv, the only one'],
      ['-n <number>', 'which one: 0, the only one'],
    ],
    run(client, [domain], { t = 'pv', n = '0' }) {
      if (!KINDS.includes(String(t))) throw new ToolstackError(`console type supported are: ${KINDS.join(', ')}`);
      if (t !== 'pv' || Number(n) !== 0) throw new ToolstackError('Unable to attach console: a domain has the pv console 0 and no other');
      return showConsole(client, domain!);
    },
  },
];
