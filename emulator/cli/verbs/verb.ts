/**
 * A verb of the toolstack: a row from which the command line, its help and README's table are made. What it prints on a
 * terminal it makes out of the host's answer; with --json the answer itself is printed.
 */
import type { Client } from '../../toolstack/socket_client.ts';

export type Flags = Readonly<Record<string, string | boolean | undefined>>;

export interface Outcome {
  /** For --json. */
  readonly data: unknown;
  /** For people, with its line ends; '' is nothing. */
  readonly text?: string;
  readonly status?: number;
}

export interface Verb {
  readonly name: string;
  /** As the command line's help shows them: `<domain>`, `[domains...]`. */
  readonly parameters: string;
  readonly description: string;
  readonly flags?: readonly (readonly [flag: string, description: string])[];
  /** undefined: it has shown everything itself. */
  run(client: Client, parameters: readonly (string | undefined)[], flags: Flags): Promise<Outcome | undefined>;
}

/** As libc's %s with a width: padded, never cut; a negative width pads on the right. */
export function pad(value: string | number, width: number): string {
  const text = String(value);
  return width < 0 ? text.padEnd(-width) : text.padStart(width);
}

export const seconds = (nanoseconds: number, width: number): string => pad((nanoseconds / 1e9).toFixed(1), width);

/** Lines with their ends; '' for none. */
export const linesOf = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');
