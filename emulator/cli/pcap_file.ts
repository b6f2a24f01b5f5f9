/** `--net pcap=FILE`: what passes an interface, recorded as it happens. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { pcapHeader, pcapRecord } from '../../hypercalls/net/pcap.ts';
import { reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

export class PcapFile {
  readonly #path: string;
  readonly #file: number;
  #failure: unknown;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#file = openSync(path, 'w');
    } catch (error) {
      throw this.#refusal(error);
    }
    this.#write(pcapHeader());
  }

  /** A recording that cannot go on is no reason to end the guest; `close` tells. */
  readonly capture = (frame: Uint8Array, ns: bigint): void => this.#write(pcapRecord(frame, ns));

  close(): void {
    closeSync(this.#file);
    if (this.#failure !== undefined) throw this.#refusal(this.#failure);
  }

  #write(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
    } catch (error) {
      this.#failure = error;
    }
  }

  #refusal(error: unknown): UserError {
    return new UserError(`${this.#path}: the frames cannot be recorded there: ${reasonOf(error)}`);
  }
}
