/**
 * A xenstore session: what a guest sends, what its dom0 does meanwhile, and what comes back, as readable text. The sessions of
 * test/golden/xenstore were recorded on the real Xen's C xenstored by record.ts; the test plays their inputs to our store and
 * wants the same text again.
 *
 *     > WRITE "data/x\0value"         a request (`READ/1`: in transaction 1); `1000 * MKDIR "n%\0"` sends many, % counts from 1
 *     < WRITE "OK\0"                  what the guest received up to the request's answer and after it, in order
 *     $ xenstore-read /a              a command in dom0, its output as `| ` lines
 *     poke rsp_prod 5000              the guest writes a field of the ring and signals
 *     peek error                      and `= 2`, what a field of the ring holds
 *     raw "..."                       bytes that are no whole message
 *
 * `~` is the guest's domid.
 */

export interface Message {
  type: number;
  requestId: number;
  transactionId: number;
  body: string;
}

export type Step =
  | { kind: 'message'; line: string; messages: Message[] }
  | { kind: 'command'; line: string; command: string }
  | { kind: 'poke'; line: string; offset: number; value: number }
  | { kind: 'peek'; line: string; offset: number }
  | { kind: 'raw'; line: string; body: string }
  | { kind: 'comment'; line: string };

// biome-ignore format: a table
const TYPES = [
  'CONTROL', 'DIRECTORY', 'READ', 'GET_PERMS', 'WATCH', 'UNWATCH', 'TRANSACTION_START', 'TRANSACTION_END', 'INTRODUCE', 'RELEASE',
  'GET_DOMAIN_PATH', 'WRITE', 'MKDIR', 'RM', 'SET_PERMS', 'WATCH_EVENT', 'ERROR', 'IS_DOMAIN_INTRODUCED', 'RESUME', 'SET_TARGET', '20',
  'RESET_WATCHES', 'DIRECTORY_PART',
];

// biome-ignore format: a table
const FIELDS: Record<string, number> = {
  req_cons: 2048, req_prod: 2052, rsp_cons: 2056, rsp_prod: 2060, server_features: 2064, connection: 2068, error: 2072,
};

const fieldOffset = (name: string): number => {
  const offset = FIELDS[name];
  if (offset === undefined) throw new Error(`no field '${name}' in the ring`);
  return offset;
};

/** `"text\0" "a"*3000`: characters are bytes. */
function parseBody(text: string, count: number, domid: number): string {
  let body = '';
  for (const [, quoted, times] of text.matchAll(/"((?:[^"\\]|\\.)*)"(?:\*(\d+))?/g)) {
    const part = quoted!.replace(/\\(x..|.)|[%~]/g, (character, escaped?: string) => {
      if (escaped === undefined) return String(character === '%' ? count : domid);
      if (escaped[0] === 'x') return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
      return escaped === '0' ? '\0' : escaped === 'n' ? '\n' : escaped;
    });
    body += part.repeat(Number(times ?? 1));
  }
  return body;
}

export function parseSession(text: string, domid: number): Step[] {
  const steps: Step[] = [];
  let requestId = 0;
  for (const line of text.split('\n')) {
    const [word = '', first = '', second = ''] = line.split(' ');
    if (word === '>') {
      const [, times, type, transactionId, body] = /^> (?:(\d+) \* )?(\w+)(?:\/(\d+))? ?(.*)$/.exec(line)!;
      const number = TYPES.includes(type!) ? TYPES.indexOf(type!) : Number(type);
      const messages = Array.from({ length: Number(times ?? 1) }, (_, i) => ({
        type: number,
        requestId: ++requestId,
        transactionId: Number(transactionId ?? 0),
        body: parseBody(body!, i + 1, domid),
      }));
      steps.push({ kind: 'message', line, messages });
    } else if (word === '$') steps.push({ kind: 'command', line, command: line.slice(2) });
    else if (word === 'poke') steps.push({ kind: 'poke', line, offset: fieldOffset(first), value: Number(second) });
    else if (word === 'peek') steps.push({ kind: 'peek', line, offset: fieldOffset(first) });
    else if (word === 'raw') steps.push({ kind: 'raw', line, body: parseBody(line, 0, domid) });
    else if (word === '#' || word === '') steps.push({ kind: 'comment', line });
    else if (!['<', '|', '='].includes(word)) throw new Error(`not a line of a session: ${line}`);
  }
  while (steps.at(-1)?.line === '') steps.pop();
  return steps;
}

export function encodeMessage({ type, requestId, transactionId, body }: Message): Uint8Array {
  const bytes = new Uint8Array(16 + body.length);
  const view = new DataView(bytes.buffer);
  [type, requestId, transactionId, body.length].forEach((value, i) => {
    view.setUint32(4 * i, value, true);
  });
  for (let i = 0; i < body.length; i++) bytes[16 + i] = body.charCodeAt(i);
  return bytes;
}

function formatBody(body: string): string {
  const quote = (part: string) =>
    `"${part.replace(/[^ !#-[\]-~]/g, (c) => (c === '\0' ? '\\0' : c === '\n' ? '\\n' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))}"`;
  return body
    .split(/((.)\2{39,})/s)
    .filter((_, i) => i % 3 !== 2)
    .filter((part) => part !== '')
    .map((part) => (part.length >= 40 && new Set(part).size === 1 ? `${quote(part[0]!)}*${part.length}` : quote(part)))
    .join(' ');
}

/** Only a surprising request id is shown; a node's generation differs from run to run. */
function formatMessage(message: Message, request: Message | undefined): string {
  const name = TYPES[message.type];
  const transaction = message.transactionId !== 0 ? `/${message.transactionId}` : '';
  const id = message.requestId !== (name === 'WATCH_EVENT' ? 0 : request?.requestId) ? `#${message.requestId}` : '';
  const body = name === 'DIRECTORY_PART' ? message.body.replace(/^\d+/, 'GENERATION') : message.body;
  return `${name ?? message.type}${transaction}${id} ${formatBody(body)}`.trimEnd();
}

/** What came back after a step's requests (none: what is no request); equal answers to many are counted, with their % again. */
export function formatAnswers(step: Step, answers: readonly (readonly Message[])[]): string[] {
  const requests = step.kind === 'message' ? step.messages : [];
  if (requests.length < 2) return answers.flatMap((received) => received.map((message) => `< ${formatMessage(message, requests[0])}`));
  const groups: { text: string; count: number }[] = [];
  answers.forEach((received, i) => {
    const all = received.map((message) => formatMessage(message, requests[i])).join(' ; ');
    const text = step.line.includes('%') ? all.replace(new RegExp(`(?<!\\d)${i + 1}(?!\\d)`, 'g'), '%') : all;
    const last = groups.at(-1);
    if (last?.text === text) last.count++;
    else groups.push({ text, count: 1 });
  });
  return groups.map(({ text, count }) => `< ${count} * ${text}`);
}

/** A line with the guest's domid as `~` where an answer shows it. */
export function hideDomid(line: string, domid: number): string {
  return /^[<|]/.test(line) ? line.replace(new RegExp(`(/local/domain/|(?<=["(,0])[rwbn])${domid}(?!\\d)`, 'g'), '$1~') : line;
}
