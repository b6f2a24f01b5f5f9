/**
 * Plain data as bytes and back: numbers, bigints, text, arrays, Maps, Sets, typed arrays and plain objects, each behind a tag.
 * Equal data gives equal bytes. Who reads believes nothing: every size is held against what is left, depth is bounded, and
 * what cannot be is a DataError. Files of saved domains are written with it (toolstack/save_file.ts).
 */

/** What is wrong with the bytes, as the end of a sentence. */
export class DataError extends Error {}

const MAX_DEPTH = 32;

const tags = {
  undefined: 0,
  null: 1,
  false: 2,
  true: 3,
  number: 4,
  bigint: 5,
  text: 6,
  array: 7,
  map: 8,
  set: 9,
  object: 10,
  bytes: 11,
} as const;

type TypedArray = Uint8Array | Uint32Array | Int32Array | Int16Array | BigUint64Array;
/** By the first number behind the tag. */
const arrayTypes = [Uint8Array, Uint32Array, Int32Array, Int16Array, BigUint64Array] as const;

class Writer {
  #bytes = new Uint8Array(65536);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#size++] = value;
  }

  count(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#size, value, true);
    this.#size += 4;
  }

  float(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#size, value, true);
    this.#size += 8;
  }

  bytes(value: Uint8Array): void {
    this.count(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#size);
    this.#size += value.length;
  }

  #reserve(size: number): void {
    if (this.#size + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#size + size));
    grown.set(this.written);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Throws when something in it is no plain data: a bug of who asks. */
export function encode(data: unknown): Uint8Array {
  const writer = new Writer();
  write(writer, data, 0);
  return writer.written;
}

function write(writer: Writer, data: unknown, depth: number): void {
  if (depth > MAX_DEPTH) throw new Error('bug: data that refers to itself is not plain');
  const writeAll = (tag: number, parts: Iterable<unknown>, size: number): void => {
    writer.byte(tag);
    writer.count(size);
    for (const part of parts) write(writer, part, depth + 1);
  };
  if (data === undefined) writer.byte(tags.undefined);
  else if (data === null) writer.byte(tags.null);
  else if (typeof data === 'boolean') writer.byte(data ? tags.true : tags.false);
  else if (typeof data === 'number') {
    writer.byte(tags.number);
    writer.float(data);
  } else if (typeof data === 'bigint') {
    writer.byte(tags.bigint);
    writeText(writer, data.toString(16));
  } else if (typeof data === 'string') {
    writer.byte(tags.text);
    writeText(writer, data);
  } else if (Array.isArray(data)) writeAll(tags.array, data, data.length);
  else if (data instanceof Map) writeAll(tags.map, [...data].flat(1), 2 * data.size);
  else if (data instanceof Set) writeAll(tags.set, data, data.size);
  else if (ArrayBuffer.isView(data)) writeTyped(writer, data as TypedArray);
  else if (typeof data === 'object' && Object.getPrototypeOf(data) === Object.prototype) {
    const entries = Object.entries(data);
    writeAll(tags.object, entries.flat(1), 2 * entries.length);
  } else throw new Error(`bug: ${typeof data === 'object' ? data.constructor.name : typeof data} is no plain data`);
}

/** UTF-16, as it is. */
function writeText(writer: Writer, text: string): void {
  const bytes = new Uint8Array(2 * text.length);
  for (let i = 0; i < text.length; i++) {
    bytes[2 * i] = text.charCodeAt(i);
    bytes[2 * i + 1] = text.charCodeAt(i) >> 8;
  }
  writer.bytes(bytes);
}

function writeTyped(writer: Writer, data: TypedArray): void {
  const type = arrayTypes.findIndex((each) => data instanceof each);
  if (type < 0) throw new Error(`bug: ${(data as object).constructor.name} is no plain data`);
  writer.byte(tags.bytes);
  writer.byte(type);
  writer.bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  count(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  float(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  bytes(): Uint8Array {
    const size = this.count();
    const at = this.#take(size);
    return this.#bytes.subarray(at, at + size);
  }

  /** How many parts follow, each of which takes a byte at least. */
  parts(): number {
    const count = this.count();
    if (count > this.left) throw new DataError('it ends too early');
    return count;
  }

  #take(size: number): number {
    if (size > this.left) throw new DataError('it ends too early');
    const at = this.#at;
    this.#at += size;
    return at;
  }
}

/** The data, or a DataError. */
export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const data = read(reader, 0);
  if (reader.left > 0) throw new DataError('there is more behind its end');
  return data;
}

function read(reader: Reader, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new DataError('it is nested too deep');
  const readAll = (): unknown[] => {
    const parts: unknown[] = [];
    for (let left = reader.parts(); left > 0; left--) parts.push(read(reader, depth + 1));
    return parts;
  };
  const tag = reader.byte();
  switch (tag) {
    case tags.undefined:
      return undefined;
    case tags.null:
      return null;
    case tags.false:
      return false;
    case tags.true:
      return true;
    case tags.number:
      return reader.float();
    case tags.bigint:
      return readBigint(readText(reader));
    case tags.text:
      return readText(reader);
    case tags.array:
      return readAll();
    case tags.map:
      return new Map(pairs(readAll()));
    case tags.set:
      return new Set(readAll());
    case tags.object:
      return Object.fromEntries(pairs(readAll()).map(([key, value]) => [String(key), value]));
    case tags.bytes:
      return readTyped(reader);
    default:
      throw new DataError(`nothing has the tag ${tag}`);
  }
}

function pairs(parts: readonly unknown[]): [unknown, unknown][] {
  if (parts.length % 2 !== 0) throw new DataError('a key has no value');
  return Array.from({ length: parts.length / 2 }, (_, i) => [parts[2 * i], parts[2 * i + 1]]);
}

function readText(reader: Reader): string {
  const bytes = reader.bytes();
  if (bytes.length % 2 !== 0) throw new DataError('a text has half a character');
  let text = '';
  for (let i = 0; i < bytes.length; i += 2) text += String.fromCharCode(bytes[i]! | (bytes[i + 1]! << 8));
  return text;
}

function readBigint(text: string): bigint {
  const [, sign, digits] = /^(-?)([0-9a-f]{1,64})$/.exec(text) ?? [];
  if (digits === undefined) throw new DataError('a number has no digits');
  const value = BigInt(`0x${digits}`);
  return sign === '-' ? -value : value;
}

function readTyped(reader: Reader): TypedArray {
  const type = arrayTypes[reader.byte()];
  const bytes = reader.bytes();
  if (type === undefined || bytes.length % type.BYTES_PER_ELEMENT !== 0) throw new DataError('an array has no such elements');
  return new type(new Uint8Array(bytes).buffer);
}
