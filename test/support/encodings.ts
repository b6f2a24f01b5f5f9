/**
 * The encodings that the decoder is judged on: every opcode of the four maps behind every kind of prefix with memory and
 * register forms, every ModRM byte of the groups, every address form, and random bytes. Their order is fixed, so that the
 * verdicts of the real CPU (vectors/decoder.gz) need no keys.
 */
import { makeRandom } from './vectors.ts';

export type CodeSize = 64 | 32;

/** What stands behind every generated part: a displacement and an immediate, never a prefix. */
const TAIL = [0x12, 0x34, 0x56, 0x78, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x71, 0x82, 0x93, 0xa4, 0xb5];
const MAPS = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const PREFIXES: Record<CodeSize, string[]> = {
  64: ['', '66', 'f2', 'f3', '67', 'f0', '64', '2e', '48', '41', '4f', '6648', '4866', 'f266', '66f3', 'f2f3', 'f066', 'f34e', 'f0f2'],
  32: ['', '66', 'f2', 'f3', '67', 'f0', '26', '6667', 'f266', '66f3', 'f066'],
};
/** Opcodes whose ModRM.reg selects an instruction or names a special register. */
const BY_REG =
  '80 81 82 83 8c 8e 8f c0 c1 c4 c5 c6 c7 d0 d1 d2 d3 d8 d9 da db dc dd de df f6 f7 fe ff 0f00 0f01 0f0d 0f18 0f19 0f1c 0f1e 0f1f 0f20 0f21 0f22 0f23 0f71 0f72 0f73 0fae 0fb9 0fba 0fc7 0ff8'.split(
    ' ',
  );
/** Those of them where all of the ModRM byte matters. */
const GROUPS = [
  '8e',
  '8f',
  'c6',
  'c7',
  'f6',
  'f7',
  'fe',
  'ff',
  'd8',
  'd9',
  'da',
  'db',
  'dc',
  'dd',
  'de',
  'df',
  '0f00',
  '0f01',
  '0f0d',
  '0f18',
  '0f1e',
  '0fae',
  '0fba',
  '0fc7',
  '0f20',
  '0f23',
];
const ADDRESS_PREFIXES: Record<CodeSize, string[]> = { 64: ['', '67', '41', '42', '44', '6743', '65'], 32: ['', '67', '36'] };
const SIBS = [0x00, 0x24, 0x25, 0x65, 0xe4, 0x2d, 0x98];

const fromHex = (hex: string): number[] => (hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
const toHex = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** Every encoding as 15 bytes. */
export function* encodings(code: CodeSize): Generator<Uint8Array> {
  const bytes = (...parts: readonly number[][]): Uint8Array => Uint8Array.from([...parts.flat(), ...TAIL].slice(0, 15));
  for (const map of MAPS) {
    for (let opcode = 0; opcode < 256; opcode++) {
      const name = toHex([...map, opcode]);
      const regs = BY_REG.includes(name) ? [0, 1, 2, 3, 4, 5, 6, 7] : [0, 5];
      for (const prefix of PREFIXES[code]) {
        for (const reg of regs) {
          for (const form of [0x00, 0xc1]) yield bytes(fromHex(prefix), map, [opcode, form | (reg << 3)]);
        }
      }
    }
  }
  for (const group of GROUPS) {
    for (const prefix of ['', '66', 'f2', 'f3', 'f0'])
      for (let modrm = 0; modrm < 256; modrm++) yield bytes(fromHex(prefix + group), [modrm]);
  }
  for (const prefix of ADDRESS_PREFIXES[code]) {
    for (let modrm = 0; modrm < 256; modrm++) {
      for (const sib of (modrm & 7) === 4 ? SIBS : [0])
        for (const opcode of ['8b', '0f10', '69']) yield bytes(fromHex(prefix + opcode), [modrm, sib]);
    }
  }
  for (let count = 1; count <= 15; count++)
    for (const prefix of [0x66, 0x2e, 0xf3]) yield bytes(new Array(count).fill(prefix), [0x0f, 0x1f, 0x84]);
  const random = makeRandom(0xdec0de + code);
  for (let i = 0; i < 20_000; i++) yield Uint8Array.from({ length: 15 }, () => random() & 0xff);
}

/** What the real CPU made of an encoding: how many bytes it fetched, and the exception vector (1: executed). */
export interface Verdict {
  fetched: number;
  vector: number;
}

/** A verdict as a byte: only #UD is told from other exceptions. */
export const packVerdict = ({ fetched, vector }: Verdict): number => fetched | (vector === 6 ? 0x80 : vector === 13 ? 0x40 : 0);
export const unpackVerdict = (byte: number): { fetched: number; isInvalid: boolean; isProtection: boolean } => ({
  fetched: byte & 15,
  isInvalid: (byte & 0x80) !== 0,
  isProtection: (byte & 0x40) !== 0,
});
