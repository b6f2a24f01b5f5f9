/** Where trace lines go: a file or stderr, gathered and written between slices. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { TraceOption } from './options.ts';
import { reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

const STDERR = 2;
const FLUSH_AT = 1 << 16;

export class TraceWriter {
  readonly #fd: number;
  readonly #file: string | undefined;
  #text = '';
  #isLost = false;

  constructor(option: TraceOption) {
    this.#file = option.file;
    try {
      this.#fd = option.file === undefined ? STDERR : openSync(option.file, 'w');
    } catch (error) {
      throw new UserError(`--trace: ${option.file} cannot be written: ${reasonOf(error)}; name a file that can`);
    }
  }

  readonly line = (line: string): void => {
    this.#text += `${line}\n`;
    if (this.#text.length >= FLUSH_AT) this.flush();
  };

  flush(): void {
    let bytes = Buffer.from(this.#text);
    this.#text = '';
    while (bytes.length > 0) {
      try {
        bytes = bytes.subarray(writeSync(this.#fd, bytes));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') continue;
        this.#lose(error);
        return;
      }
    }
  }

  #lose(error: unknown): void {
    if (this.#file !== undefined && !this.#isLost) {
      process.stderr.write(`beneath: --trace: ${this.#file} cannot be written: ${reasonOf(error)}; the rest of the trace is lost\n`);
    }
    this.#isLost = true;
  }

  close(): void {
    this.flush();
    if (this.#fd !== STDERR) closeSync(this.#fd);
  }
}
