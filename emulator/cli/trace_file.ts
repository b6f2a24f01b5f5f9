/**
 * Where a timeline goes: a trace file, written as it is recorded. The end of the format is written behind every piece and the
 * next piece over it, so that the file is valid whenever somebody looks, also after a sudden end.
 */
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { TRACE_END, TRACE_HEAD } from '../timeline/trace_text.ts';
import { reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

const FLUSH_AT = 1 << 20;

export class TraceFile {
  readonly path: string;
  readonly #fd: number;
  /** A pipe cannot be written over. */
  readonly #isFile: boolean;
  #position = 0;
  #pending = TRACE_HEAD;
  #isLost = false;

  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = openSync(path, 'w');
      this.#isFile = fstatSync(this.#fd).isFile();
    } catch (error) {
      throw new UserError(`${path}: the timeline cannot be written: ${reasonOf(error)}; name a file that can`);
    }
    this.flush();
  }

  readonly write = (text: string): void => {
    this.#pending += text;
    if (this.#pending.length >= FLUSH_AT) this.flush();
  };

  flush(): void {
    if (this.#pending === '') return;
    const bytes = Buffer.from(this.#pending);
    this.#pending = '';
    this.#put(this.#isFile ? Buffer.concat([bytes, Buffer.from(TRACE_END)]) : bytes);
    this.#position += bytes.length;
  }

  /** False: not all of it could be written. */
  close(): boolean {
    this.flush();
    if (!this.#isFile) this.#put(Buffer.from(TRACE_END));
    closeSync(this.#fd);
    return !this.#isLost;
  }

  #put(bytes: Buffer): void {
    if (this.#isLost) return;
    try {
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.#fd, bytes, done, bytes.length - done, this.#isFile ? this.#position + done : null);
    } catch (error) {
      this.#isLost = true;
      process.stderr.write(`beneath: ${this.path}: the timeline cannot be written: ${reasonOf(error)}; the rest of it is lost\n`);
    }
  }
}
