/**
 * Plays the sessions of test/golden/xenstore on the real Xen and writes what came back into them; `--check` only compares.
 * Run from the top of the repository, needs gcc, libxen-dev and the real Xen:
 *
 *     node build.mjs --only test/support/xenstore/record.ts --outdir /tmp/d && node /tmp/d/test/support/xenstore/record.mjs [--check]
 *
 * REAL_XEN names the command, by default ../shared/oracle/real-xen.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeMessage, formatAnswers, hideDomid, type Message, parseSession, type Step } from './session.ts';

const FOLDER = 'test/golden/xenstore';
const realXen = process.env.REAL_XEN ?? '../shared/oracle/real-xen';
const [END, MESSAGE, STEP, POKE, PEEK, RAW] = [0, 1, 2, 3, 4, 5];
const work = mkdtempSync(join(tmpdir(), 'xenstore-'));

function buildPlayer(): string {
  const elf = join(work, 'player');
  const flags = '-m64 -std=gnu11 -O2 -Wall -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector';
  const link = '-nostdlib -static -no-pie -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-T,guests/lib/guest.lds';
  const define = ['-DGUEST_NAME="player"', '-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__'];
  const sources = ['start-pv64.S', 'console.c', 'print.c'].map((name) => `guests/lib/${name}`);
  const options = [
    ...flags.split(' '),
    '-fno-asynchronous-unwind-tables',
    '-fcf-protection=none',
    '-Iguests/lib',
    ...define,
    ...link.split(' '),
  ];
  execFileSync('gcc', [...options, '-o', elf, ...sources, 'test/support/xenstore/player.c'], { stdio: 'inherit' });
  return elf;
}

const u32 = (...values: number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);
const text = (value: string): Uint8Array => Uint8Array.from(value, (c) => c.charCodeAt(0));

function records(steps: Step[]): { kind: number; payload: Uint8Array }[] {
  let command = 0;
  return steps.flatMap((step) => {
    if (step.kind === 'message') return step.messages.map((message) => ({ kind: MESSAGE!, payload: encodeMessage(message) }));
    if (step.kind === 'command') return [{ kind: STEP!, payload: text(`${++command}\0`) }];
    if (step.kind === 'poke') return [{ kind: POKE!, payload: u32(step.offset, step.value) }];
    if (step.kind === 'peek') return [{ kind: PEEK!, payload: u32(step.offset) }];
    if (step.kind === 'raw') return [{ kind: RAW!, payload: text(step.body) }];
    return [];
  });
}

function ramdisk(session: string, domid: number): Uint8Array {
  const steps = parseSession(session, domid);
  return Buffer.concat(
    [...records(steps), { kind: END!, payload: u32(0) }].flatMap(({ kind, payload }) => [u32(kind, payload.length), payload]),
  );
}

/** The dom0 side: starts each guest, runs its commands when it says so, then shows its console. */
function script(sessions: { name: string; steps: Step[] }[]): string {
  return sessions
    .map(({ name, steps }) => {
      const log = `/var/log/xen/console/guest-${name}.log`;
      const commands = steps.filter((step) => step.kind === 'command').map((step) => step.command);
      return [
        `xl create -q /dev/null "name='${name}'" "type='pv'" "kernel='/guest/player'" "ramdisk='/guest/${name}.bin'" "memory=64" 2>&1`,
        `N=$(xl domid ${name})`,
        ...commands.flatMap((command, i) => [
          `until grep -q '^\\$ ${i + 1}$' ${log} || ! xl domid ${name} >/dev/null 2>&1; do sleep 0.05; done`,
          `echo "@command ${name} ${i + 1}"`,
          `( ${command.replaceAll('~', '$N')} ) 2>&1`,
          `xenstore-write /local/domain/$N/control/sysrq ${i + 1}`,
        ]),
        `i=0; while xl domid ${name} >/dev/null 2>&1 && [ $i -lt 300 ]; do i=$((i+1)); sleep 0.1; done; xl destroy ${name} 2>/dev/null`,
        'sleep 0.3',
        `echo "@console ${name} $N"; cat ${log}; echo; echo "@end ${name}"`,
      ].join('\n');
    })
    .join('\n');
}

