/**
 * The scalar types of Xen's x86-64 ABI and what can be built of them without names: arrays, strings, guest pointers.
 * A type knows its size, how to read and write itself in a little-endian view, and how the trace shows a value.
 * Values of up to 32 bits are numbers, 64-bit ones bigints.
 */
export interface Type<T> {
  /** As in C. */
  readonly name: string;
  readonly size: number;
  readonly align: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
  /** Reads what is at one place, each time anew. */
  reader(view: DataView, offset: number): () => T;
  format(value: T): string;
}

/** The value that a type reads and writes. */
export type ValueOf<F> = F extends Type<infer T> ? T : never;

function scalar<T extends number | bigint>(
  name: string,
  size: number,
  read: (view: DataView, offset: number) => T,
  write: (view: DataView, offset: number, value: T) => void,
  reader: (view: DataView, offset: number) => () => T,
): Type<T> {
  return { name, size, align: size, read, write, reader, format: (value) => String(value) };
}

// Readers are written out: V8 compiles each of these functions for itself, and what all types shared for none of them.
// biome-ignore format: one type a line
export const u8 = scalar<number>('uint8_t', 1, (v, o) => v.getUint8(o), (v, o, x) => v.setUint8(o, x), (v, o) => () => v.getUint8(o));
// biome-ignore format: one type a line
export const u16 = scalar<number>('uint16_t', 2, (v, o) => v.getUint16(o, true), (v, o, x) => v.setUint16(o, x, true), (v, o) => () => v.getUint16(o, true));
// biome-ignore format: one type a line
export const i16 = scalar<number>('int16_t', 2, (v, o) => v.getInt16(o, true), (v, o, x) => v.setInt16(o, x, true), (v, o) => () => v.getInt16(o, true));
// biome-ignore format: one type a line
export const u32 = scalar<number>('uint32_t', 4, (v, o) => v.getUint32(o, true), (v, o, x) => v.setUint32(o, x, true), (v, o) => () => v.getUint32(o, true));
// biome-ignore format: one type a line
export const i32 = scalar<number>('int32_t', 4, (v, o) => v.getInt32(o, true), (v, o, x) => v.setInt32(o, x, true), (v, o) => () => v.getInt32(o, true));
// biome-ignore format: one type a line
export const i8 = scalar<number>('int8_t', 1, (v, o) => v.getInt8(o), (v, o, x) => v.setInt8(o, x), (v, o) => () => v.getInt8(o));
// biome-ignore format: one type a line
export const u64 = scalar<bigint>('uint64_t', 8, (v, o) => v.getBigUint64(o, true), (v, o, x) => v.setBigUint64(o, x, true), (v, o) => () => v.getBigUint64(o, true));
// biome-ignore format: one type a line
export const i64 = scalar<bigint>('int64_t', 8, (v, o) => v.getBigInt64(o, true), (v, o, x) => v.setBigInt64(o, x, true), (v, o) => () => v.getBigInt64(o, true));

/** The same bits under a typedef's name, shown by `format`. */
export function typedef<T>(name: string, type: Type<T>, format: (value: T) => string = type.format): Type<T> {
  return { ...type, name, format };
}

/** A scalar whose values have names: `symbols('virq', u32, { VIRQ_TIMER: 0 })`. */
export function symbols<T extends number | bigint>(name: string, type: Type<T>, names: Readonly<Record<string, number>>): Type<T> {
  const byValue = new Map(Object.entries(names).map(([symbol, value]) => [value, symbol]));
  return typedef(name, type, (value) => byValue.get(Number(value)) ?? type.format(value));
}

/** A scalar whose bits have names: shown as `GNTMAP_host_map|GNTMAP_readonly`, what is left over in hexadecimal. */
export function flags<T extends number | bigint>(name: string, type: Type<T>, bits: Readonly<Record<string, number>>): Type<T> {
  return typedef(name, type, (value) => {
    const parts: string[] = [];
    let rest = BigInt(value);
    for (const [symbol, mask] of Object.entries(bits)) {
      if ((rest & BigInt(mask)) === 0n) continue;
      parts.push(symbol);
      rest &= ~BigInt(mask);
    }
    if (rest !== 0n) parts.push(`0x${rest.toString(16)}`);
    return parts.join('|') || '0';
  });
}

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** What a `void *` points at. */
export const void_: Type<never> = {
  name: 'void',
  size: 0,
  align: 1,
  read: () => {
    throw new Error('bug: a void was read');
  },
  write: () => {
    throw new Error('bug: a void was written');
  },
  reader: () => {
    throw new Error('bug: a void is read');
  },
  format: () => '',
};

/** A guest pointer (XEN_GUEST_HANDLE): a vaddr that only guest_memory.ts follows. */
export interface Pointer extends Type<bigint> {
  readonly target: Type<unknown>;
}

/** A pointer to `void` or to a struct: as a parameter of a hypercall, that is where the op's struct lies. */
export interface ArgumentPointer extends Pointer {
  readonly isArgument: true;
}

export function ptr(target: Type<never> & { readonly fields?: unknown }): ArgumentPointer;
// biome-ignore lint/suspicious/noExplicitAny: any struct at all
export function ptr(target: Type<any> & { readonly fields: unknown }): ArgumentPointer;
// biome-ignore lint/suspicious/noExplicitAny: any type at all
export function ptr(target: Type<any>): Pointer;
// biome-ignore lint/suspicious/noExplicitAny: any type at all
export function ptr(target: Type<any>): Pointer {
  const type = { ...typedef(`${target.name} *`, u64, (value) => (value === 0n ? 'NULL' : hex(value))), target };
  return target === void_ || 'fields' in target ? ({ ...type, isArgument: true } as ArgumentPointer) : type;
}

export const isPointer = (type: Type<unknown>): type is Pointer => 'target' in type;
export const isArgumentPointer = (type: Type<unknown>): type is ArgumentPointer => 'isArgument' in type;

/** `T name[count]`. */
export function array<T>(element: Type<T>, count: number): Type<readonly T[]> {
  return {
    name: `${element.name}[${count}]`,
    size: element.size * count,
    align: element.align,
    read(view, offset) {
      const values: T[] = [];
      for (let i = 0; i < count; i++) values.push(element.read(view, offset + i * element.size));
      return values;
    },
    write(view, offset, values) {
      if (values.length !== count) throw new Error(`bug: ${values.length} values for ${this.name}`);
      for (let i = 0; i < count; i++) element.write(view, offset + i * element.size, values[i]!);
    },
    reader(view, offset) {
      return () => this.read(view, offset);
    },
    format: (values) => `[${values.map((value) => element.format(value)).join(' ')}]`,
  };
}

/** `char name[size]`: NUL-terminated; all bytes after the text are written as zeros, so nothing leaks. */
export function chars(size: number): Type<string> {
  return {
    name: `char[${size}]`,
    size,
    align: 1,
    read(view, offset) {
      let text = '';
      for (let i = 0; i < size; i++) {
        const byte = view.getUint8(offset + i);
        if (byte === 0) break;
        text += String.fromCharCode(byte);
      }
      return text;
    },
    write(view, offset, text) {
      for (let i = 0; i < size; i++) view.setUint8(offset + i, i < size - 1 && i < text.length ? text.charCodeAt(i) & 0xff : 0);
    },
    reader(view, offset) {
      return () => this.read(view, offset);
    },
    format: (text) => JSON.stringify(text),
  };
}
