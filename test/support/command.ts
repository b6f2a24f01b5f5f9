/** The command `beneath`, built and in a process of its own, or as the same program in this one, which is quicker. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { runProgram } from '../../emulator/cli/program.ts';

/** From dist/test/FOLDER/x.test.mjs, where this is bundled into. */
export const BENEATH = fileURLToPath(new URL('../../beneath.mjs', import.meta.url));

/** Without what tap lets every process of Node load, which takes longer than most commands. */
const PLAIN = ['-u', 'NODE_OPTIONS'];

/** Starts the command. */
export function startBeneath<Stdio extends StdioOptions>(args: readonly string[], stdio: Stdio): ChildProcess {
  return spawn('env', [...PLAIN, process.execPath, BENEATH, ...args], { stdio });
}

export interface Outcome {
  readonly status: number | null;
  /** Bytes as characters. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs any command; what it reads from stdin is `input`, then the end. */
export function runCommand(command: string, args: readonly string[], { input = '', cwd = '.' } = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn('env', [...PLAIN, command, ...args], { cwd });
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('latin1').on('data', (text: string) => {
        texts[name] += text;
      });
    }
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, ...texts }));
    child.stdin.on('error', () => {});
    child.stdin.end(input, 'latin1');
  });
}

/** The command in a process of its own. */
export const runBeneath = (args: readonly string[], input = ''): Promise<Outcome> =>
  runCommand(process.execPath, [BENEATH, ...args], { input });

/** What stands for the streams of the process where the program runs in this one. */
class Streams {
  readonly stdin: Readable;
  readonly texts = { stdout: '', stderr: '' };

  constructor(input: string) {
    this.stdin = Readable.from(input === '' ? [] : [Buffer.from(input, 'latin1')]);
  }
}

const streams = new AsyncLocalStorage<Streams>();
let areReplaced = false;

/** From now on whoever runs in `streams` has those. */
function replaceStreams(): void {
  areReplaced = true;
  const stdin = Object.getOwnPropertyDescriptor(process, 'stdin')!;
  Object.defineProperty(process, 'stdin', { ...stdin, get: () => streams.getStore()?.stdin ?? stdin.get!.call(process) });
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = process[name];
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = (bytes: string | Uint8Array, ...rest: unknown[]): boolean => {
      const store = streams.getStore();
      if (!store) return write(bytes, ...rest);
      const encoding = rest[0] === 'latin1' ? 'latin1' : 'utf8';
      store.texts[name] += Buffer.from(bytes as string, encoding).toString('latin1');
      return true;
    };
  }
}

/** The program in this process: for what neither needs a terminal nor signals. Several may run at once. */
export function beneath(args: readonly string[], input = ''): Promise<Outcome> {
  if (!areReplaced) replaceStreams();
  const own = new Streams(input);
  return streams.run(own, async () => {
    const status = await runProgram(args, {
      out: (text) => process.stdout.write(text),
      err: (text) => process.stderr.write(text),
    });
    return { status, ...own.texts };
  });
}

/** A user's mistake is one line with the reason, and status 1. */
export async function expectMistake(t: Test, claim: string, args: readonly string[], message: RegExp): Promise<Outcome> {
  const outcome = await beneath(args);
  const { status, stdout, stderr } = outcome;
  t.equal(status, 1, `${claim}: status 1`);
  t.match(stderr, message, claim);
  t.match(stderr, /^beneath: [^\n]+\n$/, `${claim}: one line`);
  t.equal(stdout, '', `${claim}: nothing on stdout`);
  return outcome;
}
