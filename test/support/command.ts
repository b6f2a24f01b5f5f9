/** The built command `beneath` in a process of its own. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { runProgram } from '../../emulator/cli/program.ts';

/** From dist/test/FOLDER/x.test.mjs, where this is bundled into. */
export const BENEATH = fileURLToPath(new URL('../../beneath.mjs', import.meta.url));

export interface Outcome {
  readonly status: number | null;
  /** Bytes as characters. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs any command; what it reads from stdin is `input`, then the end. */
export function runCommand(command: string, args: readonly string[], { input = '', cwd = '.' } = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd });
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

export const beneath = (args: readonly string[], input = ''): Promise<Outcome> =>
  runCommand(process.execPath, [BENEATH, ...args], { input });

/** In this process: only for what comes to nothing. */
async function mistaken(args: readonly string[]): Promise<Outcome> {
  const texts = { stdout: '', stderr: '' };
  const status = await runProgram(args, {
    out(text) {
      texts.stdout += text;
    },
    err(text) {
      texts.stderr += text;
    },
  });
  return { status, ...texts };
}

/** A user's mistake is one line with the reason, and status 1. */
export async function expectMistake(t: Test, claim: string, args: readonly string[], message: RegExp): Promise<Outcome> {
  const outcome = await mistaken(args);
  const { status, stdout, stderr } = outcome;
  t.equal(status, 1, `${claim}: status 1`);
  t.match(stderr, message, claim);
  t.match(stderr, /^beneath: [^\n]+\n$/, `${claim}: one line`);
  t.equal(stdout, '', `${claim}: nothing on stdout`);
  return outcome;
}