interface Heard {
  domid: number;
  console: string[];
  commands: string[][];
}

function hear(output: string): Map<string, Heard> {
  const heard = new Map<string, Heard>();
  let sink: string[] = [];
  for (const line of output.replaceAll('\r', '').split('\n')) {
    const [word, name = '', number] = line.split(' ');
    if (!heard.has(name) && word?.startsWith('@')) heard.set(name, { domid: 0, console: [], commands: [] });
    if (word === '@command') {
      sink = [];
      heard.get(name)!.commands.push(sink);
    } else if (word === '@console') {
      heard.get(name)!.domid = Number(number);
      sink = heard.get(name)!.console;
    } else if (word === '@end') sink = [];
    else sink.push(line);
  }
  return heard;
}

/** Takes what one record caused off the guest's console. */
function received(console: string[]): { messages: Message[]; value: string } {
  const messages: Message[] = [];
  let value = '';
  for (let line = console.shift(); line !== '.'; line = console.shift()) {
    if (line === undefined) return { messages, value: '= (the guest stopped)' };
    if (line.startsWith('= ')) value = line;
    else if (/^\d/.test(line)) {
      const [type, requestId, transactionId] = line.split(' ').map(Number);
      const body = Buffer.from(console.shift() ?? '', 'hex').toString('latin1');
      messages.push({ type: type!, requestId: requestId!, transactionId: transactionId!, body });
    }
  }
  return { messages, value };
}

function transcript(steps: Step[], { domid, console, commands }: Heard): string {
  const lines = steps.flatMap((step) => {
    if (step.kind === 'comment') return [step.line];
    if (step.kind === 'message')
      return [
        step.line,
        ...formatAnswers(
          step,
          step.messages.map(() => received(console).messages),
        ),
      ];
    const { messages, value } = received(console);
    const output = step.kind === 'command' ? (commands.shift() ?? []).join('\n').trimEnd() : '';
    return [
      step.line,
      ...(output === '' ? [] : output.split('\n').map((line) => `| ${line}`)),
      ...formatAnswers(step, [messages]),
      ...(value === '' ? [] : [value]),
    ];
  });
  return `${lines.map((line) => hideDomid(line, domid)).join('\n')}\n`;
}

const names = readdirSync(FOLDER).filter((name) => name.endsWith('.txt'));
const chosen = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const sessions = names
  .map((file) => ({ name: file.slice(0, -4), old: readFileSync(join(FOLDER, file), 'utf8') }))
  .filter(({ name }) => chosen.length === 0 || chosen.includes(name))
  .map((session) => ({ ...session, steps: parseSession(session.old, 0) }));
sessions.forEach(({ name, old }, i) => {
  writeFileSync(join(work, `${name}.bin`), ramdisk(old, i + 1));
});
writeFileSync(join(work, 'script'), script(sessions));
const run = spawnSync(
  realXen,
  ['dom0-shell', '--timeout', '1200', join(work, 'script'), buildPlayer(), ...sessions.map(({ name }) => join(work, `${name}.bin`))],
  {
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  },
);
if (process.argv.includes('--keep')) writeFileSync('/tmp/xenstore-record.log', run.stdout + run.stderr);
const heard = hear(run.stdout);
let differ = 0;
for (const { name, old, steps } of sessions) {
  const now = transcript(steps, heard.get(name) ?? { domid: 0, console: [], commands: [] });
  if (now === old) continue;
  differ++;
  if (process.argv.includes('--check')) {
    writeFileSync(join(work, 'now'), now);
    console.log(spawnSync('diff', ['-u', join(FOLDER, `${name}.txt`), join(work, 'now')], { encoding: 'utf8' }).stdout);
  } else writeFileSync(join(FOLDER, `${name}.txt`), now);
}
if (process.argv.includes('--keep')) console.log(work);
else rmSync(work, { recursive: true });
console.log(`${sessions.length} sessions, ${differ} ${process.argv.includes('--check') ? 'differ' : 'changed'}`);
process.exitCode = process.argv.includes('--check') && differ > 0 ? 1 : 0;
