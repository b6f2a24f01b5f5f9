/** A kernel's symbol table (System V ABI, chapter 4), to say where in its code an address is. */
import { parseElf, readString } from '../../firmware/elf.ts';
import { ImageError } from '../../firmware/image_error.ts';

const SYM_SIZE = 24;
const STT_FUNC = 2;
/** NOTYPE is what an assembler's labels have. */
const STT_NOTYPE = 0;
const SHN_UNDEF = 0;
const SHN_ABS = 0xfff1;

interface Symbol {
  readonly name: string;
  readonly start: bigint;
  /** 0n: up to the next one. */
  readonly size: bigint;
  readonly isFunction: boolean;
}

export class Symbols {
  /** By address. */
  readonly #symbols: readonly Symbol[];

  /** None when the image is no ELF file or was stripped. */
  constructor(image: Uint8Array) {
    this.#symbols = readSymbols(image).sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  }

  /** `main+0x34`, undefined outside all. */
  nameOf(address: bigint): string | undefined {
    let best: Symbol | undefined;
    for (const symbol of this.#symbols) {
      if (symbol.start > address) break;
      if (symbol.size > 0n && address >= symbol.start + symbol.size) continue;
      // A function that covers the address says more than a label in it.
      if (best?.isFunction && best.size > 0n && !symbol.isFunction) continue;
      best = symbol;
    }
    return best && `${best.name}+0x${(address - best.start).toString(16)}`;
  }
}

function readSymbols(image: Uint8Array): Symbol[] {
  const elf = parseElf(image);
  if (elf instanceof ImageError) return [];
  const table = elf.sections.find(({ name }) => name === '.symtab');
  const strings = elf.sections.find(({ name }) => name === '.strtab');
  if (table === undefined || strings === undefined) return [];
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const symbols: Symbol[] = [];
  for (let at = table.offset; at + SYM_SIZE <= table.offset + table.size; at += SYM_SIZE) {
    const type = view.getUint8(at + 4) & 0xf;
    const section = view.getUint16(at + 6, true);
    if ((type !== STT_FUNC && type !== STT_NOTYPE) || section === SHN_UNDEF || section === SHN_ABS) continue;
    const name = readString(image, strings.offset + view.getUint32(at, true));
    if (name === '') continue;
    symbols.push({ name, start: view.getBigUint64(at + 8, true), size: view.getBigUint64(at + 16, true), isFunction: type === STT_FUNC });
  }
  return symbols;
}
