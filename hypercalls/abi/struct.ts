/**
 * `struct`: a C structure as a row of fields, laid out as the x86-64 System V ABI does. A field is in by default (the
 * guest fills it), `out` (ring -1 fills it) or `inout`; `pad` is explicit padding that has no value. The types of what a
 * handler gets (`In`) and must give (`Out`) follow from the row.
 */
import { type Type, typedef, u8, type ValueOf } from './types.ts';

export type Direction = 'in' | 'out' | 'inout' | 'pad';

/** A type with a direction. */
export interface Directed<T, D extends Direction> {
  readonly type: Type<T>;
  readonly direction: D;
}

export const out = <T>(type: Type<T>): Directed<T, 'out'> => ({ type, direction: 'out' });
export const inout = <T>(type: Type<T>): Directed<T, 'inout'> => ({ type, direction: 'inout' });

/** `size` bytes of padding, aligned as `align`. */
export function pad(size: number, align = 1): Directed<never, 'pad'> {
  return { type: { ...typedef('padding', u8), size, align } as Type<number> as Type<never>, direction: 'pad' };
}

// biome-ignore lint/suspicious/noExplicitAny: the value type is inferred back out by ValueOfField
export type Fields = Readonly<Record<string, Type<any> | Directed<any, Direction>>>;

type ValueOfField<F> = F extends Directed<infer T, Direction> ? T : ValueOf<F>;
type DirectionOf<F> = F extends Directed<unknown, infer D> ? D : 'in';
type Pick<F extends Fields, D extends Direction> = {
  readonly [K in keyof F as DirectionOf<F[K]> extends D ? K : never]: ValueOfField<F[K]>;
};

/** What the guest gives. */
export type InOf<F extends Fields> = Pick<F, 'in' | 'inout'>;
/** What ring -1 gives back; every field of it, or it does not compile. */
export type OutOf<F extends Fields> = Pick<F, 'out' | 'inout'>;
export type AllOf<F extends Fields> = Pick<F, 'in' | 'out' | 'inout'>;

export interface FieldRow {
  readonly name: string;
  readonly type: Type<unknown>;
  readonly offset: number;
  readonly direction: Direction;
}

export interface Struct<F extends Fields> extends Type<AllOf<F>> {
  readonly fields: readonly FieldRow[];
  /** Byte offset of each field, for the hot ones that are read in place. */
  readonly offset: { readonly [K in keyof F]: number };
  readonly hasIn: boolean;
  readonly hasOut: boolean;
  /** The bytes `[outStart, outEnd)` cover every out field. */
  readonly outStart: number;
  readonly outEnd: number;
  /** The in fields as getters: each reads what is at its place when it is asked for, so nobody pays for what he does not use. */
  inReaders(view: DataView, base: number): Readers;
  encode(view: DataView, base: number, value: OutOf<F>): void;
  formatIn(value: object): string;
  formatOut(value: object): string;
}

/** Getters by their names. */
export type Readers = readonly (readonly [name: string, get: () => unknown])[];

/** An object whose properties are these getters. */
export function liveObject(readers: Readers): object {
  const prototype = {};
  for (const [name, get] of readers) Object.defineProperty(prototype, name, { get, enumerable: true });
  return Object.create(prototype);
}

// biome-ignore lint/suspicious/noExplicitAny: any struct at all
export type AnyStruct = Struct<any>;

export const isStruct = (type: Type<unknown>): type is AnyStruct => 'fields' in type;

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;

/** `struct name { fields }` of xen:public. */
export function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  const rows: FieldRow[] = [];
  const offsets: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [fieldName, field] of Object.entries(fields)) {
    const { type, direction } = 'direction' in field ? field : { type: field, direction: 'in' as const };
    const offset = alignUp(end, type.align);
    rows.push({ name: fieldName, type, offset, direction });
    offsets[fieldName] = offset;
    end = offset + type.size;
    align = Math.max(align, type.align);
  }
  const values = rows.filter((row) => row.direction !== 'pad');
  const ins = values.filter((row) => row.direction !== 'out');
  const outs = values.filter((row) => row.direction !== 'in');

  const read = (view: DataView, base: number, from: readonly FieldRow[], value: Record<string, unknown>): Record<string, unknown> => {
    for (let i = 0; i < from.length; i++) {
      const row = from[i]!;
      value[row.name] = isVariant(row.type) ? row.type.readTagged(view, base + row.offset, value) : row.type.read(view, base + row.offset);
    }
    return value;
  };
  const write = (view: DataView, base: number, to: readonly FieldRow[], value: Record<string, unknown>): void => {
    for (let i = 0; i < to.length; i++) {
      const row = to[i]!;
      row.type.write(view, base + row.offset, value[row.name]);
    }
  };
  const readers = (view: DataView, base: number, of: readonly FieldRow[]): Readers =>
    of.map(({ name, type, offset }) => [
      name,
      isVariant(type)
        ? function (this: Record<string, unknown>) {
            return type.readTagged(view, base + offset, this);
          }
        : type.reader(view, base + offset),
    ]);
  const format = (of: readonly FieldRow[], value: Record<string, unknown>): string =>
    `{${of.map((row) => `${row.name}=${row.type.format(value[row.name])}`).join(' ')}}`;

  return {
    name,
    size: alignUp(end, align),
    align,
    fields: rows,
    offset: offsets as Struct<F>['offset'],
    hasIn: ins.length > 0,
    hasOut: outs.length > 0,
    outStart: outs.length > 0 ? Math.min(...outs.map((row) => row.offset)) : 0,
    outEnd: outs.length > 0 ? Math.max(...outs.map((row) => row.offset + row.type.size)) : 0,
    read: (view, base) => read(view, base, values, {}) as AllOf<F>,
    write: (view, base, value) => write(view, base, values, value),
    reader: (view, base) => {
      const fields = liveObject(readers(view, base, values)) as AllOf<F>;
      return () => fields;
    },
    format: (value) => format(values, value),
    inReaders: (view, base) => readers(view, base, ins),
    encode: (view, base, value) => write(view, base, outs, value),
    formatIn: (value) => format(ins, value as Record<string, unknown>),
    formatOut: (value) => format(outs, value as Record<string, unknown>),
  };
}

type Members = Readonly<Record<string, readonly [tag: number | readonly number[], type: Type<unknown>]>>;

function withoutTag(): never {
  throw new Error('bug: a union was read without its tag');
}

/** One member of the union, by name: `{ unbound: { dom: 0 } }`; undefined when the tag names none. */
export type VariantValue<M extends Members> = { [K in keyof M]: { readonly [_ in K]: ValueOf<M[K][1]> } }[keyof M] | undefined;

interface Variant<T> extends Type<T> {
  readonly members: Members;
  readTagged(view: DataView, offset: number, siblings: Readonly<Record<string, unknown>>): T;
}

const isVariant = (type: Type<unknown>): type is Variant<unknown> => 'readTagged' in type;

/**
 * A union of which the sibling field `tag` (earlier in the struct) says which member is meant:
 * `variant('status', { unbound: [1, evtchn_unbound], virq: [4, u32] })`.
 */
export function variant<const M extends Members>(tag: string, members: M): Type<VariantValue<M>> {
  const list = Object.entries(members);
  const byTag = new Map<number, [string, Type<unknown>]>();
  for (const [name, [tags, type]] of list) for (const value of typeof tags === 'number' ? [tags] : tags) byTag.set(value, [name, type]);
  const self: Variant<VariantValue<M>> = {
    name: 'union',
    size: Math.max(...list.map(([, [, type]]) => type.size)),
    align: Math.max(...list.map(([, [, type]]) => type.align)),
    members,
    read: withoutTag,
    reader: withoutTag,
    readTagged(view, offset, siblings) {
      const member = byTag.get(Number(siblings[tag]));
      return (member === undefined ? undefined : { [member[0]]: member[1].read(view, offset) }) as VariantValue<M>;
    },
    write(view, offset, value) {
      if (value === undefined) return;
      const contents: Readonly<Record<string, unknown>> = value;
      for (const name in contents) members[name]![1].write(view, offset, contents[name]);
    },
    format: (value) =>
      value === undefined
        ? '{}'
        : Object.entries(value)
            .map(([name, content]) => `{${name}=${members[name]![1].format(content)}}`)
            .join(''),
  };
  return self;
}
